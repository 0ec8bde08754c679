"""CEL's standard functions: tests on text, sizes, conversions, parts of times.

Source: the CEL language definition (github.com/google/cel-spec, doc/langdef.md), "List of Standard Definitions".
Regular expressions are Python's, which agree with RE2 on the plain ones: no `$` before a final newline, no classes
over text beyond ASCII.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from . import cel_values as v
from .cel_values import CelError, Duration, Timestamp, Type, Uint


def text_test(test: Callable[[str, str], Any]) -> Callable[[Any, Any], bool]:
    def checked(value: Any, other: Any) -> bool:
        if not isinstance(value, str) or not isinstance(other, str):
            raise CelError("strings only")
        return bool(test(value, other))

    return checked


def found(value: str, pattern: str) -> bool:
    try:
        return re.search(pattern, value, re.ASCII) is not None
    except re.error as error:
        raise CelError(f"bad regular expression: {pattern!r}") from error


def size(value: Any) -> int:
    """Code points of a string, octets of bytes, items of a list, keys of a map."""
    if isinstance(value, str | bytes | list):
        return len(value)
    if v.is_map(value):
        return len(v.pairs(value))
    raise CelError(f"no size of {v.type_name(value)}")


def to_whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, float):
        # Open at both ends: the nearest doubles to the limits are beyond them (conformance: double_int_min_range).
        if not float(low or -1) < value < float(high):
            raise CelError(f"out of range: {value}")
        return int(value)
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise CelError(f"no number: {value!r}")
        return v.in_range(int(value), low, high)
    if v.is_number(value):
        return v.in_range(int(v.number(value)), low, high)
    raise CelError(f"no number: {v.type_name(value)}")


def to_int(value: Any) -> int:
    if isinstance(value, Timestamp):
        return value.ns // v.SECOND
    return to_whole(value, v.INT_MIN, v.INT_MAX)


def to_double(value: Any) -> float:
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?[iI]nf(inity)?|NaN", value, re.ASCII):
            raise CelError(f"no number: {value!r}")
        return float(value)
    if v.is_number(value):
        return float(v.number(value))
    raise CelError(f"no number: {v.type_name(value)}")


def double_text(value: float) -> str:
    """As Go prints it, for the plain ones; very large and very small ones differ in their exponents."""
    if math.isfinite(value):
        return repr(value).removesuffix(".0")
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def to_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bytes():
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise CelError("no UTF-8") from error
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Uint(whole):
            return str(whole)
        case float():
            return double_text(value)
        case Timestamp() | Duration():
            return v.time_text(value)
    raise CelError(f"no string of {v.type_name(value)}")


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("1", "t", "T", "true", "True", "TRUE"):
        return True
    if value in ("0", "f", "F", "false", "False", "FALSE"):
        return False
    raise CelError(f"no bool: {value!r}")


def to_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bytes):
        return value
    raise CelError(f"no bytes: {v.type_name(value)}")


def to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if v.is_int(value):
        return v.timestamp(value * v.SECOND)
    if isinstance(value, str):
        return v.timestamp_of(value)
    raise CelError(f"no timestamp: {v.type_name(value)}")


def to_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, str):
        return v.duration_of(value)
    raise CelError(f"no duration: {v.type_name(value)}")


def getter(name: str) -> Callable[..., int]:
    def read(value: Any, *zone: Any) -> int:
        if zone and not isinstance(zone[0], str):
            raise CelError("a time zone is a string")
        return v.time_part(value, name, *zone)

    return read


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": size,
    "matches": text_test(found),
    "int": to_int,
    "uint": lambda value: Uint(to_whole(value, 0, v.UINT_MAX)),
    "double": to_double,
    "string": to_string,
    "bool": to_bool,
    "bytes": to_bytes,
    "timestamp": to_timestamp,
    "duration": to_duration,
    "type": lambda value: Type(v.type_name(value)),
    "dyn": lambda value: value,
}
METHODS: dict[str, Callable[..., Any]] = {
    "size": size,
    "matches": text_test(found),
    "contains": text_test(lambda value, part: part in value),
    "startsWith": text_test(str.startswith),
    "endsWith": text_test(str.endswith),
    **{name: getter(name) for name in v.TIMESTAMP_GETTERS},
}
