"""Reading messages line by line: what a line may be, and what is said of one that is no message."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from turnout.sources.ndjson import MAX_DEPTH, Line, LineReader, parse_message


def read(data: bytes, chunk: int | None = None, **limits: int) -> list[Line]:
    source = io.BytesIO(data)
    take: Callable[[int], bytes] = source.read if chunk is None else lambda size: source.read(min(size, chunk))
    return [line for batch in LineReader(take, **limits).batches() for line in batch]


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"a": 1', "not JSON: expecting ',' delimiter (column 8)"),
        (b"a: 1", "not JSON: expecting value (column 1)"),
        (b'{"a": 1} {"b": 2}', "not JSON: extra data (column 10)"),
        (b"{'a': 1}", "not JSON: expecting property name enclosed in double quotes (column 2)"),
        (b"{1: 2}", "not JSON: expecting property name enclosed in double quotes (column 2)"),
        (b"[1]", "not a message: a JSON object is expected, found a list"),
        (b"null", "not a message: a JSON object is expected, found null"),
        (b"true", "not a message: a JSON object is expected, found a boolean"),
        (b"1", "not a message: a JSON object is expected, found a number"),
        (b'"a"', "not a message: a JSON object is expected, found text"),
        (b'{"a": NaN}', "not JSON: NaN is no JSON number; send null or text"),
        (b'{"a": -Infinity}', "not JSON: -Infinity is no JSON number; send null or text"),
        (b'{"a": "\\ud800"}', "lone surrogate \\ud800, which is no Unicode text"),
        (b'{"a": [{"\\uDFFF": 1}]}', "lone surrogate \\udfff, which is no Unicode text"),
        (b'{"a": "\xff"}', "not UTF-8: byte 8 is 0xff"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8: byte 8 is 0xed"),
        (b'{"a": "\x00"}', "not JSON: invalid control character at (column 8)"),
        (b"\x00", "not JSON: expecting value (column 1)"),
        (nested(MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH} levels"),
        (nested(10_000), f"nested deeper than {MAX_DEPTH} levels"),
        (
            b'{"a": ' + b"9" * 5000 + b"}",
            "not a message: exceeds the limit (4300 digits) for integer string conversion",
        ),
    ],
)
def test_line_that_is_no_message_says_why_and_reading_goes_on(raw: bytes, problem: str) -> None:
    bad, good = read(raw + b'\n{"id": 2}\n')
    assert bad.message is None
    assert (bad.number, bad.problem) == (1, problem) or (bad.problem or "").startswith(problem)
    assert good == Line(2, {"id": 2}, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud83d\\ude00"}',
        b'{"a": 1e400, "b": 123456789012345678901234567890}',
        b'{"text": "' + b"[" * 500 + b'"}',
        b'{"a": "\\\\ud800"}',
        nested(MAX_DEPTH),
        b"  {\t} \r",
    ],
)
def test_unusual_message_is_a_message(raw: bytes) -> None:
    assert read(raw) == [Line(1, json.loads(raw), None)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_how_the_bytes_arrive(chunk: int) -> None:
    data = '\ufeff{"a": "é"}\r\n\n  \n{"b": [1,\nx\n{"c": {}}'.encode()
    assert [(line.number, line.message) for line in read(data, chunk)] == [
        (1, {"a": "é"}),
        (4, None),
        (5, None),
        (6, {"c": {}}),
    ]


def test_line_beyond_the_limit_is_dropped_and_counted() -> None:
    data = b'{"a": 1}\n{"a": "' + b"x" * 200_000 + b'"}\n{"b": 2}\n'
    first, dropped, last = read(data, max_line_bytes=1000)
    assert (first.message, last.message) == ({"a": 1}, {"b": 2})
    assert dropped == Line(2, None, "200,009 bytes long; a line may have 1,000")


def test_line_beyond_the_limit_may_be_the_last() -> None:
    assert [line.number for line in read(b'{}\n{"a": "' + b"x" * 5000, max_line_bytes=1000)] == [1, 2]


def test_memory_is_bounded_by_the_limit_of_a_line() -> None:
    held = []

    def endless(size: int) -> bytes:
        held.append(sum(map(len, reader_parts())))
        return b"x" * size if len(held) < 200 else b""

    reader = LineReader(endless, max_line_bytes=100_000)
    batches = reader.batches()

    def reader_parts() -> list[bytes]:
        frame = batches.gi_frame  # type: ignore[attr-defined]
        parts: list[bytes] = frame.f_locals.get("parts", []) if frame is not None else []
        return parts

    (line,) = next(batches)
    assert line.message is None
    assert max(held) <= 200_000


def test_message_of_50_megabytes_is_read() -> None:
    (line,) = read(b'{"text": "' + b"x" * 50_000_000 + b'"}\n')
    assert line.message is not None
    assert len(line.message["text"]) == 50_000_000


def test_no_input_has_no_lines() -> None:
    assert read(b"") == read(b"\n\n") == []


def test_parse_message_raises_for_what_is_none() -> None:
    with pytest.raises(ValueError, match="a JSON object is expected"):
        parse_message(b"[]")
