"""Delivery that cannot go on at once: the retry budget, no route, no destination."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fake_core import FakeCore, FakePlan, answer, assert_settled, deliverer, failing, hang
from turnout.delivery import Deliverer, DeliverySettings
from turnout.errors import AccessDeniedError, MessageError, NoRouteError
from turnout.message import Message
from turnout.transports import Transports

# The retry budget


async def test_further_attempts_of_all_messages_together_stay_within_the_budget() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", "b", "c"), budget_percent=20.0, budget_per_second=1.0, max_attempts=2)
    results = await asyncio.gather(*(deliveries.dispatch({}) for _ in range(200)))
    assert {result.reason for result in results} == {"attempts", "budget"}
    assert deliveries.ledger.retries == 0.2 * 200 + 10
    assert deliveries.ledger.attempts == 200 + deliveries.ledger.retries
    assert_settled(deliveries, core)


async def test_the_budget_is_charged_before_the_backoff() -> None:
    core = FakeCore()
    deliveries = deliverer(
        core, failing("a", "b", "c"), budget_percent=0.0, budget_per_second=1.0, base_delay=0.2, max_delay=0.2
    )
    tasks = [asyncio.create_task(deliveries.dispatch({})) for _ in range(100)]
    await asyncio.sleep(0.005)
    assert deliveries.ledger.retries == 10  # charged, and all of them still in backoff
    assert deliveries.ledger.reasons == {"budget": 90}
    await asyncio.gather(*tasks)
    assert_settled(deliveries, core)


# No route, no destination


def raises(error: Exception) -> Any:
    def decide(message: object) -> FakePlan:
        raise error

    return decide


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (NoRouteError("nothing matched"), "no_route", "nothing matched"),
        (MessageError("message.total", "is a set"), "unreadable", "field 'message.total': is a set"),
        (AccessDeniedError("not cleared"), "access_denied", "not cleared"),
        (RuntimeError("a bug"), "internal", "RuntimeError: a bug"),
        (TimeoutError("not ours"), "internal", "TimeoutError: not ours"),
    ],
)
async def test_a_message_that_cannot_be_decided_is_a_dead_letter(error: Exception, reason: str, words: str) -> None:
    core = FakeCore(decide=raises(error))
    deliveries = deliverer(core, answer)
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.reason, delivery.detail) == ("dead_lettered", reason, words)
    assert (delivery.rule, delivery.stage, delivery.attempts) == (None, None, ())
    assert_settled(deliveries, core)


async def test_a_route_to_dead_letter_is_one() -> None:
    core = FakeCore()
    core.decide = lambda message: FakePlan(core, (), rule="spam")
    deliveries = deliverer(core, answer)
    delivery = await deliveries.dispatch({})
    assert (delivery.reason, delivery.rule, delivery.detail) == ("dead_letter", "spam", "rule 'spam' says dead_letter")
    assert_settled(deliveries, core)


async def test_custom_rules_decide_within_the_deadline() -> None:
    core = FakeCore(decide=raises(AssertionError("not asked")))

    async def decide(message: Any) -> Any:
        await asyncio.sleep(message["for"])
        return FakePlan(core, ("p",), rule="custom", stage="custom_rules")

    settings = DeliverySettings(timeout=0.05)
    transports = Transports({"a": "callable:fn"})
    transports.register("fn", answer)
    deliveries = Deliverer(core, settings, transports, decide=decide)
    assert (await deliveries.dispatch({"for": 0})).rule == "custom"
    delivery = await deliveries.dispatch({"for": 60})
    assert (delivery.status, delivery.detail) == ("expired", "its time was up while custom rules ran")
    assert_settled(deliveries, core)


async def test_with_nowhere_to_go_before_the_deadline_it_is_given_up_at_once() -> None:
    core = FakeCore(out_until=dict.fromkeys("abc", 4_102_444_799.5))
    deliveries = deliverer(core, answer)
    began = time.perf_counter()
    delivery = await deliveries.dispatch({})
    assert time.perf_counter() - began < 0.2
    assert (delivery.status, delivery.reason) == ("dead_lettered", "no_destination")
    assert delivery.detail == "pool 'p': none is free; it may be tried again at 2100-01-01 00:00:00 UTC"
    assert_settled(deliveries, core)


async def test_with_somewhere_to_go_before_the_deadline_it_waits_and_holds_up_nobody() -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"]}, out_until={"a": time.time() + 0.6})
    core.decide = lambda message: FakePlan(core, (message["pool"],))
    deliveries = deliverer(core, answer, concurrency=1)
    waiting = [asyncio.create_task(deliveries.dispatch({"pool": "p"})) for _ in range(20)]
    await asyncio.sleep(0)
    assert (await asyncio.wait_for(deliveries.dispatch({"pool": "q"}), 0.5)).delivered
    assert deliveries.ledger.waiting == 20
    results = await asyncio.gather(*waiting)
    assert all(result.delivered for result in results)
    assert all(result.elapsed >= 0.5 for result in results)
    assert_settled(deliveries, core)


async def test_at_its_cap_a_destination_is_waited_for_the_urgent_first() -> None:
    core = FakeCore(pools={"p": ["a"]}, caps={"a": 2})
    order: list[int] = []

    async def slow(message: Any, destination: str) -> None:
        order.append(message["priority"])
        await asyncio.sleep(0.01)

    deliveries = deliverer(core, slow)
    tasks = [asyncio.create_task(deliveries.dispatch({"priority": p})) for p in (5, 5, 1, 3, 9, 2, 9, 4)]
    results = await asyncio.gather(*tasks)
    assert all(result.delivered for result in results)
    assert order == [5, 5, 9, 9, 4, 3, 2, 1]
    assert_settled(deliveries, core)


async def test_waiting_for_a_destination_ends_with_the_deadline() -> None:
    core = FakeCore(pools={"p": ["a"]}, caps={"a": 1})
    deliveries = deliverer(core, hang, timeout=1.0)
    sooner = Message(deadline=datetime.now(UTC) + timedelta(seconds=0.08))
    holding = asyncio.create_task(deliveries.dispatch({}))
    await asyncio.sleep(0)
    delivery = await deliveries.dispatch(sooner)
    assert (delivery.status, delivery.attempts) == ("expired", ())
    assert delivery.detail == "its time is up before any attempt; pool 'p': none is free"
    holding.cancel()
    await asyncio.wait([holding])
    assert_settled(deliveries, core)


async def test_a_recovering_destination_is_met_by_one_and_then_by_all_it_can_take() -> None:
    core = FakeCore(pools={"p": ["a"]}, out_until={"a": time.time() + 0.05}, caps={"a": 1})
    running, most = 0, 0

    async def count(message: object, destination: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        core.caps["a"] = 5

    deliveries = deliverer(core, count)
    results = await asyncio.gather(*(deliveries.dispatch({}) for _ in range(30)))
    assert all(result.delivered for result in results)
    assert most == 5
    assert_settled(deliveries, core)


async def test_a_pool_that_hangs_leaves_room_for_the_others() -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"]})
    core.decide = lambda message: FakePlan(core, (message["pool"],))
    deliveries = deliverer(core, {"a": hang, "b": answer}, concurrency=18, timeout=0.3)
    hanging = [asyncio.create_task(deliveries.dispatch({"pool": "p"})) for _ in range(50)]
    await asyncio.sleep(0)
    assert deliveries.ledger.in_flight == 17
    assert all([(await deliveries.dispatch({"pool": "q"})).delivered for _ in range(50)])
    results = await asyncio.gather(*hanging)
    assert {result.status for result in results} == {"expired"}
    waited = [result.detail or "" for result in results if not result.attempts]
    assert len(waited) > 5  # some may have begun in the last moment
    assert any("too many attempts were under way while others need room too" in detail for detail in waited)
    assert_settled(deliveries, core)


@pytest.mark.parametrize(
    ("pools", "concurrency", "taken"),
    [
        (("p",), 18, 18),
        (("p",), 2, 2),
        (("p", "q"), 18, 17),
        (("p", "q"), 9, 8),
        (("p", "q"), 2, 1),
        (("p", "q"), 1, 1),
    ],
)
async def test_a_pool_that_hangs_leaves_a_place_if_there_are_others_and_two_places(
    pools: tuple[str, ...], concurrency: int, taken: int
) -> None:
    core = FakeCore(pools={pool: ["a"] for pool in pools})
    deliveries = deliverer(core, hang, concurrency=concurrency, timeout=0.05)
    core.decide = lambda message: FakePlan(core, ("p",))
    hanging = [asyncio.create_task(deliveries.dispatch({})) for _ in range(50)]
    await asyncio.sleep(0)
    assert deliveries.ledger.in_flight == taken
    await asyncio.gather(*hanging)
    assert_settled(deliveries, core)
