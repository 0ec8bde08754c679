"""Hedges: a second attempt beside one that takes longer than most. In simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_core import FakeCore, assert_settled, deliverer
from simulated_time import simulated
from turnout.config import load_dict
from turnout.delivery import DeliverySettings
from turnout.delivery.budget import WINDOW
from turnout.delivery.hedging import RecentLatency
from turnout.errors import DeliveryError

USUAL = 0.010
"""Seconds an attempt takes, unless a test says otherwise."""

Behaviour = Callable[[], Awaitable[object]]


class Scene:
    """A pool of three destinations that answer in 10 ms, seen often enough, and what each does from then on."""

    def __init__(self, destinations: str = "abc", **given: Any) -> None:
        self.core = FakeCore(pools={"p": list(destinations)})
        self.next: dict[str, list[Behaviour]] = {name: [] for name in destinations}
        self.deliveries = deliverer(
            self.core, self.answer, **{"hedge_share": 0.95, "hedge_samples": 10, "timeout": 5.0, **given}
        )

    async def answer(self, message: object, destination: str) -> object:
        if self.next[destination]:
            return await self.next[destination].pop(0)()
        await asyncio.sleep(USUAL)
        return destination

    async def warm_up(self) -> None:
        for _ in range(20):
            assert (await self.deliveries.dispatch({})).delivered
        self.core.leases.clear()

    def attempts(self, delivery: Any) -> list[tuple[int, str, str, str | None, bool]]:
        return [(one.number, one.destination, one.outcome, one.kind, one.hedge) for one in delivery.attempts]


def takes(seconds: float, answer: object = "late", error: Exception | None = None) -> Behaviour:
    async def behave() -> object:
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return answer

    return behave


async def stubborn() -> object:
    """Answers in spite of its cancellation."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "in spite"
    return "in the end"


def test_the_faster_of_two_counts_and_the_other_is_cancelled_without_blame() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"] = [takes(3.0)]
        delivery = await scene.deliveries.dispatch({})
        assert (delivery.status, delivery.destination, delivery.value) == ("delivered", "b", "b")
        assert delivery.elapsed == pytest.approx(2 * USUAL, rel=0.1)
        assert scene.attempts(delivery) == [(2, "b", "success", None, True), (1, "a", "cancelled", "outrun", False)]
        assert scene.core.outcomes == ["cancelled", "success"]
        ledger = scene.deliveries.ledger
        assert (ledger.delivered, ledger.attempts, ledger.retries, ledger.hedges) == (21, 22, 0, 1)
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


def test_no_hedge_begins_beside_a_message_with_an_ordering_key() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"] = [takes(3.0)]
        delivery = await scene.deliveries.dispatch({"ordering_key": "k"})
        assert (delivery.destination, scene.deliveries.ledger.hedges) == ("a", 0)
        assert delivery.elapsed == pytest.approx(3.0)
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


def test_the_first_may_still_win() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"], scene.next["b"] = [takes(0.05)], [takes(1.0)]
        delivery = await scene.deliveries.dispatch({})
        assert (delivery.destination, delivery.value) == ("a", "late")
        assert scene.attempts(delivery) == [(1, "a", "success", None, False), (2, "b", "cancelled", "outrun", True)]
        assert delivery.elapsed == pytest.approx(0.05)
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


@pytest.mark.parametrize("loser", ["a", "b"])
def test_two_answers_are_one_delivery(loser: str) -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"] = [stubborn if loser == "a" else takes(0.05)]
        scene.next["b"] = [stubborn] if loser == "b" else []
        delivery = await scene.deliveries.dispatch({})
        assert [one.outcome for one in delivery.attempts] == ["success", "success"]
        assert (scene.deliveries.ledger.delivered, scene.deliveries.ledger.accepted) == (21, 21)
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


def test_where_one_of_the_two_fails_the_other_goes_on() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        down = ConnectionError("down")
        scene.next["a"], scene.next["b"] = [takes(0.02, error=down)], [takes(0.03)]
        delivery = await scene.deliveries.dispatch({})
        assert scene.attempts(delivery) == [
            (1, "a", "failure", "ConnectionError", False), (2, "b", "success", None, True),
        ]  # fmt: skip
        scene.next["a"], scene.next["b"] = [takes(0.05)], [takes(0.001, error=down)]
        delivery = await scene.deliveries.dispatch({})
        assert scene.attempts(delivery) == [
            (2, "b", "failure", "ConnectionError", True), (1, "a", "success", None, False),
        ]  # fmt: skip
        assert scene.deliveries.ledger.retries == 0
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


def test_where_both_fail_a_further_attempt_goes_to_a_third() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        down = ConnectionError("down")
        scene.next["a"], scene.next["b"] = [takes(0.02, error=down)], [takes(0.02, error=down)]
        delivery = await scene.deliveries.dispatch({})
        assert [(number, name, hedge) for number, name, _, _, hedge in scene.attempts(delivery)] == [
            (1, "a", False), (2, "b", True), (3, "c", False),
        ]  # fmt: skip
        assert (scene.deliveries.ledger.retries, scene.deliveries.ledger.hedges) == (1, 1)
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


@pytest.mark.parametrize("refusing", ["a", "b"])
def test_a_message_refused_for_good_by_one_is_not_waited_for_at_the_other(refusing: str) -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        for name in "ab":
            refused = DeliveryError("bad", retryable=False)
            scene.next[name] = [takes(0.05, error=refused) if name == refusing else takes(3.0)]
        delivery = await scene.deliveries.dispatch({})
        assert (delivery.status, delivery.reason) == ("dead_lettered", "rejected")
        assert delivery.elapsed < 0.1
        assert scene.core.outcomes == ["cancelled", "cancelled"]
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


@pytest.mark.parametrize(
    ("given", "destinations"),
    [
        ({"hedge_share": 0.0}, "abc"),
        ({"hedge_samples": 1000}, "abc"),
        ({}, "a"),
        ({"failover": False}, "abc"),
        ({"max_attempts": 1}, "abc"),
        ({"concurrency": 1}, "abc"),
        ({"budget_percent": 0.0, "budget_per_second": 0.0}, "abc"),
    ],
    ids=["off", "too few seen", "no other", "no failover", "one attempt", "no place", "no budget"],
)
def test_no_hedge_begins_where_it_may_not(given: dict[str, Any], destinations: str) -> None:
    async def main() -> None:
        scene = Scene(destinations, **given)
        await scene.warm_up()
        scene.next["a"] = [takes(3.0)]
        delivery = await scene.deliveries.dispatch({})
        assert scene.attempts(delivery) == [(1, "a", "success", None, False)]
        assert scene.deliveries.ledger.hedges == 0
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


def test_a_message_with_an_ordering_key_has_one_attempt_at_a_time() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"] = [takes(3.0)]
        delivery = await scene.deliveries.dispatch({"ordering_key": "k"})
        assert scene.attempts(delivery) == [(1, "a", "success", None, False)]
        assert scene.deliveries.ledger.hedges == 0
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_what_ends_a_delivery_ends_both_attempts(end: str) -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"], scene.next["b"] = [takes(3.0)], [takes(3.0)]
        task = asyncio.create_task(scene.deliveries.dispatch({}))
        await asyncio.sleep(1.0)
        assert scene.deliveries.ledger.in_flight == 2
        if end == "cancel":
            task.cancel()
            await asyncio.wait([task])
        else:
            await scene.deliveries.close(drain=0.5)
        (letter,) = scene.deliveries.dead_letters
        assert letter.reason == {"cancel": "cancelled", "close": "closed"}[end]
        assert {(one.destination, one.outcome, one.kind) for one in letter.attempts} == {
            ("a", "cancelled", "cancelled"), ("b", "cancelled", "cancelled"),
        }  # fmt: skip
        await asyncio.wait([task])
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


def test_a_hedge_cancelled_before_it_began_leaves_nothing() -> None:
    async def main() -> None:
        scene = Scene()
        await scene.warm_up()
        scene.next["a"], scene.next["b"] = [takes(3.0)], [takes(3.0)]
        task = asyncio.create_task(scene.deliveries.dispatch({}))
        while scene.deliveries.ledger.hedges == 0:  # the moment in which its task was made
            await asyncio.sleep(0.0)
            if not asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]
                await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
        assert scene.deliveries._turns.free == scene.deliveries.settings.concurrency
        assert_settled(scene.deliveries, scene.core)

    simulated(main())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    slow=st.sampled_from([0.05, 0.3, 1.0]),
    percent=st.sampled_from([0.0, 5.0, 20.0]),
    per_second=st.sampled_from([0.0, 2.0]),
    stop=st.booleans(),
)
def test_whatever_happens_hedges_and_retries_keep_to_the_budget_and_nothing_is_lost_or_counted_twice(
    seed: int, slow: float, percent: float, per_second: float, stop: bool
) -> None:
    rng = random.Random(seed)

    async def answer(message: object, destination: str) -> object:
        await asyncio.sleep(rng.uniform(0.5, 1.0) if rng.random() < slow else rng.uniform(0.001, 0.02))
        if rng.random() < 0.1:
            raise DeliveryError("odd", retryable=rng.random() < 0.7)
        return destination

    async def main() -> None:
        core = FakeCore(caps={"a": 3})
        deliveries = deliverer(
            core, answer, hedge_share=0.8, hedge_samples=10, concurrency=8, timeout=2.0, attempt_timeout=0.8,
            budget_percent=percent, budget_per_second=per_second,
        )  # fmt: skip
        tasks: list[asyncio.Task[Any]] = []
        for _ in range(150):
            tasks.append(asyncio.create_task(deliveries.dispatch({})))
            await asyncio.sleep(rng.expovariate(30.0))
            if rng.random() < 0.1:
                rng.choice(tasks).cancel()
        if stop:
            await deliveries.close(drain=0.1)
        await asyncio.wait(tasks)
        ledger = deliveries.ledger
        assert ledger.accepted == 150 - ledger.refused
        assert ledger.hedges + ledger.retries <= percent / 100 * 150 + per_second * WINDOW * 2
        assert ledger.attempts == len(core.leases)
        ends = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
        assert ledger.delivered == sum(one.delivered for one in ends)
        for one in ends:
            assert [attempt.number for attempt in sorted(one.attempts, key=lambda each: each.number)] == list(
                range(1, len(one.attempts) + 1)
            )
        assert deliveries._turns.free == 8
        assert_settled(deliveries, core)

    simulated(main())


def test_the_percentile_follows_what_changes() -> None:
    latency = RecentLatency(0.0)
    assert latency.seconds is None
    for number in range(99):
        latency.record(0.01, number * 0.01, 0.95, 100)
    assert latency.seconds is None, "too few"
    latency.record(0.01, 1.0, 0.95, 100)
    assert latency.seconds == pytest.approx(0.01, rel=0.02)
    now = 1.0
    for _ in range(3000):
        now += 0.01
        latency.record(0.2, now, 0.95, 100)
    assert latency.seconds == pytest.approx(0.2, rel=0.02)


def test_hedging_does_not_lower_the_percentile_that_it_goes_by() -> None:
    """Of equal destinations one in twenty attempts is hedged, minute after minute, and not more and more."""
    rng = random.Random(1)

    async def answer(message: object, destination: str) -> object:
        await asyncio.sleep(rng.expovariate(20.0))
        return destination

    async def main() -> list[int]:
        core = FakeCore()
        deliveries = deliverer(core, answer, hedge_share=0.95, hedge_samples=100, budget_percent=100.0)
        found = []
        for _ in range(5):
            before = deliveries.ledger.hedges
            for _ in range(6):
                tasks = [asyncio.create_task(deliveries.dispatch({})) for _ in range(200)]
                await asyncio.wait(tasks)
                await asyncio.sleep(10.0)
            found.append(deliveries.ledger.hedges - before)
        assert_settled(deliveries, core)
        return found

    hedges = simulated(main())
    assert all(30 <= count <= 90 for count in hedges[1:]), hedges  # of 1,200; 60 are expected


def test_the_configuration_says_when() -> None:
    assert DeliverySettings.of(load_dict({})).hedge_share == 0.0
    config = load_dict({"retries": {"hedge": {"percentile": 90, "min_samples": 50}}})
    given = DeliverySettings.of(config)
    assert (given.hedge_share, given.hedge_samples) == (0.9, 50)
