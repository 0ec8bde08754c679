"""What each kind of source may be told: by the query of its url, or by ``--source-option``. One model a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from ..errors import ConfigError
from .channels import File, Text
from .duration import Duration, PositiveDuration
from .model import Count, Model, Switch


class SourceOptions(Model):
    """What every source has."""

    prefetch: Count = Field(
        default=256, ge=1, le=100_000, description="Messages taken from the broker and not acknowledged, at most."
    )
    nack_delay: Duration = Field(
        default=5.0, description="How long a message that could not be taken stays away before it comes again."
    )


class FileSourceOptions(SourceOptions):
    """A file of JSON lines, or standard input."""

    prefetch: Count = Field(default=4096, ge=1, le=100_000, description="Lines taken and not settled, at most.")
    nack_delay: Duration = Field(default=0.5, description="How long a line that could not be taken waits.")


class BrokerSourceOptions(SourceOptions):
    """What every broker has."""

    timeout: PositiveDuration = Field(default=10.0, description="For connecting, and for one answer of the broker.")
    ca_file: File | None = Field(
        default=None, description="With TLS: file with the certificates to trust (PEM). Default: the system's."
    )


class RedisSourceOptions(BrokerSourceOptions):
    """``redis:`` and ``rediss:``: a consumer group of a stream."""

    stream: Text = Field(description="Key of the stream; made if it is not there.")
    group: Text = Field(description="The consumer group, which processes share; made if it is not there.")
    field: Text = Field(default="body", description="Field of an entry that holds the message as JSON.")
    claim_after: PositiveDuration = Field(
        default=60.0, ge=0.1, description="After how long entries of a consumer that died are taken over."
    )


class NatsSourceOptions(BrokerSourceOptions):
    """``nats:``: a durable pull consumer of a JetStream stream."""

    stream: Text = Field(description="The stream.")
    consumer: Text = Field(description="The durable consumer, which processes share; made if it is not there.")
    subject: Text | None = Field(default=None, description="What a consumer that is made takes. Default: all.")
    ack_wait: PositiveDuration = Field(
        default=30.0, ge=0.1, description="Of a consumer that is made: after how long a dead process's messages return."
    )
    tls: Switch = Field(default=False, description="Whether the server must be spoken to over TLS.")


class AmqpSourceOptions(BrokerSourceOptions):
    """``amqp:`` and ``amqps:``: a queue of RabbitMQ, which processes share."""

    queue: Annotated[str, Field(min_length=1, max_length=255)] = Field(description="The queue, which must be there.")


class KafkaSourceOptions(BrokerSourceOptions):
    """``kafka:``: a consumer group of a topic."""

    topic: Text = Field(description="The topic.")
    group: Text = Field(description="The consumer group, which processes share.")
    session_timeout: PositiveDuration = Field(
        default=30.0, ge=1, description="After how long a process that died loses its partitions to the others."
    )
    tls: Switch = Field(default=False, description="Whether brokers are spoken to over TLS.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How the url's user proves who he is (SASL)."
    )


SOURCES: dict[str, type[SourceOptions]] = {
    "file": FileSourceOptions,
    "redis": RedisSourceOptions,
    "rediss": RedisSourceOptions,
    "nats": NatsSourceOptions,
    "amqp": AmqpSourceOptions,
    "amqps": AmqpSourceOptions,
    "kafka": KafkaSourceOptions,
}
"""The options of a source by the scheme of its url."""


def read_source_options(scheme: str, given: Mapping[str, Any]) -> SourceOptions:
    """The options of a source of a scheme that is known. Texts that stand for numbers and switches are read as those.

    Raises:
        ConfigError: with every problem, by the option's name.
    """
    from .problems import from_validation  # it knows every model

    model = SOURCES[scheme]
    values = dict(given)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            name = str(details["loc"][0]) if details["loc"] else ""
            if isinstance(values.get(name), str) and name in model.model_fields:
                values[name] = _scalar(values[name])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = from_validation(error, values, (), model=model)
        raise ConfigError(
            "; ".join(
                f"{scheme}: source: {'.'.join(map(str, path))}{': ' if path else ''}{said}" for path, said, _ in found
            )
        ) from None


def _scalar(text: str) -> object:
    """``12`` and ``true`` as YAML reads them; everything else stays text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, (bool, int, float)) else text
