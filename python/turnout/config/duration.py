"""Durations as people write them: ``5s``, ``250ms``, ``1h30m``; held as float seconds."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

# Ordered as they may follow one another; `ms` stands before `m` and `s` in the pattern so that it is read whole.
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"\d+(?:\.\d+)?(?:ms|d|h|m|s)"
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)", re.ASCII)
PATTERN = f"^(?:{_PART})+$"
_WHOLE = re.compile(f"(?:{_PART})+", re.ASCII)
# A year bounds every duration: longer ones are mistakes of unit, and all of them fit in nanoseconds of 64 bits.
LONGEST = 366 * 86_400.0
_HINT = "write it like 5s, 250ms, 30m or 1h30m, or as a number of seconds"


def seconds(value: object) -> float:
    """Seconds in ``value``: a text such as ``1h30m``, or a number of seconds.

    Raises:
        ValueError: not a duration, negative, or longer than 366 days.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a duration: {_HINT}")
    if isinstance(value, str):
        text = value
        # Every duration up to a year fits in 64 characters; the bound keeps float() from seeing absurd ones.
        if len(text) > 64 or not _WHOLE.fullmatch(text):
            raise ValueError(f"not a duration: {_HINT}")
        units = [unit for _, unit in _PARTS.findall(text)]
        if len(set(units)) != len(units):
            raise ValueError(f"a duration names each unit once: {_HINT}")
        total = math.fsum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(text))
    else:
        if not -LONGEST <= value <= LONGEST:  # before float(): an integer may be beyond it; NaN fails too
            raise ValueError("a duration is between 0 and 366d")
        total = float(value)
    if not 0 <= total <= LONGEST:
        raise ValueError("a duration is between 0 and 366d")
    return total


def _positive(value: object) -> float:
    if (total := seconds(value)) == 0:
        raise ValueError("must be longer than 0")
    return total


def _schema(lowest: dict[str, float]) -> WithJsonSchema:
    text = {"type": "string", "pattern": PATTERN, "examples": ["5s", "250ms", "1h30m"]}
    return WithJsonSchema({"anyOf": [text, {"type": "number", "maximum": LONGEST, **lowest}]}, mode="validation")


Duration = Annotated[float, BeforeValidator(seconds), _schema({"minimum": 0})]
"""A duration in seconds, 0 allowed."""
PositiveDuration = Annotated[float, BeforeValidator(_positive), _schema({"exclusiveMinimum": 0})]
"""A duration in seconds, longer than 0."""
