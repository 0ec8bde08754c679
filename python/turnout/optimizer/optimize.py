"""One route: scores for every pool, better weights where better is sure, and what to say about it.

Of each pool only the tier that serves is looked at: the lowest with an eligible destination of positive weight. The
others get too little to learn from, and weights act within a tier. Destinations that are not eligible, or have fewer
than MIN_OUTCOMES outcomes, keep their share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..results import DestinationScore, OptimizationMetrics, OptimizationRecommendation
from .effect import NO_EFFECT, Effect, allowed_part, effect
from .scores import MIN_OUTCOMES, Objectives, Observed, score
from .weights import distance, moved, target_shares
from .wording import collect_text, keep_text, move_text, price_text, single_text

SMALLEST_MOVE = 0.005
"""A move of less than half a per cent of the messages is not worth a change of configuration."""

_PER_TIER = 1000
"""New weights of a tier add up to about this: whole numbers, as configurations take them."""

__all__ = ["Objectives", "Observed", "Optimized", "optimize"]


@dataclass(frozen=True)
class Optimized:
    """What was found for one route."""

    weights: Mapping[str, Mapping[str, float]]
    """New weights, of each pool, of each destination; where nothing better is sure, as they were."""
    metrics: OptimizationMetrics
    recommendations: tuple[OptimizationRecommendation, ...]
    degraded: tuple[str, ...]
    judged: bool
    """Whether in some pool at least two destinations had outcomes enough to be compared."""
    missing: Mapping[str, int]
    """Destinations of serving tiers with too few outcomes: how many more they need."""
    samples: int
    """Outcomes counted, over all destinations of the route, each once."""


@dataclass(frozen=True)
class _Pool:
    """What was found for one pool."""

    scores: tuple[DestinationScore, ...]
    recommendations: tuple[OptimizationRecommendation, ...]
    weights: Mapping[str, float]
    moved: float = 0.0
    effect: Effect = NO_EFFECT
    degraded: tuple[str, ...] = ()
    judged: bool = False


def optimize(pools: Mapping[str, Sequence[Observed]], objectives: Objectives) -> Optimized:
    """The best weights that the outcomes justify, for the pools of one route.

    Raises:
        OptimizationError: figures that cannot be computed with, such as a negative cost.
    """
    found = {name: _pool(name, destinations, objectives) for name, destinations in pools.items()}
    serving = {one.id: one for destinations in pools.values() for one in _serving(destinations)}
    missing = {name: _lacks(one) for name, one in serving.items() if _lacks(one) > 0}
    everyone = {one.id: one for destinations in pools.values() for one in destinations}
    return Optimized(
        weights={name: one.weights for name, one in found.items()},
        metrics=OptimizationMetrics(
            scores={name: one.scores for name, one in found.items()},
            moved={name: one.moved for name, one in found.items()},
            success_change={name: one.effect.success for name, one in found.items()},
            p95_change_ms={name: one.effect.p95_ms for name, one in found.items()},
            cost_change={name: one.effect.cost for name, one in found.items()},
        ),
        recommendations=tuple(one for pool in found.values() for one in pool.recommendations),
        degraded=tuple(text for pool in found.values() for text in pool.degraded),
        judged=any(one.judged for one in found.values()),
        missing=missing,
        samples=math.floor(math.fsum(one.outcomes for one in everyone.values())),
    )


def _serving(destinations: Sequence[Observed]) -> list[Observed]:
    """The eligible destinations of the tier that serves."""
    able = [one for one in destinations if one.eligible and one.weight > 0]
    lowest = min((one.tier for one in able), default=0)
    return [one for one in able if one.tier == lowest]


def _lacks(one: Observed) -> int:
    return max(0, MIN_OUTCOMES - math.floor(one.outcomes))


def _pool(name: str, destinations: Sequence[Observed], objectives: Objectives) -> _Pool:
    able = _serving(destinations)
    advice: list[OptimizationRecommendation] = []
    degraded: list[str] = []
    unpriced = [one.id for one in able if one.cost is None]
    if objectives.cost and unpriced:
        objectives = replace(objectives, cost=False)
        degraded.append(f"cost_unknown: pool {name!r}: no cost configured for {', '.join(unpriced)}; cost is left out")
        advice.append(OptimizationRecommendation(name, "price", price_text(name, unpriced)))
    scores = score(destinations, objectives)
    kept = _Pool(scores, (), {one.id: one.weight for one in destinations}, degraded=tuple(degraded))
    known = [one for one in able if not _lacks(one)]
    if len(able) < 2:
        samples = sum(math.floor(one.outcomes) for one in able)
        advice.append(OptimizationRecommendation(name, "keep", single_text(name, able), samples))
        return replace(kept, recommendations=tuple(advice))
    if len(known) < len(able):
        lacking = {one.id: _lacks(one) for one in able if _lacks(one)}
        samples = sum(math.floor(one.outcomes) for one in able)
        advice.append(OptimizationRecommendation(name, "collect", collect_text(name, lacking), samples))
    if len(known) < 2 or not objectives:
        return replace(kept, recommendations=tuple(advice), judged=len(known) >= 2)
    by_id = {one.destination: one for one in scores}
    return _moved(name, destinations, known, [by_id[one.id].score or 0.0 for one in known], objectives, kept, advice)


def _moved(
    name: str,
    destinations: Sequence[Observed],
    known: Sequence[Observed],
    scores: Sequence[float],
    objectives: Objectives,
    kept: _Pool,
    advice: list[OptimizationRecommendation],
) -> _Pool:
    """Moves shares among ``known``, at least two of one tier, as far as the bounds allow and if it surely helps."""
    tier = [one for one in destinations if one.tier == known[0].tier]
    total = math.fsum(one.weight for one in tier)
    before = [one.weight / total for one in known]
    target = target_shares(before, scores)
    whole = distance(before, target)
    p95_ms = _mean_p95(known, before)
    part, held = allowed_part(effect(known, before, target), whole, p95_ms)
    after = moved(before, target, part)
    expected = effect(known, before, after)
    samples = sum(math.floor(one.outcomes) for one in known)
    degraded = list(kept.degraded)
    if held and _helps(expected, objectives):
        risk = f"the risk to the {held} held the move to {part * whole:.1%} of messages"
        degraded.append(f"performance_degradation: pool {name!r}: {risk}")
    if part * whole < SMALLEST_MOVE or not _helps(expected, objectives):
        advice.append(OptimizationRecommendation(name, "keep", keep_text(name, samples, held), samples))
        return replace(kept, recommendations=tuple(advice), degraded=tuple(degraded), judged=True)
    shares = {one.id: one.weight / total for one in tier}
    shares.update((one.id, share) for one, share in zip(known, after, strict=True))
    weights = dict(kept.weights)
    # A destination that had a weight keeps one: 0 would take it out.
    weights.update((id_, float(max(1, round(share * _PER_TIER)))) for id_, share in shares.items() if share > 0)
    text = move_text(name, [one.id for one in known], before, after, expected, p95_ms, samples)
    advice.append(OptimizationRecommendation(name, "move", text, samples, weights))
    return replace(
        kept,
        recommendations=tuple(advice),
        weights=weights,
        moved=distance(before, after),
        effect=expected,
        degraded=tuple(degraded),
        judged=True,
    )


def _mean_p95(known: Sequence[Observed], shares: Sequence[float]) -> float | None:
    latencies = [one.p95_ms for one in known if one.p95_ms is not None]
    if len(latencies) < len(known) or math.fsum(shares) <= 0:
        return None
    return math.fsum(share * p95 for share, p95 in zip(shares, latencies, strict=True)) / math.fsum(shares)


def _helps(expected: Effect, objectives: Objectives) -> bool:
    """Whether some objective improves beyond chance: its whole interval is on the better side."""
    return bool(
        (objectives.performance and expected.p95_ms and expected.p95_ms.high < 0)
        or (objectives.quality and expected.success and expected.success.low > 0)
        or (objectives.cost and expected.cost and expected.cost.high < 0)
    )
