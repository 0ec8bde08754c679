"""Estimates and scores of single destinations."""

from __future__ import annotations

import math
import random

import pytest

from turnout.errors import OptimizationError
from turnout.optimizer.scores import Objectives, Observed, cost_estimate, p95_error, p95_estimate, score, wilson

ALL = Objectives(performance=True, cost=True, quality=True)


def seen(
    name: str = "a",
    successes: float = 950,
    outcomes: float = 1000,
    p95_ms: float | None = 100.0,
    cost: float | None = 1.0,
    tier: int = 0,
    eligible: bool = True,
) -> Observed:
    p99_ms = None if p95_ms is None else p95_ms * 1.4
    return Observed(name, tier, 1.0, eligible, successes, outcomes, None, p95_ms, p99_ms, cost)


@pytest.mark.parametrize(
    ("successes", "outcomes", "low", "high"),
    [
        # Reference values: Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_that_of_the_literature(successes: int, outcomes: int, low: float, high: float) -> None:
    estimate = wilson(successes, outcomes)
    assert estimate is not None
    assert estimate.value == pytest.approx(successes / outcomes)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_holds_the_rate_at_both_ends() -> None:
    none, every = wilson(0, 7), wilson(7, 7)
    assert none is not None
    assert every is not None
    assert none.low == none.value == 0
    assert every.high == every.value == 1


def test_no_outcomes_give_no_estimate() -> None:
    nothing = seen(successes=0, outcomes=0, p95_ms=None)
    assert wilson(0, 0) is p95_estimate(nothing) is cost_estimate(nothing) is None
    (only,) = score([nothing], ALL)
    assert (only.score, only.performance_score, only.cost_score, only.quality_score) == (None, None, None, None)


@pytest.mark.parametrize(("successes", "outcomes"), [(-1, 5), (6, 5), (math.nan, 5), (1, math.nan), (1, math.inf)])
def test_counts_that_cannot_be_are_refused(successes: float, outcomes: float) -> None:
    with pytest.raises(OptimizationError, match="cannot be"):
        wilson(successes, outcomes)


@pytest.mark.parametrize("cost", [-0.01, math.nan, math.inf])
def test_a_cost_that_cannot_be_is_refused(cost: float) -> None:
    with pytest.raises(OptimizationError, match="'a'"):
        score([seen(cost=cost)], ALL)


@pytest.mark.parametrize("p95_ms", [-1.0, math.nan, math.inf])
def test_a_latency_that_cannot_be_is_refused(p95_ms: float) -> None:
    with pytest.raises(OptimizationError, match="latencies"):
        score([seen(p95_ms=p95_ms)], ALL)


def test_error_of_p95_is_that_of_repeated_samples() -> None:
    generator, samples = random.Random(7), 400
    quantiles = []
    for _ in range(500):
        values = sorted(generator.expovariate(1 / 20) for _ in range(samples))
        quantiles.append(values[int(samples * 0.95)])
    mean = sum(quantiles) / len(quantiles)
    spread = math.sqrt(sum((value - mean) ** 2 for value in quantiles) / len(quantiles))
    assert p95_error(20 * math.log(20), 20 * math.log(100), samples) == pytest.approx(spread, rel=1.0)
    assert p95_error(20 * math.log(20), 20 * math.log(100), samples) > spread  # wide rather than narrow


def test_cost_of_a_delivery_counts_failed_attempts() -> None:
    estimate = cost_estimate(seen(successes=800, outcomes=1000, cost=2.0))
    assert estimate is not None
    assert estimate.value == pytest.approx(2.5)
    assert estimate.low < 2.5 < estimate.high


def test_scores_are_against_the_best_of_the_tier() -> None:
    fast, slow = score([seen("fast", p95_ms=50, cost=4.0), seen("slow", p95_ms=200, cost=1.0)], ALL)
    assert (fast.performance_score, fast.cost_score, fast.quality_score) == (1.0, 0.25, 1.0)
    assert (slow.performance_score, slow.cost_score, slow.quality_score) == (0.25, 1.0, 1.0)
    assert fast.score == slow.score == pytest.approx(0.25 ** (1 / 3))


def test_only_the_objectives_asked_for_count() -> None:
    both = [seen("fast", p95_ms=50, cost=4.0), seen("slow", p95_ms=200, cost=1.0)]
    by_speed = score(both, Objectives(performance=True, cost=False, quality=False))
    by_cost = score(both, Objectives(performance=False, cost=True, quality=False))
    assert [one.score for one in by_speed] == [1.0, 0.25]
    assert [one.score for one in by_cost] == [0.25, 1.0]


def test_other_tiers_and_the_ineligible_do_not_set_the_standard() -> None:
    rows = [seen("a", p95_ms=100), seen("out", p95_ms=10, eligible=False), seen("backup", p95_ms=1, tier=1)]
    a, out, backup = score(rows, ALL)
    assert a.performance_score == 1.0
    assert out.performance_score == 1.0
    assert backup.performance_score == 1.0


def test_a_destination_that_delivers_nothing_scores_zero() -> None:
    dead, alive = score([seen("dead", successes=0, outcomes=200, p95_ms=None), seen("alive")], ALL)
    assert dead.score == 0.0
    assert alive.score == 1.0


def test_free_destinations_are_all_the_cheapest() -> None:
    scores = score([seen("a", cost=0.0), seen("b", cost=0.0), seen("c", cost=1.0)], ALL)
    assert [one.cost_score for one in scores] == [1.0, 1.0, 0.0]
