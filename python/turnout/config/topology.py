"""What messages are routed by and to: rules, the urgent lane, pools and destinations."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from ..errors import ConfigError
from .channels import SCHEMES, read_options
from .health import HealthCheckConfig
from .model import Count, Finding, Loading, Model, ModelError, Name, Names, Number, Switch
from .placeholders import has_placeholder, resolve
from .rate import RateLimit
from .sections import Policy, Schedule
from .source import MAX_DEPTH

Clearance = Literal["public", "internal", "confidential", "restricted"]
CLEARANCES: tuple[str, ...] = get_args(Clearance)
"""Classifications, the least secret first."""

Admin = Literal["enabled", "draining", "disabled"]

_PATH = re.compile(r"message(\.[A-Za-z_][A-Za-z0-9_]*)+")
_MASKED = "**********"  # what pydantic writes for a secret


def _plain(value: object, depth: int = 1) -> Any:
    """A copy of ``value`` made of what JSON has, keys in order."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a pattern's keys are text")
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    raise ValueError(f"a pattern holds what JSON has, not {type(value).__name__}")


def _pattern(value: object) -> object:
    return _plain(value) if isinstance(value, Mapping) else value


class Quorum(Model):
    """How many pools must take a message for it to count as delivered."""

    quorum: Count = Field(ge=1, description="Pools that must take the message, at least.")


def _how(value: object) -> str:
    return "<quorum>" if isinstance(value, (Mapping, Quorum)) else "<word>"


PartialFailure = Annotated[
    Annotated[Literal["all", "any"], Tag("<word>")] | Annotated[Quorum, Tag("<quorum>")], Discriminator(_how)
]


class RuleConfig(Model):
    """A rule: a condition, a priority and a route."""

    id: Name = Field(description="The rule's name, unique; decisions and errors name it.")
    priority: Count = Field(
        default=0,
        ge=-(2**31),
        le=2**31 - 1,
        description="Higher is tried first; ties go to the earlier rule in the file.",
    )
    when: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description='Condition in CEL, such as: message.channel == "sms" && message.priority >= 7'
    )
    match: Annotated[dict[str, Any], BeforeValidator(_pattern, dict[str, Any])] | None = Field(
        default=None, description="Condition as an EventBridge event pattern; with `when` too, both must hold."
    )
    to: Names = Field(description="The pool the message goes to, or a list of pools in order of preference.")
    mode: Literal["first", "all"] = Field(
        default="first", description="first: one pool, the next when it cannot serve. all: every pool gets the message."
    )
    on_partial_failure: PartialFailure = Field(
        default="all",
        description="With mode all: which pools must take the message for it to count as delivered: all of them, any, "
        "or {quorum: n}. Of a delivered one, each pool that did not take it leaves a dead letter (partial).",
    )
    enabled: Switch = Field(default=True, description="false: the rule is checked, but never matches.")
    description: str | None = Field(default=None, description="For people; no effect.")


class UrgentConfig(Model):
    """The lane of urgent messages: the priority_based stage."""

    min_priority: Count = Field(
        default=8, ge=0, le=9, description="Messages of this priority (0-9) and above are urgent."
    )
    to: Names = Field(description="The pool for urgent messages, or a list of pools in order of preference.")


class PoolMember(Model):
    """A destination's place in a pool."""

    id: Name = Field(description="A key of `destinations`.")
    weight: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = Field(
        default=None, description="Share of messages in this pool; 0: none. Default: the destination's own weight."
    )
    tier: Annotated[int, Field(strict=True, ge=0, le=255)] | None = Field(
        default=None, description="0: primary; 1 and up: backups of this pool. Default: the destination's own tier."
    )


def _member(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


def _path(value: object) -> object:
    if isinstance(value, str) and not _PATH.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is no path; write one such as message.content.user.id")
    return value


class PoolRetryConfig(Model):
    """How failed deliveries to a pool are tried again."""

    schedule: Schedule = Field(
        description="As retries.schedule. With several pools in one route: the soonest of those that failed, and a "
        "pool whose own is used up is not tried again."
    )


class PoolConfig(Model):
    """Destinations under one balancing policy."""

    policy: Policy | None = Field(
        default=None,
        description="Balancing policy. auto: chosen by the shape of the pool and by what is observed. "
        "Default: routing.load_balancing, or round_robin.",
    )
    key: Annotated[str, BeforeValidator(_path, Annotated[str, Field(pattern=f"^{_PATH.pattern}$")])] | None = Field(
        default=None,
        description="For maglev, rendezvous and auto: the field (text, bytes or an integer) whose value decides, such "
        "as message.content.user.id. Messages without it go anywhere, by weight. Default: message.key.",
    )
    bounded_load: Annotated[float, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="For maglev, rendezvous and auto: a destination holds at most so many times its share of what the "
        "pool holds, such as 1.25; what is more goes on to others. Default: no bound.",
    )
    max_waiting: Annotated[int, Field(strict=True, ge=1, le=100_000_000)] | None = Field(
        default=None,
        description="Messages that may wait for the pool, for a destination or for another attempt; one more becomes "
        "a dead letter, queue_full. Default: with other pools, what all that wait leave of performance.max_waiting.",
    )
    retries: PoolRetryConfig | None = Field(
        default=None, description="What is different for this pool of what retries at the top says."
    )
    destinations: Annotated[
        tuple[Annotated[PoolMember, BeforeValidator(_member, Name | PoolMember)], ...], Field(min_length=1)
    ] = Field(description="Ids of destinations, or {id, weight, tier}.")


def _secret(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    if value == _MASKED:
        raise ValueError("a masked value, as printed; write the secret again, such as ${env:NAME}")
    loading = _loading(info)
    return SecretStr(resolve(value, loading.base) if loading.resolve_secrets else value)


def _loading(info: ValidationInfo) -> Loading:
    return info.context if isinstance(info.context, Loading) else Loading()


class DestinationConfig(Model):
    """One sendable target."""

    url: Annotated[str, Field(min_length=1, max_length=8192)] | None = Field(
        default=None,
        description="Where to deliver: callable:NAME, a Python callable given to Router.transport; spool:DIR, files in "
        "a directory; https://HOST/PATH and other channels. May hold ${env:NAME} and ${file:PATH}. Absent: for "
        "deciding only.",
    )
    options: dict[str, Any] | None = Field(
        default=None,
        description="What the channel needs besides its url, by its scheme. Texts may hold ${env:NAME} and "
        "${file:PATH}.",
    )
    secret: (
        Annotated[
            SecretStr,
            BeforeValidator(_secret),
            WithJsonSchema({"type": "string", "format": "password", "writeOnly": True}, mode="validation"),
        ]
        | None
    ) = Field(
        default=None,
        description="Handed to the transport: the key that webhooks are signed with, else the password of the url's "
        "user. Written as ${env:NAME} or ${file:PATH}. Never shown.",
    )
    weight: Count = Field(default=1, ge=0, le=1_000_000, description="Share of messages; 0: none.")
    tier: Count = Field(default=0, ge=0, le=255, description="0: primary; 1 and up: backups.")
    max_in_flight: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="Messages held for it at once. Default: no cap."
    )
    rate_limit: RateLimit | None = Field(
        default=None,
        description="Messages a second it gets at most, such as 50/s, or {rate, burst}. At its limit another one is "
        "used, or waited for. Counted by each process for itself. Default: no limit.",
    )
    cost: Number = Field(default=0.0, ge=0, le=1e12, description="Cost of one message, in any one unit.")
    clearance: Clearance = Field(default="public", description="The highest classification of messages it may receive.")
    admin: Admin = Field(
        default="enabled", description="draining: nothing new, what is held finishes. disabled: out of use."
    )
    health_check: HealthCheckConfig | None = Field(
        default=None, description="How its health is found out while the router runs. Absent: by nobody."
    )
    description: str | None = Field(default=None, description="For people; no effect.")

    _resolved: SecretStr | None = PrivateAttr(None)
    _options: BaseModel | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> DestinationConfig:
        if self.url is None:
            if self.options is not None:
                raise ModelError([Finding(("options",), "is for the channel of a url, and there is none", key=True)])
            return self
        loading = _loading(info)
        try:
            if loading.resolve_secrets:
                self._resolved = SecretStr(resolve(self.url, loading.base))
            scheme = _scheme(self.url, self._resolved)
        except ValueError as error:
            raise ModelError([Finding(("url",), str(error))]) from None
        try:
            options = _resolved_texts(self.options or {}, loading)
        except ValueError as error:
            raise ModelError([Finding(("options",), str(error))]) from None
        if scheme is not None and options is not None:
            self._options = read_options(scheme, options)
        return self

    def resolved_url(self) -> str | None:
        """The url with its placeholders replaced: may hold secrets, so not for logs. None if there is no url.

        Raises:
            ConfigError: the configuration was loaded with ``resolve_secrets=False``.
        """
        if self._resolved is not None:
            return self._resolved.get_secret_value()
        if self.url is not None and has_placeholder(self.url):
            raise ConfigError(f"the url {self.url!r} was loaded without its secrets; load it with resolve_secrets=True")
        return None if self.url is None else resolve(self.url, Path())  # only escapes are left to replace

    def resolved_options(self) -> BaseModel | None:
        """The options of the url's scheme, their placeholders replaced, as :data:`~.channels.SCHEMES` has them.

        None if there is no url, or the configuration was loaded with ``resolve_secrets=False`` and holds some.
        """
        return self._options


def _resolved_texts(value: Any, loading: Loading) -> Any:
    """Options with the placeholders in their texts replaced; None if there are some and they shall not be."""
    if isinstance(value, str):
        if not loading.resolve_secrets:
            return None if has_placeholder(value) else value
        return resolve(value, loading.base)
    if isinstance(value, Mapping):
        items = {key: _resolved_texts(item, loading) for key, item in value.items()}
        return None if any(items[key] is None and value[key] is not None for key in items) else items
    if isinstance(value, (list, tuple)):
        parts = [_resolved_texts(item, loading) for item in value]
        return None if any(new is None and old is not None for new, old in zip(parts, value, strict=True)) else parts
    return value


def _scheme(written: str, resolved: SecretStr | None) -> str | None:
    """The scheme, a known one; None if it is not resolved. An error names it only where it was written plainly, for
    what is resolved may be a secret."""
    plain = "$" not in written.partition(":")[0]
    if resolved is None and not plain:
        return None  # nothing is known of what it stands for
    scheme, colon, rest = (written if resolved is None else resolved.get_secret_value()).partition(":")
    known = ", ".join(f"{scheme}:" for scheme in SCHEMES)
    if not colon:
        raise ValueError(f"a url starts with its scheme; known: {known}")
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme{f' {scheme!r}' if plain else ''}; known: {known}")
    if not rest:
        raise ValueError(f"the url ends after '{scheme}:'; name what to deliver to")
    return scheme
