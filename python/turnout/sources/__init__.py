"""Sources: where messages come from, one module a kind. With them a process is a complete bridge.

A source's url says which: ``redis://HOST/0?stream=orders&group=hub``; a path is a file of JSON lines, ``-`` is standard
input. One that needs a package which turnout itself does not is imported only when it is asked for. A source hands over
messages that the broker keeps until they are acknowledged, which :class:`~.bridge.Bridge` does when each is settled, or
in the outbox.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from ..config import SOURCES, SourceOptions, read_source_options
from ..errors import ConfigError
from .base import Incoming, Source
from .bridge import WINDOW, Bridge, Bridged, Watch, bridge
from .file import STDIN, FileSource

__all__ = [
    "STDIN",
    "WINDOW",
    "Bridge",
    "Bridged",
    "FileSource",
    "Incoming",
    "Source",
    "Watch",
    "bridge",
    "source",
]

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+):")  # two letters at least: one is a drive of Windows
_MODULES: Final = {
    "redis": ("redis", "RedisSource", "redis", "redis"),
    "rediss": ("redis", "RedisSource", "redis", "redis"),
    "nats": ("nats", "NatsSource", "nats", "nats"),
    "amqp": ("amqp", "AmqpSource", "aio_pika", "amqp"),
    "amqps": ("amqp", "AmqpSource", "aio_pika", "amqp"),
    "kafka": ("kafka", "KafkaSource", "confluent_kafka", "kafka"),
}
"""By scheme: the module here, its class, the package it needs, and the extra that brings that."""


def source(url: str, **options: Any) -> Source:
    """The source that a url names; its options may stand in the url's query too.

    Raises:
        ConfigError: the scheme or an option is unknown, an option is missing or wrong, a package is missing, or a file
            cannot be read.
    """
    found = _SCHEME.match(url)
    scheme = "file" if found is None else found[1]
    if scheme not in SOURCES:
        known = ", ".join(f"{name}:" for name in SOURCES)
        raise ConfigError(f"unknown source {scheme[:32]}:; known: {known}, a path, and - for standard input")
    if scheme == "file":
        path = url.removeprefix("file:").removeprefix("//") if found else url
        return FileSource(path, _options(scheme, options))
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        if scheme != "kafka":  # its url may name several hosts
            _ = parts.port
    except ValueError:
        raise ConfigError(f"the url of the {scheme}: source cannot be read") from None
    made = _options(scheme, {**dict(query), **options})
    module, name, package, extra = _MODULES[scheme]
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"sources of {scheme}: need the package {package}: pip install 'turnout[{extra}]'")
    kind = getattr(importlib.import_module(f".{module}", __package__), name)
    found_source: Source = kind(urlunsplit(parts._replace(query="")), made)
    return found_source


def _options(scheme: str, given: Mapping[str, Any]) -> SourceOptions:
    return read_source_options(scheme, given)
