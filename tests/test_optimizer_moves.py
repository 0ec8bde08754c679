"""From scores to weights: bounds, intervals, and what is said about them."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.optimizer.effect import MAX_MOVE, MAX_P95_RISE, MAX_SUCCESS_LOSS, allowed_part, effect
from turnout.optimizer.fading import FADE, FadingOutcomes
from turnout.optimizer.optimize import Objectives, Observed, optimize
from turnout.optimizer.scores import MIN_OUTCOMES
from turnout.optimizer.weights import FLOOR, distance, moved, target_shares
from turnout.reports import DestinationStats

SPEED = Objectives(performance=True, cost=False, quality=False)
COST = Objectives(performance=False, cost=True, quality=False)
QUALITY = Objectives(performance=False, cost=False, quality=True)
ALL = Objectives(performance=True, cost=True, quality=True)


def seen(
    name: str,
    rate: float = 0.99,
    outcomes: int = 10_000,
    p95_ms: float | None = 100.0,
    cost: float | None = 1.0,
    weight: float = 1.0,
    tier: int = 0,
    eligible: bool = True,
) -> Observed:
    p99_ms = None if p95_ms is None else p95_ms * 1.4
    return Observed(name, tier, weight, eligible, round(rate * outcomes), outcomes, p95_ms, p95_ms, p99_ms, cost)


POOLS = st.lists(
    st.builds(
        Observed,
        id=st.uuids().map(str),
        tier=st.integers(0, 2),
        weight=st.integers(0, 50).map(float),
        eligible=st.booleans(),
        successes=st.integers(0, 5_000).map(float),
        outcomes=st.integers(5_000, 9_000).map(float),
        p50_ms=st.none(),
        p95_ms=st.floats(0.01, 10_000) | st.none(),
        p99_ms=st.none(),
        cost=st.floats(0, 100) | st.none(),
    ),
    max_size=8,
)


@given(POOLS, st.sampled_from([SPEED, COST, QUALITY, ALL]))
def test_whatever_was_observed_the_bounds_hold(destinations: list[Observed], objectives: Objectives) -> None:
    found = optimize({"p": destinations}, objectives)
    weights = found.weights["p"]
    assert list(weights) == [one.id for one in destinations]
    assert found.metrics.moved["p"] <= MAX_MOVE + 1e-9
    for tier in {one.tier for one in destinations}:
        members = [one for one in destinations if one.tier == tier]
        before, after = math.fsum(one.weight for one in members), math.fsum(weights[one.id] for one in members)
        if before == 0:
            assert after == 0
            continue
        shares = [one.weight / before for one in members]
        new = [weights[one.id] / after for one in members]
        assert distance(shares, new) <= MAX_MOVE + 0.01  # whole numbers per mille
        for one, share, now in zip(members, shares, new, strict=True):
            assert (now == 0) == (share == 0)  # nobody is taken out, nobody put in
            if not one.eligible:
                assert now == pytest.approx(share, abs=0.006)
    assert [one.action for one in found.recommendations]


@given(
    st.lists(st.tuples(st.floats(0.001, 1), st.floats(0, 1)), min_size=2, max_size=20),
    st.floats(0, 1),
)
def test_shares_keep_their_sum_and_their_floor(rows: list[tuple[float, float]], part: float) -> None:
    shares, scores = [row[0] for row in rows], [row[1] for row in rows]
    total = math.fsum(shares)
    target = target_shares(shares, scores)
    after = moved(shares, target, part)
    assert math.fsum(target) == pytest.approx(total)
    assert math.fsum(after) == pytest.approx(total)
    for share, goal, now in zip(shares, target, after, strict=True):
        least = min(share, FLOOR * total / len(shares))
        assert goal >= least * (1 - 1e-9)
        assert now >= least * (1 - 1e-9)


def test_equal_scores_move_nothing() -> None:
    assert target_shares([0.2, 0.5, 0.3], [0.7, 0.7, 0.7]) == pytest.approx([0.2, 0.5, 0.3])
    assert target_shares([0.2, 0.8], [0.0, 0.0]) == [0.2, 0.8]


@pytest.mark.parametrize(
    ("objectives", "better", "worse"),
    [
        (SPEED, seen("good", p95_ms=40), seen("bad", p95_ms=120)),
        (COST, seen("good", cost=0.1), seen("bad", cost=1.0)),
        (QUALITY, seen("good", rate=0.999), seen("bad", rate=0.6)),
        (QUALITY, seen("good"), seen("bad", rate=0.0, p95_ms=None)),
    ],
    ids=["latency", "cost", "quality", "dead"],
)
def test_the_better_destination_gets_more(objectives: Objectives, better: Observed, worse: Observed) -> None:
    found = optimize({"p": [better, worse]}, objectives)
    assert found.weights["p"]["good"] > found.weights["p"]["bad"] > 0
    assert found.weights["p"]["good"] + found.weights["p"]["bad"] == 1000
    assert found.judged
    assert found.metrics.moved["p"] <= MAX_MOVE + 1e-9
    (advice,) = found.recommendations
    assert advice.action == "move"
    assert advice.weights == found.weights["p"]
    assert advice.samples == better.outcomes + worse.outcomes
    assert "from bad (-" in advice.text
    assert "to good (+" in advice.text


def test_a_recommendation_gives_its_figures() -> None:
    found = optimize({"sms": [seen("a", p95_ms=50, cost=1.0), seen("b", p95_ms=200, cost=2.0)]}, ALL)
    (advice,) = found.recommendations
    assert advice.text == (
        "pool sms: move 20.0% of messages from b (-20.0) to a (+20.0). success unchanged within [-0.06, +0.06] points; "
        "p95 -30 ms [-31.8, -28.2] (-24%); cost -13.3 % [-13.4, -13.3]. On 20,000 outcomes."
    )
    change = found.metrics.cost_change["sms"]
    assert change is not None
    assert change.low <= change.value <= change.high < 0


def test_repeated_calls_go_on_until_the_floor_and_no_further() -> None:
    fast, slow = seen("fast", p95_ms=20), seen("slow", p95_ms=400)
    for _ in range(20):
        weights = optimize({"p": [fast, slow]}, SPEED).weights["p"]
        fast, slow = replace(fast, weight=weights["fast"]), replace(slow, weight=weights["slow"])
    assert slow.weight / (fast.weight + slow.weight) == pytest.approx(FLOOR / 2, abs=0.002)


def test_a_share_kept_small_on_purpose_stays_as_it_is() -> None:
    found = optimize({"p": [seen("old", p95_ms=50, weight=99), seen("canary", p95_ms=100, weight=1)]}, SPEED)
    assert found.weights["p"] == {"old": 99, "canary": 1}
    assert found.recommendations[0].action == "keep"


def test_too_few_outcomes_move_nothing_and_are_counted() -> None:
    found = optimize({"p": [seen("a", outcomes=40, p95_ms=10), seen("b", outcomes=MIN_OUTCOMES, p95_ms=900)]}, ALL)
    assert found.weights["p"] == {"a": 1.0, "b": 1.0}
    assert found.missing == {"a": MIN_OUTCOMES - 40}
    assert not found.judged
    (advice,) = found.recommendations
    assert advice.action == "collect"
    assert "a (60 more)" in advice.text
    assert advice.samples == 140


def test_those_with_enough_outcomes_move_though_another_has_too_few() -> None:
    found = optimize({"p": [seen("a", p95_ms=10), seen("b", p95_ms=90), seen("new", outcomes=3)]}, SPEED)
    assert [one.action for one in found.recommendations] == ["collect", "move"]
    assert found.weights["p"]["new"] == 333
    assert found.weights["p"]["a"] > 333 > found.weights["p"]["b"]
    assert found.judged


def test_a_difference_within_chance_moves_nothing() -> None:
    found = optimize({"p": [seen("a", rate=0.95, outcomes=200), seen("b", rate=0.94, outcomes=200)]}, QUALITY)
    assert found.weights["p"] == {"a": 1.0, "b": 1.0}
    assert "no other split is better beyond chance" in found.recommendations[0].text
    assert found.metrics.success_change["p"] is None


def test_a_gain_is_not_bought_with_failures_beyond_the_bound() -> None:
    found = optimize({"p": [seen("cheap", rate=0.9, cost=0.1), seen("dear", rate=0.99, cost=1.0)]}, COST)
    change = found.metrics.success_change["p"]
    assert change is not None
    assert -MAX_SUCCESS_LOSS - 1e-9 <= change.low < 0
    assert found.metrics.moved["p"] < MAX_MOVE / 1.5
    assert found.degraded[0].startswith("performance_degradation: pool 'p': the risk to the success rate")


def test_a_gain_is_not_bought_with_latency_beyond_the_bound() -> None:
    found = optimize({"p": [seen("cheap", p95_ms=400, cost=0.1), seen("dear", p95_ms=100, cost=1.0)]}, COST)
    change = found.metrics.p95_change_ms["p"]
    assert change is not None
    assert 0 < change.high <= 250 * MAX_P95_RISE + 1e-9
    assert found.degraded[0].startswith("performance_degradation: pool 'p': the risk to the p95")


def test_a_rise_of_latency_that_nobody_notices_holds_nothing_back() -> None:
    found = optimize({"p": [seen("good", p95_ms=0.005), seen("bad", rate=0.9, p95_ms=0.001)]}, QUALITY)
    assert found.recommendations[0].action == "move"
    assert found.degraded == ()


def test_a_risk_that_leaves_no_move_keeps_the_weights() -> None:
    found = optimize({"p": [seen("cheap", rate=0.2, cost=0.01), seen("dear", rate=0.99, cost=1.0)]}, COST)
    assert found.recommendations[0].action in {"keep", "move"}
    change = found.metrics.success_change["p"]
    assert change is None or change.low >= -MAX_SUCCESS_LOSS - 1e-9


def test_without_a_cost_the_cost_is_left_out_and_said_so() -> None:
    found = optimize({"p": [seen("a", p95_ms=10, cost=None), seen("b", p95_ms=90)]}, ALL)
    assert found.degraded == ("cost_unknown: pool 'p': no cost configured for a; cost is left out",)
    assert [one.action for one in found.recommendations] == ["price", "move"]
    assert found.weights["p"]["a"] > found.weights["p"]["b"]
    only = optimize({"p": [seen("a", cost=None), seen("b")]}, COST)
    assert [one.action for one in only.recommendations] == ["price"]
    assert only.weights["p"] == {"a": 1.0, "b": 1.0}


def test_only_the_tier_that_serves_is_moved() -> None:
    pool = [seen("a", p95_ms=10), seen("b", p95_ms=90), seen("c", p95_ms=1, tier=1), seen("d", p95_ms=99, tier=1)]
    weights = optimize({"p": pool}, SPEED).weights["p"]
    assert (weights["c"], weights["d"]) == (1.0, 1.0)
    out = [replace(one, eligible=one.tier == 1) for one in pool]
    weights = optimize({"p": out}, SPEED).weights["p"]
    assert (weights["a"], weights["b"]) == (1.0, 1.0)
    assert weights["c"] > weights["d"]


def test_idle_backups_do_not_count_as_missing_data() -> None:
    found = optimize({"p": [seen("a"), seen("b"), seen("backup", outcomes=0, p95_ms=None, tier=1)]}, SPEED)
    assert found.missing == {}


@pytest.mark.parametrize("members", [[], [seen("a")], [seen("a"), seen("b", eligible=False)], [seen("a", weight=0)]])
def test_a_pool_with_nothing_to_choose_from_is_kept(members: list[Observed]) -> None:
    found = optimize({"p": members}, ALL)
    assert found.weights["p"] == {one.id: one.weight for one in members}
    assert [one.action for one in found.recommendations] == ["keep"]
    assert "nothing to choose" in found.recommendations[0].text


def test_effect_of_a_known_change_is_exact() -> None:
    pair = [seen("a", rate=0.9, p95_ms=100, cost=1.0), seen("b", rate=0.5, p95_ms=300, cost=2.0)]
    change = effect(pair, [0.5, 0.5], [0.6, 0.4])
    assert change.success is not None
    assert change.p95_ms is not None
    assert change.cost is not None
    assert change.success.value == pytest.approx(0.04, abs=1e-4)
    assert change.p95_ms.value == pytest.approx(-20)
    assert change.cost.value == pytest.approx((1.4 / 0.74) / (1.5 / 0.70) - 1, abs=1e-4)


def test_allowed_part_is_bounded_by_the_size_of_the_move_alone_if_nothing_gets_worse() -> None:
    pair = [seen("a", rate=0.99, p95_ms=10), seen("b", rate=0.5, p95_ms=100)]
    change = effect(pair, [0.5, 0.5], [0.9, 0.1])
    assert allowed_part(change, 0.4, 55.0) == (0.5, None)
    assert allowed_part(change, 0.0, 55.0)[0] == 0.0


def stats(name: str, successes: int, failures: int = 0) -> DestinationStats:
    return DestinationStats(
        id=name, admin="enabled", health="healthy", breaker="closed", ejected_for=None, failed_over=False,
        failed_over_for=None, failed_over_to=None, in_flight=0,
        picks=successes + failures, attempts=successes + failures, successes=successes, failures=failures,
        overloaded=0, cancelled=0, ejections=0, recoveries=0, success_rate=1.0, latency_ms=None, p50_ms=None,
        p95_ms=None, p99_ms=None, failure_kinds={},
    )  # fmt: skip


def test_old_outcomes_fade_with_each_new_one_of_anybody() -> None:
    fading = FadingOutcomes()
    first, _ = fading.update({"a": stats("a", 100, 100), "b": stats("b", 0)})
    assert first == {"a": (100, 200), "b": (0, 0)}
    second, restarted = fading.update({"a": stats("a", 150, 100), "b": stats("b", 950)})
    kept = FADE**1000
    assert second["a"] == pytest.approx((100 * kept + 50, 200 * kept + 50))
    assert second["b"] == (950, 950)
    assert not restarted
    assert fading.update({"a": stats("a", 150, 100), "b": stats("b", 950)})[0] == second  # nothing new, nothing fades


def test_counters_that_went_backwards_are_learned_anew() -> None:
    fading = FadingOutcomes()
    fading.update({"a": stats("a", 500), "gone": stats("gone", 500)})
    outcomes, restarted = fading.update({"a": stats("a", 20)})
    assert outcomes == {"a": (20, 20)}
    assert restarted == ["a"]


@given(st.lists(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=2), max_size=6))
def test_successes_never_exceed_outcomes(updates: list[list[tuple[int, int]]]) -> None:
    fading = FadingOutcomes()
    for update in updates:
        outcomes, _ = fading.update({str(i): stats(str(i), good, bad) for i, (good, bad) in enumerate(update)})
        assert all(0 <= good <= total for good, total in outcomes.values())


def test_what_was_found_survives_pickling() -> None:
    found = optimize({"p": [seen("a", p95_ms=10), seen("b", p95_ms=90)]}, ALL)
    assert pickle.loads(pickle.dumps(found.metrics)) == found.metrics  # noqa: S301
    assert found.metrics.as_dict()["scores"]["p"][0]["destination"] == "a"
