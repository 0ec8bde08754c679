"""Rates as people write them: ``50/s``, ``600/m``, ``1000/h``; held as messages a second."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from .model import Model

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_TEXT = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)/([smhd])", re.ASCII)
LOWEST, HIGHEST = 1e-4, 1e6
"""Messages a second: one in about three hours, and more than a process sends."""
_HINT = "write it like 50/s, 600/m or 1000/h, or as a number a second, from 0.0001 to 1000000 a second"


def per_second(value: object) -> float:
    """Messages a second in ``value``: a text such as ``50/s``, or a number.

    Raises:
        ValueError: not a rate, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a rate: {_HINT}")
    if isinstance(value, str):
        found = _TEXT.fullmatch(value)
        if found is None:
            raise ValueError(f"not a rate: {_HINT}")
        value = float(found[1]) / _SECONDS[found[2]]
    if not LOWEST <= value <= HIGHEST:
        raise ValueError(f"a rate out of range: {_HINT}")
    return float(value)


_RATE = {
    "anyOf": [
        {"type": "string", "pattern": f"^{_TEXT.pattern}$", "examples": ["50/s", "600/m"]},
        {"type": "number", "minimum": LOWEST, "maximum": HIGHEST},
    ]
}


Rate = Annotated[float, BeforeValidator(per_second), WithJsonSchema(_RATE, mode="validation")]
"""Messages a second."""


class RateLimitConfig(Model):
    """How many messages a second a destination gets at most."""

    rate: Rate = Field(description="Messages a second, such as 50/s or 600/m; a number is a second's.")
    burst: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Messages that may come at once after a rest. Default: those of a tenth of a second, at least 1.",
    )


def _limit(value: object) -> object:
    """A rate stands for the limit with that rate."""
    return {"rate": value} if isinstance(value, (str, int, float)) else value


RateLimit = Annotated[RateLimitConfig, BeforeValidator(_limit, Rate | RateLimitConfig)]
"""A limit, or its rate alone."""
