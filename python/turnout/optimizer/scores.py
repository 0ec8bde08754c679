"""What was observed of a destination, as estimates with 95 % intervals and as scores against its tier.

Success rates have Wilson's interval (E. B. Wilson 1927), which holds for few outcomes and for rates near 0 and 1. A
quantile has its asymptotic one: the standard error of the sample quantile q of n values is sqrt(q(1-q)/n) / f, with f
the density at the quantile, here taken from the spacing of p95 and p99.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import OptimizationError
from ..results import DestinationScore, Estimate

Z = 1.959963984540054
"""Standard normal quantile of two-sided 95 %."""

MIN_OUTCOMES = 100
"""Least outcomes of a destination before its weight is moved: at 100, Wilson's interval around 95 % is about +-4
points wide; Envoy asks as many of a host before it compares its success rate with others'."""

_QUANTILE_ERROR = 0.01
"""Least relative standard error of a quantile: histograms round to buckets of a few per cent."""


@dataclass(frozen=True)
class Observed:
    """One destination of a pool, and what was observed of it."""

    id: str
    tier: int
    weight: float
    """0 or more, relative to the others of its tier."""
    eligible: bool
    successes: float
    """Not whole where old outcomes fade."""
    outcomes: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    cost: float | None = None
    """Of one attempt, 0 or more; None if unknown."""


@dataclass(frozen=True)
class Objectives:
    """What to optimize for. More than one: all count the same."""

    performance: bool
    cost: bool
    quality: bool

    def __bool__(self) -> bool:
        return self.performance or self.cost or self.quality


def wilson(successes: float, outcomes: float) -> Estimate | None:
    """Success rate with Wilson's 95 % interval; None without outcomes.

    Raises:
        OptimizationError: the counts are negative, not finite, or more successes than outcomes.
    """
    if not (math.isfinite(outcomes) and 0 <= successes <= outcomes):
        raise OptimizationError(f"{successes} successes of {outcomes} outcomes cannot be")
    if outcomes == 0:
        return None
    rate, spread = successes / outcomes, Z * Z / outcomes
    middle = (rate + spread / 2) / (1 + spread)
    half = Z * math.sqrt(rate * (1 - rate) / outcomes + spread / (4 * outcomes)) / (1 + spread)
    # Exact at the ends, where rounding could put the rate outside its own interval.
    return Estimate(rate, min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half)))


def p95_error(p95_ms: float, p99_ms: float, samples: float) -> float:
    """Standard error of a p95 of ``samples`` (> 0) values, in milliseconds; equal ones count as one bucket."""
    spacing = max(p99_ms - p95_ms, 0.0)
    return max(math.sqrt(0.95 * 0.05 / samples) * spacing / 0.04, _QUANTILE_ERROR * p95_ms)


def p95_estimate(one: Observed) -> Estimate | None:
    """p95 of the latency with its 95 % interval; None before the first success.

    Raises:
        OptimizationError: a latency is negative or not finite.
    """
    if one.p95_ms is None or one.successes == 0:
        return None
    p99_ms = one.p95_ms if one.p99_ms is None else one.p99_ms
    if not (math.isfinite(p99_ms) and math.isfinite(one.p95_ms) and one.p95_ms >= 0):
        raise OptimizationError(f"destination {one.id!r}: latencies p95 {one.p95_ms}, p99 {p99_ms} ms cannot be")
    half = Z * p95_error(one.p95_ms, p99_ms, one.successes)
    return Estimate(one.p95_ms, max(0.0, one.p95_ms - half), one.p95_ms + half)


def cost_estimate(one: Observed) -> Estimate | None:
    """Cost of one delivered message; None if the cost or the success rate is unknown, or nothing was delivered.

    Raises:
        OptimizationError: the cost is negative or not finite.
    """
    if one.cost is None:
        return None
    if not (math.isfinite(one.cost) and one.cost >= 0):
        raise OptimizationError(f"destination {one.id!r}: a cost of {one.cost} cannot be computed with")
    success = wilson(one.successes, one.outcomes)
    if success is None or success.low == 0:
        return None
    return Estimate(one.cost / success.value, one.cost / success.high, one.cost / success.low)


def score(destinations: Sequence[Observed], objectives: Objectives) -> tuple[DestinationScore, ...]:
    """The scores of one pool's destinations, in their order, each against the best eligible of its tier.

    Raises:
        OptimizationError: figures that cannot be.
    """
    rows = [(one, wilson(one.successes, one.outcomes), p95_estimate(one), cost_estimate(one)) for one in destinations]
    scores = []
    for one, success, p95, cost in rows:
        peers = [row for row in rows if row[0].tier == one.tier and (row[0].eligible or row[0] is one)]
        performance = _ratio(_least(peer[2].value for peer in peers if peer[2]), p95.value if p95 else None)
        cheapness = _ratio(_least(peer[3].value for peer in peers if peer[3]), cost.value if cost else None)
        best = max((peer[1].low for peer in peers if peer[1]), default=None)
        quality = _ratio(success.low if success else None, best)
        if one.outcomes > 0 and one.successes == 0:  # as slow and as dear as can be: nothing arrives at all
            performance, cheapness = 0.0, None if one.cost is None else 0.0
        asked = [
            value
            for wanted, value in (
                (objectives.performance, performance),
                (objectives.cost, cheapness),
                (objectives.quality, quality),
            )
            if wanted
        ]
        scores.append(
            DestinationScore(
                destination=one.id,
                samples=math.floor(one.outcomes),
                success=success,
                p95_ms=p95,
                cost=cost,
                performance_score=performance,
                cost_score=cheapness,
                quality_score=quality,
                score=_geometric_mean(asked),
            )
        )
    return tuple(scores)


def _least(values: Iterable[float]) -> float | None:
    return min(values, default=None)


def _ratio(small: float | None, large: float | None) -> float | None:
    """``small / large``, where 0 / 0 is 1: the best there is."""
    if small is None or large is None:
        return None
    return small / large if large > 0 else 1.0


def _geometric_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return float(math.prod(known) ** (1 / len(known)))
