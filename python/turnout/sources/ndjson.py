"""Newline-delimited JSON read as messages, one a line, whatever the lines hold.

A line that is no message is not an error of the reader: it comes out as a :class:`Line` that says what is wrong
with it, and reading goes on. Memory is bounded by one line: a line beyond :data:`MAX_LINE_BYTES` is dropped while it
is read. Lines end with ``\\n`` (``\\r\\n`` too); blank ones are skipped, but counted. Cost: what ``json.loads`` costs,
and a scan of the bytes for escapes of surrogates and for brackets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Bytes of one line: far above any message worth routing, and small enough to hold."""
MAX_DEPTH = 128
"""Levels of nested objects and lists, as in serde_json; below what Python's own parser can recurse into."""
CHUNK_BYTES = 64 * 1024
"""Bytes asked for at once: what a pipe holds, so that a slow writer's lines come out as they are written."""

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input: a message, or what is wrong with it."""

    number: int
    """From 1, blank lines counted."""
    message: dict[str, Any] | None
    problem: str | None
    """None exactly if ``message`` is not."""


class _LineError(ValueError):
    """What is wrong with a line, in words for its author."""


class LineReader:
    """Lines out of a source of bytes."""

    def __init__(self, read: Callable[[int], bytes], *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """``read(n)`` returns at most ``n`` bytes, as soon as there are some; none at the end."""
        self._read = read
        self._max = max_line_bytes
        self._number = 0
        self.bytes_read = 0
        """Bytes taken from the source so far, for progress."""

    def batches(self) -> Iterator[list[Line]]:
        """The lines that each chunk completed, until the end of the source.

        Raises:
            OSError: the source cannot be read.
        """
        parts: list[bytes] = []
        held = 0
        while chunk := self._read(CHUNK_BYTES):
            self.bytes_read += len(chunk)
            *complete, rest = chunk.split(b"\n")
            batch = []
            for piece in complete:
                held += len(piece)
                parts.append(piece)
                batch += self._line(parts, held)
                parts, held = [], 0
            held += len(rest)
            parts.append(rest)
            if held > self._max:
                parts = []
            if batch:
                yield batch
        if held and (last := self._line(parts, held)):
            yield last

    def _line(self, parts: list[bytes], size: int) -> list[Line]:
        """The line as a list of one; empty if it is blank."""
        self._number += 1
        if size > self._max:
            problem = f"{size:,} bytes long; a line may have {self._max:,}"
            return [Line(self._number, None, problem)]
        raw = b"".join(parts)
        if self._number == 1:
            raw = raw.removeprefix(_BOM)
        if not raw.strip():
            return []
        try:
            return [Line(self._number, parse_message(raw), None)]
        except _LineError as error:
            return [Line(self._number, None, str(error))]


def parse_message(raw: bytes) -> dict[str, Any]:
    """One JSON object, read strictly: no NaN or Infinity, no lone surrogate, at most :data:`MAX_DEPTH` levels.

    Raises:
        ValueError: what is wrong, and where in the line.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _LineError(f"not UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}") from None
    try:
        message = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _LineError(f"not JSON: {_lower_first(error.msg)} (column {error.colno})") from None
    except RecursionError:
        raise _LineError(_too_deep()) from None
    except _LineError:
        raise
    except ValueError as error:  # Python refuses integers of thousands of digits
        raise _LineError(f"not a message: {_lower_first(str(error).partition(';')[0])}") from None
    if not isinstance(message, dict):
        raise _LineError(f"not a message: a JSON object is expected, found {_kind(message)}")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_depth(message)
    if _SURROGATE_ESCAPE.search(raw):
        _check_text(message)
    return message


def _no_constant(name: str) -> NoReturn:
    raise _LineError(f"not JSON: {name} is no JSON number; send null or text")


def _check_depth(message: dict[str, Any]) -> None:
    level: list[Any] = [message]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value) if isinstance(child, (dict, list))]
        if not level:
            return
    raise _LineError(_too_deep())


def _check_text(message: dict[str, Any]) -> None:
    """Looks for half a surrogate pair in all keys and values; only called where an escape could have made one."""
    waiting: list[Any] = [message]
    while waiting:
        value = waiting.pop()
        texts = list(value) if isinstance(value, dict) else []
        for child in _children(value):
            if isinstance(child, str):
                texts.append(child)
            elif isinstance(child, (dict, list)):
                waiting.append(child)
        for text in texts:
            if found := _SURROGATE.search(text):
                raise _LineError(f"lone surrogate \\u{ord(found[0]):04x}, which is no Unicode text")


def _children(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _too_deep() -> str:
    return f"nested deeper than {MAX_DEPTH} levels"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else "a list"
