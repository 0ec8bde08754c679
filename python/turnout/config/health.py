"""How the health of a destination is found out: the key ``health_check`` of a destination."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .duration import PositiveDuration
from .model import Count, Finding, Model, ModelError, Name

KINDS = ("http", "tcp", "tls", "callable", "heartbeat")
"""The kinds of health checks; a check names one."""

_HTTP_ONLY = ("method", "status", "body")
_TLS_ONLY = ("server_name", "ca_file")
_NOT_OF_HEARTBEATS = ("timeout", "fall")


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("expected a url such as https://host:8443/healthz")
    return value


def _address(value: str) -> str:
    try:
        host_and_port(value)
    except ValueError:
        raise ValueError("expected host:port, such as db.internal:5432 or [::1]:5432") from None
    return value


def host_and_port(address: str) -> tuple[str, int]:
    """The two halves of ``host:port``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(f"//{address}")
    if parts.hostname is None or not parts.port or parts.path or parts.query or parts.username is not None:
        raise ValueError("not host:port")
    return parts.hostname, parts.port


def _status(value: object) -> object:
    return (value,) if isinstance(value, (int, str)) and not isinstance(value, bool) else value


def _codes(value: object) -> tuple[int, int]:
    """A code or a range of codes, both ends included."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(code) is int for code in value):
        first, last = value
    elif isinstance(value, str):
        low, dash, high = value.partition("-")
        if not low.isascii() or not low.isdigit() or (dash and not (high.isascii() and high.isdigit())):
            raise ValueError("expected a status such as 200, or a range such as 200-299")
        first, last = int(low), int(high or low)
    elif type(value) is int:
        first = last = value
    else:
        raise ValueError("expected a status such as 200, or a range such as 200-299")
    if not 100 <= first <= last <= 599:
        raise ValueError("a status is between 100 and 599, and a range begins with the lower one")
    return first, last


Codes = Annotated[tuple[int, int], BeforeValidator(_codes, int | str)]


class HealthCheckConfig(Model):
    """How a destination's health is found out. One of http, tcp, tls, callable and heartbeat says the kind."""

    http: Annotated[str, Field(max_length=8192), AfterValidator(_url)] | None = Field(
        default=None,
        description="A url, http or https: healthy if the answer has one of `status`, and `body` in it. Redirects are "
        "not followed; proxies are not used. Needs turnout[http].",
    )
    tcp: Annotated[str, Field(max_length=512), AfterValidator(_address)] | None = Field(
        default=None, description="host:port: healthy if a connection is accepted."
    )
    tls: Annotated[str, Field(max_length=512), AfterValidator(_address)] | None = Field(
        default=None, description="host:port: healthy if a TLS session is set up, the certificate verified."
    )
    callable: Name | None = Field(
        default=None,
        description="A Python callable given to Router.health_check under this name. Called with the destination's id; "
        "healthy if it returns None or true.",
    )
    heartbeat: PositiveDuration | None = Field(
        default=None,
        description="The destination tells of itself, through Router.heartbeat: unhealthy if it has not for so long.",
    )
    method: Literal["GET", "HEAD"] = Field(default="GET", description="http: the request's method.")
    status: Annotated[tuple[Codes, ...], Field(min_length=1), BeforeValidator(_status, int | str | list[Any])] = Field(
        default=((200, 299),), description="http: the status codes of health, such as 200, 200-299 or [200, 404]."
    )
    body: Annotated[str, Field(min_length=1, max_length=8192)] | None = Field(
        default=None, description="http: text that the first 64 KiB of the answer must hold."
    )
    server_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="tls, https: the name the certificate must be for. Default: the host."
    )
    ca_file: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="tls, https: file with the certificates to trust (PEM). Default: the system's."
    )
    interval: PositiveDuration = Field(default=2.0, description="Time from one check to the next, up to 10 % off.")
    timeout: PositiveDuration = Field(default=1.0, description="Time for one check; one that takes longer has failed.")
    fall: Count = Field(default=3, ge=1, le=1_000, description="Failed checks in a row that make it unhealthy.")
    rise: Count = Field(default=2, ge=1, le=1_000, description="Good checks in a row that make it healthy again.")

    @property
    def kind(self) -> str:
        """Which of :data:`KINDS` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> HealthCheckConfig:
        named = [kind for kind in KINDS if getattr(self, kind) is not None]
        if not named:
            raise ModelError([Finding((), f"says not what to check; give one of {', '.join(KINDS)}")])
        found = [Finding((kind,), f"a health check has one kind, and {named[0]} is given") for kind in named[1:]]
        is_https = self.http is not None and self.http.startswith("https:")
        idle = [
            (_HTTP_ONLY, self.http is None, "http"),
            (_TLS_ONLY, self.tls is None and not is_https, "tls and https"),
            (_NOT_OF_HEARTBEATS, self.heartbeat is not None, "checks that ask"),
        ]
        found += [
            Finding((key,), f"is for {of}, and this check is {named[0]}", key=True)
            for keys, has_none, of in idle
            for key in keys
            if has_none and key in self.model_fields_set
        ]
        if found:
            raise ModelError(found)
        return self
