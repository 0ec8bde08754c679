"""The typed envelope of a message, and the ids of messages that bring none. A leaf besides ``errors``.

Nobody has to use :class:`Message`: a mapping, a dataclass, a pydantic model or JSON bytes is a message too. It is for
those who want the router's own fields checked where the message is made rather than where it is routed.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn

from .errors import MessageError

DEFAULT_PRIORITY: Final = 4
"""The priority of a message that names none: the middle, so that there is room on both sides."""
MAX_PRIORITY: Final = 9
"""The most urgent priority; 0 is the least."""

_LATEST: Final = 253_402_300_799
"""The last second of the year 9999; times beyond it are milliseconds by mistake."""
_LONGEST_KEY: Final = 1_024
"""Characters of an ordering key: it stays in memory with each message."""


class _Ids:
    """Ids that are unique across processes: 64 random bits of this process, then a count. About 0.2 µs each."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._count = itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}-{next(self._count):x}"


_ids = _Ids()
# A forked child would go on with its parent's prefix and count, and so give out its parent's ids again.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)


def new_id() -> str:
    """A message id that no other message has, in this process or another."""
    return _ids.next()


@dataclass(frozen=True, slots=True)
class Message:
    """What is routed, with the fields that the router itself knows how to use. Rules see them as ``message.<field>``.

    Frozen as far as its own fields go; ``content`` and ``headers`` are kept as they are given, not copied.

    Raises:
        MessageError: a field has the wrong type or range; it names the field and what to give instead.
    """

    content: Any = None
    """The message itself: anything that rules shall look into and the transport can send."""
    id: str = field(default_factory=new_id)
    """Names the message in deliveries, dead letters and spool files; a new one if none is given."""
    channel: str | None = None
    """What kind of way it takes, such as ``sms``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names and values besides the content."""
    priority: int = DEFAULT_PRIORITY
    """0 (least urgent) to 9; the urgent overtake the waiting."""
    destination: str | None = None
    """Id of the one destination it is meant for; the stage ``destination_based`` obeys it."""
    key: str | None = None
    """Messages of one key belong together (affinity)."""
    deadline: datetime | None = None
    """When it stops being worth delivering; with a time zone. ``performance.timeout`` may end it sooner."""
    not_before: datetime | None = None
    """When it is due; with a time zone. None: at once."""
    ordering_key: str | None = None
    """Messages of one such key are attempted one after another, in their order of acceptance."""
    principal: str | None = None
    """On whose behalf it is sent."""
    classification: str | None = None
    """How secret it is: only destinations with at least this clearance may receive it."""

    def __post_init__(self) -> None:
        if type(self.id) is not str or not self.id:
            raise MessageError("message.id", f"is {_named(self.id)}; give a text that is not empty, or leave it out")
        priority = self.priority
        if type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
            raise priority_error(priority)
        for name in ("channel", "destination", "key", "principal", "classification"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise MessageError(f"message.{name}", f"is {_named(value)}; give a text or None")
        headers: object = self.headers  # whatever it is said to be, as the deadline
        if not isinstance(headers, Mapping):
            raise MessageError("message.headers", f"is {_named(headers)}; give a mapping from text to text")
        for name, value in headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                problem = f"header {name!r} is {_named(value)}; both its name and its value are text"
                raise MessageError("message.headers", problem)
        for name in ("deadline", "not_before"):
            _check_time(getattr(self, name), f"message.{name}")
        if self.ordering_key is not None:
            read_ordering_key(self.ordering_key, "message.ordering_key")

    @classmethod
    def from_cloudevent(cls, event: Mapping[str, Any] | bytes | bytearray | str) -> Message:
        """A message from a CloudEvent 1.0 in its structured JSON form, as a mapping or as JSON text.

        - ``id`` is the event's; CloudEvents make only ``source`` and ``id`` together unique.
        - ``content`` is ``data``, or the bytes of ``data_base64``; ``channel`` is ``type``.
        - ``key`` is the extension ``partitionkey``, ``deadline`` is ``expirytime``, ``classification`` is
          ``dataclassification``, ``priority`` and ``principal`` are the extensions of those names.
        - ``headers`` are all context attributes as text, named as in the HTTP binding: ``ce-source``, ``ce-type``, ….

        Raises:
            MessageError: not a CloudEvent, or an attribute that cannot be used; it names the attribute.
        """
        attributes = _event(event)
        data = attributes.get("data")
        if "data_base64" in attributes:
            data = _decoded(attributes["data_base64"])
        headers = {
            f"ce-{name}": value if isinstance(value, str) else json.dumps(value)
            for name, value in attributes.items()
            if name not in ("data", "data_base64") and value is not None
        }
        expiry = attributes.get("expirytime")
        try:
            deadline = datetime.fromisoformat(expiry) if isinstance(expiry, str) else expiry
        except ValueError:
            raise MessageError("event.expirytime", f"{expiry!r} is no RFC 3339 time") from None
        priority = attributes.get("priority")
        return cls(
            content=data,
            id=attributes["id"],
            channel=attributes["type"],
            headers=headers,
            priority=DEFAULT_PRIORITY if priority is None else priority,
            key=attributes.get("partitionkey"),
            deadline=deadline,
            principal=attributes.get("principal"),
            classification=attributes.get("dataclassification"),
        )


def _check_time(time: object, field: str) -> None:
    if time is not None and (not isinstance(time, datetime) or time.utcoffset() is None):
        raise MessageError(field, f"is {_named(time)}; give a datetime with a time zone, such as datetime.now(UTC)")


def priority_error(priority: object) -> MessageError:
    """The error for a ``priority`` that is none."""
    shown = repr(priority) if type(priority) is int and -1000 < priority < 1000 else _named(priority)
    return MessageError("message.priority", f"is {shown}; give an integer from 0 (least urgent) to {MAX_PRIORITY}")


def read_time(value: object, field: str) -> float:
    """A time in Unix seconds: of a datetime with a zone, an RFC 3339 text, or a number of Unix seconds.

    Raises:
        MessageError: it is none, or not from 1970 to 9999; ``field`` is what it is called then.
    """
    time: object = value
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            time = None
    if isinstance(time, datetime) and time.utcoffset() is not None:
        time = time.timestamp()
    if isinstance(time, (int, float)) and not isinstance(time, bool) and 0 <= time <= _LATEST:
        return float(time)
    shown = repr(value) if isinstance(value, (int, float, datetime)) and len(repr(value)) < 100 else _named(value)
    raise MessageError(
        field,
        f"is {shown}; give a datetime with a time zone, an RFC 3339 text such as 2030-01-31T08:00:00Z, or Unix seconds",
    )


def read_ordering_key(value: object, field: str) -> str:
    """An ordering key.

    Raises:
        MessageError: it is no text of 1 to 1,024 characters; ``field`` is what it is called then.
    """
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_KEY:
        return value
    shown = f"a text of {len(value)} characters" if isinstance(value, str) and value else _named(value)
    raise MessageError(field, f"is {shown}; give a text of 1 to {_LONGEST_KEY:,} characters, or leave it out")


def json_object(raw: bytes | bytearray | memoryview | str, field: str) -> dict[str, Any]:
    """The JSON object in ``raw``, strictly: UTF-8, no NaN or Infinity. ``field`` is what errors call it.

    Raises:
        MessageError: not JSON, not an object, or nested too deeply to be read.
    """
    try:
        text = raw if isinstance(raw, str) else bytes(raw).decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise MessageError(field, f"is not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MessageError(field, f"is not JSON ({place}): {error.msg}") from None
    except RecursionError:
        raise MessageError(field, "is nested too deeply to be read; flatten it") from None
    except ValueError as error:  # NaN, or an integer with more digits than Python converts
        raise MessageError(field, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MessageError(field, f"is a JSON {type(value).__name__}; a message is a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null or a text")


def _event(event: object) -> Mapping[str, Any]:
    if isinstance(event, (bytes, bytearray, str)):
        event = json_object(event, "event")
    if not isinstance(event, Mapping):
        raise MessageError("event", f"is {_named(event)}; give a CloudEvent as a mapping or as JSON")
    for name in ("id", "source", "specversion", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise MessageError(f"event.{name}", "is missing or not a text; every CloudEvent has it")
    if not event["specversion"].startswith("1."):
        raise MessageError("event.specversion", f"is {event['specversion']!r}; CloudEvents 1.0 can be read")
    return event


def _decoded(data: object) -> bytes:
    if isinstance(data, str):
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise MessageError("event.data_base64", f"is not base64: {error}") from None
    raise MessageError("event.data_base64", f"is {_named(data)}; give a base64 text")


def _named(value: object) -> str:
    """What ``value`` is, without showing it: it may be long, or secret."""
    if value is None:
        return "None"
    if isinstance(value, str) and not value:
        return "an empty text"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
