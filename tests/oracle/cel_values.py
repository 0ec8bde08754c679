"""What CEL values are, how they compare and how they convert.

Source: the CEL language definition (github.com/google/cel-spec, doc/langdef.md), sections "Values", "Equality",
"Ordering", "Overflow", "Abstract types" and "Functions". int, double, string, bytes, bool, null and list are the
Python types; uint, map literals, types, timestamps and durations have a class here. A message's `dict` is a map, its
`datetime` a timestamp, its `timedelta` a duration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
SECOND = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CelError(Exception):
    """The expression has no value: a missing field, no overload for the types, overflow, a syntax error."""


@dataclass(frozen=True)
class Uint:
    """CEL's uint: 64 bits, no sign."""

    value: int


@dataclass(frozen=True)
class Type:
    """A type as a value, such as `type(1)` or the identifier `int`."""

    name: str


@dataclass(frozen=True)
class Timestamp:
    """Nanoseconds since 1970, from year 1 to 9999."""

    ns: int


@dataclass(frozen=True)
class Duration:
    """Nanoseconds, 64 bits with a sign."""

    ns: int


@dataclass(frozen=True)
class Map:
    """A map literal: pairs, since a dict would take 1 and true for one key."""

    pairs: tuple[tuple[Any, Any], ...]


def native(value: Any) -> Any:
    """A Python value as the CEL value it stands for (only what has no class of its own in Python is changed)."""
    if isinstance(value, datetime):
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
        return Timestamp(since // timedelta(microseconds=1) * 1000)
    if isinstance(value, timedelta):
        return Duration(value // timedelta(microseconds=1) * 1000)
    return list(value) if isinstance(value, tuple) else value


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return is_int(value) or isinstance(value, float | Uint)


def number(value: Any) -> int | float:
    """The mathematical value of a CEL number; Python compares int and float exactly."""
    return value.value if isinstance(value, Uint) else value


def is_map(value: Any) -> bool:
    return isinstance(value, dict | Map)


def pairs(value: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a map, of either kind, in order."""
    found = value.items() if isinstance(value, dict) else value.pairs
    return [(key, native(item)) for key, item in found]


def lookup(value: Any, key: Any) -> list[Any]:
    """The value under the key as a list of one, or nothing: a number finds the key of equal value."""
    return [item for known, item in pairs(value) if equal(known, key)]


def type_name(value: Any) -> str:
    kinds: list[tuple[Any, str]] = [
        (bool, "bool"),
        (int, "int"),
        (float, "double"),
        (str, "string"),
        (bytes, "bytes"),
        (list, "list"),
        (dict | Map, "map"),
        (Uint, "uint"),
        (Type, "type"),
        (Timestamp, "google.protobuf.Timestamp"),
        (Duration, "google.protobuf.Duration"),
        (type(None), "null_type"),
    ]
    for kind, name in kinds:
        if isinstance(value, kind):
            return name
    raise CelError(f"no CEL value: {value!r}")


def equal(a: Any, b: Any) -> bool:
    """`a == b`: numbers by value whatever their type, NaN equal to nothing, values of other types unequal."""
    if is_number(a) and is_number(b):
        return number(a) == number(b)
    if type_name(a) != type_name(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(native(x), native(y)) for x, y in zip(a, b, strict=True))
    if is_map(a):
        here, there = pairs(a), pairs(b)
        return len(here) == len(there) and all(
            any(equal(key, other) and equal(item, value) for other, value in there) for key, item in here
        )
    return bool(a == b)


def ordered(op: str, a: Any, b: Any) -> bool:
    """`<`, `<=`, `>`, `>=`: between numbers, or within one ordered type; else an error."""
    if is_number(a) and is_number(b):
        a, b = number(a), number(b)
        if isinstance(a, float) or isinstance(b, float):
            a, b = float(a), float(b)  # beyond 2**53 as doubles (conformance: not_lt_dyn_int_big_lossy_double)
    elif type_name(a) == type_name(b) and isinstance(a, bool | str | bytes):
        pass
    elif type_name(a) == type_name(b) and isinstance(a, Timestamp | Duration):
        a, b = a.ns, b.ns
    else:
        raise CelError(f"no order between {type_name(a)} and {type_name(b)}")
    # Spelled out: with NaN, `a <= b` is not `not a > b`.
    return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op])


def in_range(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise CelError(f"out of range: {value}")
    return value


def truncated(a: int, b: int) -> int:
    """Integer division toward zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def integer_arithmetic(op: str, a: int, b: int) -> int:
    if op in "/%" and b == 0:
        raise CelError("division by zero")
    if op == "/":
        return truncated(a, b)
    if op == "%":
        return a - b * truncated(a, b)
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def double_arithmetic(op: str, a: float, b: float) -> float:
    if op == "%":
        raise CelError("no % for doubles")
    if op == "/" and b == 0:
        if a == 0 or math.isnan(a):
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[op]()


def arithmetic(op: str, a: Any, b: Any) -> Any:
    """`+ - * / %`: within one type (time excepted), never across number types; overflow is an error."""
    if is_int(a) and is_int(b):
        if (a, b) == (INT_MIN, -1) and op == "%":
            return 0
        return in_range(integer_arithmetic(op, a, b), INT_MIN, INT_MAX)
    if isinstance(a, Uint) and isinstance(b, Uint):
        return Uint(in_range(integer_arithmetic(op, a.value, b.value), 0, UINT_MAX))
    if isinstance(a, float) and isinstance(b, float):
        return double_arithmetic(op, a, b)
    if op == "+" and type_name(a) == type_name(b) and isinstance(a, str | bytes | list):
        return a + b
    return time_arithmetic(op, a, b)


def negated(value: Any) -> Any:
    if is_int(value):
        return in_range(-value, INT_MIN, INT_MAX)
    if isinstance(value, float):
        return -value
    raise CelError(f"no - for {type_name(value)}")


# Time


def time_arithmetic(op: str, a: Any, b: Any) -> Timestamp | Duration:
    sign = 1 if op == "+" else -1
    match a, op, b:
        case (Duration(x), "+" | "-", Duration(y)):
            return duration(x + sign * y)
        case (Timestamp(x), "+" | "-", Duration(y)):
            return timestamp(x + sign * y)
        case (Duration(x), "+", Timestamp(y)):
            return timestamp(x + y)
        case (Timestamp(x), "-", Timestamp(y)):
            return duration(x - y)
    raise CelError(f"no {op} for {type_name(a)} and {type_name(b)}")


def time_text(value: Timestamp | Duration) -> str:
    """RFC 3339, or seconds with an `s`; only the digits of a second that count."""
    if isinstance(value, Duration):
        seconds = f"{abs(value.ns) // SECOND}.{abs(value.ns) % SECOND:09}".rstrip("0").rstrip(".")
        return f"{'-' if value.ns < 0 else ''}{seconds}s"
    moment = EPOCH + timedelta(seconds=value.ns // SECOND)
    fraction = f".{value.ns % SECOND:09}".rstrip("0").rstrip(".")
    return moment.strftime(f"{moment.year:04}-%m-%dT%H:%M:%S") + fraction + "Z"


def timestamp(ns: int) -> Timestamp:
    low = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(seconds=1) * SECOND
    high = ((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH) // timedelta(seconds=1) + 1) * SECOND - 1
    return Timestamp(in_range(ns, low, high))


def duration(ns: int) -> Duration:
    return Duration(in_range(ns, INT_MIN, INT_MAX))


def timestamp_of(text: str) -> Timestamp:
    """RFC 3339, with up to nine digits of a second."""
    form = r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
    found = re.fullmatch(form, text, re.ASCII)
    if found is None:
        raise CelError(f"no timestamp: {text!r}")
    *fields, fraction, zone = found.groups()
    try:
        year, month, day, hour, minute, second = map(int, fields)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise CelError(f"no timestamp: {text!r}") from error
    ns = (moment - EPOCH) // timedelta(seconds=1) * SECOND + int((fraction or "0").ljust(9, "0"))
    return timestamp(ns - (0 if zone == "Z" else zone_offset(zone)) * SECOND)


def zone_offset(zone: str) -> int:
    """Seconds east of UTC of `+11:00`, `-02:30`, `02:00`."""
    found = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", zone, re.ASCII)
    if found is None:
        raise CelError(f"no time zone: {zone!r}")
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return -seconds if found[1] == "-" else seconds


def duration_of(text: str) -> Duration:
    """`1h2m3.5s`, as Go reads it: a sign, then numbers with a unit each."""
    units = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}
    part = r"(\d+\.?\d*|\.\d+)(h|ms|us|µs|ns|m|s)"
    if not re.fullmatch(rf"[+-]?({part})+", text, re.ASCII):
        raise CelError(f"no duration: {text!r}")
    total = 0
    for figure, unit in re.findall(part, text, re.ASCII):
        whole, _, fraction = figure.partition(".")
        total += int(whole or "0") * units[unit] + int(fraction or "0") * units[unit] // 10 ** len(fraction)
    return duration(-total if text.startswith("-") else total)


TIMESTAMP_GETTERS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}
DURATION_GETTERS = {"getHours": 3600 * SECOND, "getMinutes": 60 * SECOND, "getSeconds": SECOND}


def time_part(value: Any, name: str, zone: str = "UTC") -> int:
    """A getter of a timestamp, read in the time zone, or of a duration."""
    if isinstance(value, Duration):
        if name == "getMilliseconds":
            return truncated(value.ns, 10**6) - truncated(value.ns, SECOND) * 1000
        if name in DURATION_GETTERS:
            return truncated(value.ns, DURATION_GETTERS[name])
    if not isinstance(value, Timestamp):
        raise CelError(f"no {name} for {type_name(value)}")
    try:
        fixed = re.fullmatch(r"[+-]?\d\d:\d\d", zone)
        place = timezone(timedelta(seconds=zone_offset(zone))) if fixed else ZoneInfo(zone)
        moment = (EPOCH + timedelta(microseconds=value.ns // 1000)).astimezone(place)
    except (ValueError, OverflowError, OSError, KeyError) as error:  # KeyError: ZoneInfoNotFoundError
        raise CelError(f"no time zone: {zone!r}") from error
    return TIMESTAMP_GETTERS[name](moment)
