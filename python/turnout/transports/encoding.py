"""A message as JSON, for transports that write or send text, and its id as a header.

Strict: what JSON cannot hold is an error and never bent into shape, because a receiver would see another message than
was sent. What json.dumps would let pass or convert silently (NaN, keys that are numbers) is refused too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import quote

from ..errors import DeliveryError, MessageError
from ..message import json_object


def json_line(envelope: Mapping[str, object]) -> bytes:
    """``envelope`` as compact JSON in UTF-8 with a newline at its end; JSON bytes in it count as what they hold.

    Dataclasses, pydantic models and mappings become objects; dates and times become RFC 3339 text.

    Raises:
        DeliveryError: kind ``unencodable``, not retryable: it holds what JSON cannot; the text says what.
    """
    return _json({key: _parsed(value) if isinstance(value, _RAW) else value for key, value in envelope.items()}) + b"\n"


def body_of(message: object, part: str = "message") -> bytes:
    """What is sent of a message: all of it as JSON, or its content (``part="content"``).

    Content that is bytes or text is sent as it is, all other as JSON; so is a message that is JSON already.

    Raises:
        DeliveryError: kind ``unencodable``, not retryable.
    """
    if part == "content":
        message = content_of(message)
        if isinstance(message, str):
            try:
                return message.encode("utf-8")
            except UnicodeEncodeError:
                raise _unencodable("its text holds a lone surrogate") from None
    if isinstance(message, _RAW):
        return bytes(message)
    return _json(message)


def content_of(message: object) -> object:
    """The ``content`` of a message; None where it has none."""
    if isinstance(message, _RAW):
        message = _parsed(message)
    if isinstance(message, Mapping):
        return message.get("content")
    return getattr(message, "content", None)


def key_of(message: object) -> bytes | None:
    """The ``key`` of a message, by which it is ordered, as bytes; None where it has none that is text, bytes or an
    integer.

    Raises:
        DeliveryError: kind ``unencodable``, not retryable.
    """
    if isinstance(message, _RAW):
        message = _parsed(message) if b"key" in bytes(message) else None
    key = message.get("key") if isinstance(message, Mapping) else getattr(message, "key", None)
    if isinstance(key, bytes):
        return key
    if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
        return str(key).encode("utf-8", "surrogatepass")
    return None


def header_id(message_id: str) -> str:
    """A message id as the value of a header: what is not visible ASCII is written ``%XX``, and so is ``%`` itself, so
    that two ids are never the same header."""
    return quote(message_id, safe=_VISIBLE, errors="surrogatepass")


_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


def _json(value: object) -> bytes:
    try:
        line = _ENCODER.encode(value).encode("utf-8")
    except RecursionError:
        raise _unencodable("it is nested too deeply") from None
    except UnicodeEncodeError as error:
        raise _unencodable(f"a text holds a lone surrogate (U+{ord(error.object[error.start]):04X})") from None
    except (TypeError, ValueError) as error:  # another type, NaN, a cycle, an integer too long to print
        not_a_number = str(error).startswith("Out of range float")
        raise _unencodable("a number is NaN or infinite" if not_a_number else str(error)) from None
    except Exception as error:  # a message's own conversion, such as a model's serializer
        raise _unencodable(f"{type(error).__name__}: {error}") from error
    _refuse_other_keys(value)
    return line


_RAW = (bytes, bytearray, memoryview)


def _parsed(raw: bytes | bytearray | memoryview) -> object:
    try:
        return json_object(raw, "message")
    except MessageError as error:
        raise _unencodable(str(error)) from None


def _plain(value: object) -> Any:
    """What ``json.dumps`` shall write for what it does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"JSON has nothing for the type {type(value).__name__}")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def _refuse_other_keys(root: object) -> None:
    """Refuses keys that are not text. After encoding, so that cycles and depth are out of the question."""
    stack = [] if isinstance(root, _LEAVES) else [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise _unencodable(f"the key {str(key)[:100]!r} is of type {type(key).__name__}; keys are text")
                if not isinstance(item, _LEAVES):
                    stack.append(item)
        elif isinstance(value, (list, tuple)):
            stack.extend(item for item in value if not isinstance(item, _LEAVES))
        else:
            stack.append(_plain(value))


_LEAVES = (str, int, float, bool, type(None), datetime, date)


def _unencodable(why: str) -> DeliveryError:
    return DeliveryError("unencodable", f"the message cannot be written as JSON: {why}", retryable=False)
