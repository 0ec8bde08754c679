"""What each kind of transport may be told besides its url: the key ``options`` of a destination, by the url's scheme.

One model a kind; :data:`SCHEMES` says which scheme takes which. A transport of one's own adds its scheme by
:func:`add_scheme`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import ConfigError
from .duration import PositiveDuration
from .model import Count, Finding, Model, ModelError, Switch

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset(
    {"content-length", "content-type", "host", "transfer-encoding", "x-envoy-expected-rq-timeout-ms"}
)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("expected a network such as 10.1.0.0/16 or fd00::/8, or one address") from None
    return value


def _proxy(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("expected a url such as http://proxy.internal:3128")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name) or lower.startswith("webhook-") or lower in _OWN_HEADERS:
            raise ValueError(f"the header {name[:80]!r} is malformed, or set by the transport itself")
        if not text.isprintable():
            raise ValueError(f"the header {name[:80]!r} holds control characters")
    return value


Text = Annotated[str, Field(min_length=1, max_length=1024)]
File = Annotated[str, Field(min_length=1, max_length=4096)]


class NoOptions(Model):
    """Of channels whose url says everything."""


class SendingOptions(Model):
    """What every channel that sends something has."""

    body: Literal["message", "content"] = Field(
        default="message",
        description="What is sent: the whole message as JSON, or its content: bytes and text as they are, all else "
        "as JSON.",
    )
    timeout: PositiveDuration = Field(
        default=10.0,
        description="For connecting, and for one answer of the other end. The message's own time bounds it too.",
    )


class ChannelOptions(SendingOptions):
    """What every channel that has connections of our own has."""

    ca_file: File | None = Field(
        default=None, description="With TLS: file with the certificates to trust (PEM). Default: the system's."
    )


class WebhookOptions(ChannelOptions):
    """``https:`` and ``http:``."""

    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict, description="Further headers of the request, such as authorization."
    )
    allow: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(),
        description="Networks that may be reached although they are private or special, such as 10.1.0.0/16. "
        "Default: public addresses only.",
    )
    proxy: Annotated[str, Field(max_length=8192), AfterValidator(_proxy)] | None = Field(
        default=None, description="A proxy to go through; then the proxy, and not `allow`, guards addresses."
    )
    max_response: Count = Field(
        default=65_536, ge=0, le=2**26, description="Bytes of an answer that are read; of a longer one the rest is not."
    )


class RedisOptions(ChannelOptions):
    """``redis:`` and ``rediss:``: a Redis stream."""

    stream: Text = Field(description="Key of the stream.")
    max_length: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        default=None, description="Entries the stream keeps, about; the oldest go. Default: all."
    )


class NatsOptions(ChannelOptions):
    """``nats:``: a subject of a JetStream stream."""

    subject: Text = Field(description="The subject; a JetStream stream must have it.")
    stream: Text | None = Field(default=None, description="The stream that must take it. Default: whichever does.")
    tls: Switch = Field(default=False, description="Whether the server must be spoken to over TLS.")


class SmtpOptions(ChannelOptions):
    """``smtp:`` and ``smtps:``: mail to one address."""

    sender: Text = Field(description="Address the mail is from.")
    to: Text = Field(description="Address the mail goes to.")
    subject: Text = Field(default="Message", description="Subject of a mail whose content has none.")
    starttls: Switch = Field(
        default=True, description="smtp: false sends in the clear, for a server on the same machine."
    )
    connections: Count = Field(default=4, ge=1, le=100, description="Connections at once; one carries one mail.")


class AmqpOptions(ChannelOptions):
    """``amqp:`` and ``amqps:``: an exchange of RabbitMQ."""

    exchange: Annotated[str, Field(max_length=255)] = Field(
        default="", description="The exchange. Default: the nameless one, which takes the key for a queue's name."
    )
    routing_key: Annotated[str, Field(max_length=255)] = Field(description="Routing key, or the queue's name.")


def _topic(value: str) -> str:
    if set("+#\0") & set(value) or len(value.encode("utf-8", "surrogatepass")) > 65_535:
        raise ValueError("expected the name of one topic, without '+', '#' and the character NUL")
    return value


class MqttOptions(ChannelOptions):
    """``mqtt:`` and ``mqtts:``: a topic of an MQTT 5 broker."""

    topic: Annotated[str, Field(min_length=1), AfterValidator(_topic)] = Field(description="The topic.")
    retain: Switch = Field(default=False, description="Whether the broker keeps it for those who subscribe later.")
    mandatory: Switch = Field(
        default=True, description="Whether a message that nobody has subscribed to, and is not retained, has failed."
    )
    client_id: Text | None = Field(
        default=None, description="Client identifier, of this process alone. Default: the broker gives one."
    )


class KafkaOptions(ChannelOptions):
    """``kafka:``: a topic of Kafka."""

    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = Field(description="The topic.")
    tls: Switch = Field(default=False, description="Whether brokers are spoken to over TLS.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How the url's user proves who he is (SASL)."
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none", description="How batches are compressed."
    )


class AppriseOptions(SendingOptions):
    """``apprise:`` and a url of Apprise."""

    title: Text = Field(default="Message", description="Title of a notification whose content has no subject.")
    type: Literal["info", "success", "warning", "failure"] = Field(
        default="info", description="What kind of news it is; services show it by colour or sign."
    )
    threads: Count = Field(default=4, ge=1, le=64, description="Notifications at once; each takes a thread.")


class FreeOptions(BaseModel):
    """Any options: of a transport of one's own that has no model for them."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)


SCHEMES: dict[str, type[BaseModel]] = {
    "callable": NoOptions,
    "spool": NoOptions,
    "https": WebhookOptions,
    "http": WebhookOptions,
    "redis": RedisOptions,
    "rediss": RedisOptions,
    "nats": NatsOptions,
    "amqp": AmqpOptions,
    "amqps": AmqpOptions,
    "smtp": SmtpOptions,
    "smtps": SmtpOptions,
    "mqtt": MqttOptions,
    "mqtts": MqttOptions,
    "kafka": KafkaOptions,
    "apprise": AppriseOptions,
}
"""The options of a destination by the scheme of its url."""


def add_scheme(scheme: str, options: type[BaseModel] = FreeOptions) -> None:
    """Makes urls of a further scheme known. See :func:`turnout.transports.register`.

    Raises:
        ConfigError: it is no scheme, or is taken.
    """
    if not _SCHEME.fullmatch(scheme):
        raise ConfigError(f"{scheme!r} is no scheme of a url: small letters, digits, '+', '.', '-'")
    if scheme in SCHEMES:
        raise ConfigError(f"there is a transport for {scheme}: already; give this one another scheme")
    SCHEMES[scheme] = options


def read_options(scheme: str, options: Mapping[str, Any]) -> BaseModel:
    """The options of a destination whose url has ``scheme``, a known one.

    Raises:
        ModelError: with every problem, at its path in the destination.
    """
    from .problems import from_validation  # it knows every model, and so also who calls this

    model = SCHEMES[scheme]
    try:
        return model.model_validate(options)
    except ValidationError as error:
        found = from_validation(error, options, ("options",), model=model)
        raise ModelError([Finding(path, message, key) for path, message, key in found]) from None
