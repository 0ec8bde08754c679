"""What is accepted and in which order it is settled: accept, join, lanes, backpressure, refusals."""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import Any

import pytest

from fake_core import FakeCore, answer, assert_settled, deliverer, hang, slow
from turnout.errors import DeliveryError, MessageError


def recording(order: list[Any], delay: float = 0.001) -> Any:
    async def function(message: Any, destination: str) -> None:
        order.append(message["n"])
        await asyncio.sleep(delay)

    return function


# accept, join


async def test_accept_returns_the_id_and_delivers_behind() -> None:
    core, order = FakeCore(), list[Any]()
    deliveries = deliverer(core, recording(order))
    assert await deliveries.accept({"id": "m-1", "n": 1}) == "m-1"
    ids = [await deliveries.accept({"n": number}) for number in range(2, 50)]
    assert len(set(ids)) == 48
    assert order == []
    ledger = deliveries.ledger
    assert (ledger.accepted, ledger.waiting, ledger.delivered) == (49, 49, 0)
    assert ledger.balanced
    await deliveries.join()
    assert sorted(order) == list(range(1, 50))
    assert_settled(deliveries, core)


async def test_join_returns_at_once_when_nothing_is_waiting() -> None:
    deliveries = deliverer(FakeCore(), answer)
    await asyncio.wait_for(deliveries.join(), 0.1)


async def test_join_waits_for_what_is_accepted_meanwhile_and_for_dispatches() -> None:
    core = FakeCore()
    deliveries = deliverer(core, slow)
    await deliveries.accept({})
    joining = [asyncio.create_task(deliveries.join()) for _ in range(3)]
    await asyncio.sleep(0.002)
    dispatching = asyncio.create_task(deliveries.dispatch({}))
    await asyncio.sleep(0)
    joining[0].cancel()
    await asyncio.wait(joining)
    assert dispatching.done()
    assert_settled(deliveries, core)


async def test_what_fails_behind_is_a_dead_letter() -> None:
    async def fail(message: object, destination: str) -> None:
        raise ConnectionError

    core = FakeCore()
    deliveries = deliverer(core, fail, max_attempts=2)
    await deliveries.accept({"id": "m-1"})
    await deliveries.join()
    assert [(letter.id, letter.reason) for letter in deliveries.dead_letters] == [("m-1", "attempts")]
    assert_settled(deliveries, core)


async def test_accepted_messages_leave_the_event_loop_to_others() -> None:
    deliveries = deliverer(FakeCore(), answer, concurrency=1)
    for _ in range(3000):
        await deliveries.accept({})
    turns = 0
    while deliveries.ledger.waiting:
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10


async def test_a_message_does_not_run_in_the_context_of_another() -> None:
    variable, seen = contextvars.ContextVar("variable", default="unset"), set()

    async def look(message: object, destination: str) -> None:
        seen.add(variable.get())

    deliveries = deliverer(FakeCore(), look)
    await deliveries.start()
    variable.set("of the first message")
    await deliveries.accept({})
    await deliveries.join()
    assert seen == {"unset"}


# Lanes and backpressure


async def test_an_urgent_message_overtakes_those_that_wait() -> None:
    core, order = FakeCore(), list[Any]()
    deliveries = deliverer(core, recording(order), concurrency=1)
    for number in range(5):
        await deliveries.accept({"n": number, "priority": 2})
    await asyncio.sleep(0)
    await deliveries.accept({"n": "low", "priority": 0})
    await deliveries.accept({"n": "urgent", "priority": 9})
    dispatching = asyncio.create_task(deliveries.dispatch({"n": "dispatched", "priority": 5}))
    await deliveries.join()
    await dispatching
    assert order == [0, "urgent", "dispatched", 1, 2, 3, 4, "low"]
    assert_settled(deliveries, core)


async def test_no_more_are_settled_at_once_than_concurrency_allows() -> None:
    running = most = 0

    async def count(message: object, destination: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    core = FakeCore()
    deliveries = deliverer(core, count, concurrency=7)
    for _ in range(60):
        await deliveries.accept({})
    await asyncio.gather(*(deliveries.dispatch({}) for _ in range(60)))
    await deliveries.join()
    assert most == 7
    assert_settled(deliveries, core)


async def test_accept_waits_while_as_many_wait_as_may() -> None:
    core = FakeCore()
    deliveries = deliverer(core, slow, concurrency=2, max_waiting=3)
    most = 0

    async def produce() -> None:
        nonlocal most
        for _ in range(10):
            await deliveries.accept({})
            most = max(most, deliveries.ledger.waiting)

    await asyncio.gather(*(produce() for _ in range(5)))
    assert most == 5
    await deliveries.join()
    assert deliveries.ledger.delivered == 50
    assert_settled(deliveries, core)


async def test_the_urgent_are_accepted_first_when_there_is_room() -> None:
    core, order = FakeCore(), list[Any]()
    deliveries = deliverer(core, recording(order), concurrency=1, max_waiting=1)
    tasks = [asyncio.create_task(deliveries.accept({"n": n, "priority": n})) for n in (4, 4, 1, 9, 5)]
    await asyncio.gather(*tasks)
    await deliveries.join()
    assert order == [4, 9, 5, 4, 1]


async def test_a_backoff_does_not_take_a_place_in_the_lanes() -> None:
    async def fail_once(message: Any, destination: str) -> None:
        if destination == "a" and message["bad"]:
            raise ConnectionError

    deliveries = deliverer(FakeCore(), fail_once, concurrency=1, base_delay=0.2, max_delay=0.2)
    failing = [asyncio.create_task(deliveries.dispatch({"bad": True})) for _ in range(10)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    await deliveries.dispatch({"bad": False})
    assert time.perf_counter() - began < 0.05
    await asyncio.gather(*failing)


async def test_new_settings_take_effect_at_once() -> None:
    core, order = FakeCore(), list[Any]()
    deliveries = deliverer(core, recording(order, 0.02), concurrency=1)
    for number in range(5):
        await deliveries.accept({"n": number})
    await asyncio.sleep(0.001)
    assert order == [0]
    settings = deliveries.settings
    deliveries.reconfigure(type(settings)(concurrency=3))
    await asyncio.sleep(0.001)
    assert order == [0, 1, 2]
    await deliveries.join()
    assert_settled(deliveries, core)


# What is not accepted


async def test_what_is_no_message_is_refused_before_acceptance() -> None:
    core = FakeCore()
    deliveries = deliverer(core, answer)
    for bad in (5, {1: 2}, {"priority": 10}, b"{"):
        with pytest.raises(MessageError):
            await deliveries.dispatch(bad)
        with pytest.raises(MessageError):
            await deliveries.accept(bad)
    ledger = deliveries.ledger
    assert (ledger.accepted, ledger.refused) == (0, 8)
    assert_settled(deliveries, core)


async def test_without_validation_the_core_says_what_is_no_message() -> None:
    core = FakeCore()
    deliveries = deliverer(core, answer, validation=False)
    assert (await deliveries.dispatch({"priority": "high"})).delivered


async def test_full_dead_letters_refuse_new_work_in_words_until_some_are_taken() -> None:
    async def fail(message: object, destination: str) -> None:
        raise DeliveryError("no", retryable=False)

    core = FakeCore()
    deliveries = deliverer(core, fail, max_kept=3)
    for _ in range(3):
        await deliveries.dispatch({})
    for call in (deliveries.dispatch, deliveries.accept):
        with pytest.raises(DeliveryError, match=r"3 dead letters are kept .* take\(\) some out first") as caught:
            await call({})
        assert caught.value.kind == "dead_letters_full"
    assert len(deliveries.dead_letters.take(1)) == 1
    await deliveries.dispatch({})
    assert len(list(deliveries.dead_letters)) == 3
    assert deliveries.ledger.refused == 2
    assert_settled(deliveries, core)


async def test_dead_letters_that_are_not_kept_are_counted() -> None:
    async def fail(message: object, destination: str) -> None:
        raise DeliveryError("no", retryable=False)

    core = FakeCore()
    deliveries = deliverer(core, fail, max_kept=0)
    for _ in range(3):
        await deliveries.dispatch({})
    assert len(deliveries.dead_letters) == 0
    assert deliveries.ledger.reasons == {"rejected": 3}
    assert_settled(deliveries, core)


def test_a_second_event_loop_is_refused_while_messages_are_under_way_on_the_first() -> None:
    core = FakeCore()
    deliveries = deliverer(core, hang)
    first = asyncio.new_event_loop()
    try:
        dispatching = first.create_task(deliveries.dispatch({}))
        first.run_until_complete(asyncio.sleep(0))

        async def second() -> None:
            with pytest.raises(DeliveryError, match="1 messages are under way on another event loop") as caught:
                await deliveries.dispatch({})
            assert caught.value.kind == "wrong_loop"

        asyncio.run(second())
        dispatching.cancel()
        first.run_until_complete(asyncio.wait([dispatching]))
    finally:
        first.close()
    assert_settled(deliveries, core)
    deliveries.transports.register("a", answer)
    assert asyncio.run(deliveries.dispatch({})).delivered
