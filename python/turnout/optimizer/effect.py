"""What a change of shares is expected to do, with 95 % intervals, and how far it may go.

With d the change of the shares, the success rate changes by sum(d p) and its variance is sum(d^2 p(1-p)/n) with p
after Agresti and Coull (two successes and two failures added, so that 100 of 100 is not certainty). Latency is the
share-weighted mean of the destinations' p95, an approximation of the p95 of all. Cost of a delivered message is
sum(s c) / sum(s p); its relative change has a log-normal interval by the delta method.

These are forecasts as if a destination did not change with its load; load couples decisions, so a destination near
its capacity does worse than forecast. The bound on one move is there for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..results import Estimate
from .scores import Observed, Z, p95_error

MAX_MOVE = 0.2
"""Largest part of a tier's messages that one call moves."""
MAX_SUCCESS_LOSS = 0.01
"""Largest loss of success rate risked by one call: the lower end of its interval stays above minus one point."""
MAX_P95_RISE = 0.05
"""Largest relative rise of p95 risked by one call: the upper end of its interval stays below +5 %, ..."""
UNNOTICED_MS = 1.0
"""... or below this: among callables that take microseconds, 5 % is noise."""


@dataclass(frozen=True)
class Effect:
    """Expected changes; None where a figure of a moved destination is unknown."""

    success: Estimate | None
    """Of the success rate, as a difference."""
    p95_ms: Estimate | None
    """Of the share-weighted mean of p95, in milliseconds."""
    cost: Estimate | None
    """Of the cost of a delivered message, relative."""


NO_EFFECT = Effect(None, None, None)
"""Nothing moves, or nothing is known."""


def effect(destinations: Sequence[Observed], before: Sequence[float], after: Sequence[float]) -> Effect:
    """What going from the shares ``before`` to ``after`` does; every destination has outcomes."""
    change = [b - a for a, b in zip(before, after, strict=True)]
    rates = [(one.successes + 2) / (one.outcomes + 4) for one in destinations]
    variances = [rate * (1 - rate) / (one.outcomes + 4) for rate, one in zip(rates, destinations, strict=True)]
    success = _normal(
        math.fsum(d * rate for d, rate in zip(change, rates, strict=True)),
        math.fsum(d * d * variance for d, variance in zip(change, variances, strict=True)),
    )
    return Effect(success, _p95(destinations, change), _cost(destinations, before, after, rates, variances))


def _normal(value: float, variance: float) -> Estimate:
    half = Z * math.sqrt(variance)
    return Estimate(value, value - half, value + half)


def _p95(destinations: Sequence[Observed], change: Sequence[float]) -> Estimate | None:
    value = variance = 0.0
    for one, d in zip(destinations, change, strict=True):
        if one.p95_ms is None or one.successes == 0:
            return None
        p99_ms = one.p95_ms if one.p99_ms is None else one.p99_ms
        value += d * one.p95_ms
        variance += (d * p95_error(one.p95_ms, p99_ms, one.successes)) ** 2
    return _normal(value, variance)


def _cost(
    destinations: Sequence[Observed],
    before: Sequence[float],
    after: Sequence[float],
    rates: Sequence[float],
    variances: Sequence[float],
) -> Estimate | None:
    costs = [one.cost for one in destinations if one.cost is not None]
    if len(costs) < len(destinations):
        return None
    spent = [math.fsum(share * cost for share, cost in zip(shares, costs, strict=True)) for shares in (before, after)]
    if spent[0] <= 0 or spent[1] <= 0:
        return None
    got = [math.fsum(share * rate for share, rate in zip(shares, rates, strict=True)) for shares in (before, after)]
    change = math.log(spent[1] / spent[0]) - math.log(got[1] / got[0])
    variance = math.fsum(
        (b / got[1] - a / got[0]) ** 2 * variance for a, b, variance in zip(before, after, variances, strict=True)
    )
    log = _normal(change, variance)
    return Estimate(math.expm1(log.value), math.expm1(log.low), math.expm1(log.high))


def allowed_part(full: Effect, move: float, p95_ms: float | None) -> tuple[float, str | None]:
    """How much of a move may be made, 0..1, and what held it back beyond the size of the move (None: nothing).

    ``full`` is the effect of the whole move, of which ``move`` (0..1) messages are part; changes and the width of
    their intervals are proportional to the part made. ``p95_ms`` is the share-weighted mean of p95 before.
    """
    part, held = min(1.0, MAX_MOVE / move) if move > 0 else 0.0, None
    if full.success and full.success.low * part < -MAX_SUCCESS_LOSS:
        part, held = MAX_SUCCESS_LOSS / -full.success.low, "success rate"
    rise_ms = UNNOTICED_MS if p95_ms is None else max(MAX_P95_RISE * p95_ms, UNNOTICED_MS)
    if full.p95_ms and full.p95_ms.high * part > rise_ms:
        part, held = rise_ms / full.p95_ms.high, "p95"
    return part, held
