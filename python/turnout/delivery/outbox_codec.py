"""Messages and dead letters as bytes, for the outbox. JSON, so that a person can read the file with ``sqlite3``.

A mapping comes back as a dict, JSON bytes as they were, a :class:`Message` as one. A dataclass or pydantic model comes
back as a dict of its fields, which rules read alike; a transport gets the dict after a restart.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from ..errors import MessageError
from ..message import Message
from .records import Attempt, Branch, DeadLetter

_R = TypeVar("_R", Attempt, Branch, DeadLetter)

_MAPPING: Final = b"j"
_RAW: Final = b"r"
_ENVELOPE: Final = b"m"
_BYTES: Final = "turnout:base64"
_TIME: Final = "turnout:datetime"
"""The keys that stand for bytes and times; JSON has neither."""


def encode(message: object) -> bytes:
    """The message as bytes.

    Raises:
        MessageError: something in it cannot be written as JSON; it says what.
    """
    if type(message) is dict:  # the usual case, and of what is below only the last
        return _MAPPING + _dumped(message)
    if isinstance(message, (bytes, bytearray, memoryview)):
        return _RAW + bytes(message)
    if isinstance(message, Message):
        fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
        fields["headers"] = dict(message.headers)
        for name in ("deadline", "not_before"):
            fields[name] = None if fields[name] is None else fields[name].isoformat()
        return _ENVELOPE + _dumped(fields)
    if hasattr(type(message), "__pydantic_fields__"):
        return _MAPPING + _dumped(message.model_dump(mode="json"))  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(message) and not isinstance(message, type):
        return _MAPPING + _dumped(dataclasses.asdict(message))
    return _MAPPING + _dumped(message)


def decode(body: bytes) -> Any:
    """The message that :func:`encode` wrote."""
    kind, rest = body[:1], body[1:]
    if kind == _RAW:
        return rest
    value = json.loads(rest, object_hook=_undo)
    if kind == _ENVELOPE:
        names = {field.name for field in dataclasses.fields(Message)}
        fields = {name: field for name, field in value.items() if name in names}
        for name in ("deadline", "not_before"):
            if fields.get(name) is not None:
                fields[name] = datetime.fromisoformat(fields[name])
        return Message(**fields)
    return value


def encode_letter(letter: DeadLetter) -> bytes:
    """A dead letter as bytes, without its number. Answers of transports that JSON has no word for become text."""
    record = {field.name: getattr(letter, field.name) for field in dataclasses.fields(letter) if field.name != "number"}
    record["message"] = base64.b64encode(encode(letter.message)).decode()
    for name in ("attempts", "branches"):
        record[name] = [dataclasses.asdict(part) for part in record[name]]
    return json.dumps(record, default=str).encode()


def decode_letter(body: bytes) -> DeadLetter:
    """The dead letter that :func:`encode_letter` wrote, in this version or another: fields that are not known here are
    left out, and those that are missing have a value that says nothing.

    Raises:
        ValueError: it is no dead letter.
    """
    record = json.loads(body)
    if not isinstance(record, dict) or not isinstance(record.get("message"), str):
        raise ValueError("a dead letter without a message")
    record["message"] = decode(base64.b64decode(record["message"]))
    record["attempts"] = _all(Attempt, record.get("attempts"))
    record["branches"] = tuple(
        _known(Branch, {**branch, "attempts": _all(Attempt, branch.get("attempts"))})
        for branch in record.get("branches") or ()
    )
    return _known(DeadLetter, record)


def encode_branch(branch: Branch) -> bytes:
    """What became of a message in a branch so far. The transport's answer is left out."""
    return json.dumps(dataclasses.asdict(dataclasses.replace(branch, value=None)), default=str).encode()


def decode_branch(body: bytes) -> Branch:
    """What :func:`encode_branch` wrote, in this version or another.

    Raises:
        ValueError: it is no such thing.
    """
    record = json.loads(body)
    if not isinstance(record, dict):
        raise ValueError("no record of a branch")
    return _known(Branch, {**record, "attempts": _all(Attempt, record.get("attempts"))})


_NOTHING: Final[dict[str, Any]] = {
    "str": "", "int": 0, "float": 0.0, "bool": False, "Status": "dead_lettered", "Reason": "internal",
    "Outcome": "failure", "Literal['dead_lettered', 'expired']": "dead_lettered",
}  # fmt: skip
"""What stands for a missing field, by its type; None for others, which may be None."""


def _known(record: type[_R], fields: Mapping[str, Any]) -> _R:
    found = {
        field.name: fields.get(field.name, _NOTHING.get(str(field.type).replace('"', "'")))
        for field in dataclasses.fields(record)
        if field.name in fields or field.default is dataclasses.MISSING
    }
    return record(**found)


def _all(record: type[_R], found: list[Mapping[str, Any]] | None) -> tuple[_R, ...]:
    return tuple(_known(record, fields) for fields in found or ())


def _dumped(value: object) -> bytes:
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError("message", f"cannot be kept in the outbox: {error}; use what JSON can say") from None


def _default(value: object) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__}")


_ENCODER: Final = json.JSONEncoder(default=_default, ensure_ascii=False, separators=(",", ":"))
"""Kept, because ``json.dumps`` makes one for each call."""


def _undo(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        if isinstance(time := found.get(_TIME), str):
            return datetime.fromisoformat(time)
        if _BYTES in found:
            return base64.b64decode(found[_BYTES])
    return found
