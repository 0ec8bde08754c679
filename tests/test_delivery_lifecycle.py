"""Acceptance, lanes, backpressure, cancellation, join and close: no accepted message is lost."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest
from fake_core import FakeCore, assert_settled, deliverer

from turnout.errors import DeliveryError, MessageError


async def answer(message: object, destination: str) -> str:
    return destination


async def slow(message: object, destination: str) -> None:
    await asyncio.sleep(0.005)


async def hang(message: object, destination: str) -> None:
    await asyncio.sleep(60)


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


# Cancellation


async def test_a_cancelled_dispatch_is_a_dead_letter_and_the_lease_goes_back_without_blame() -> None:
    core = FakeCore()
    deliveries = deliverer(core, hang)
    dispatching = asyncio.create_task(deliveries.dispatch({"id": "m-1"}))
    await asyncio.sleep(0.001)
    dispatching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dispatching
    (letter,) = deliveries.dead_letters
    assert (letter.id, letter.status, letter.reason) == ("m-1", "dead_lettered", "cancelled")
    assert [(a.destination, a.outcome, a.kind) for a in letter.attempts] == [("a", "cancelled", "cancelled")]
    assert core.outcomes == ["cancelled"]
    assert_settled(deliveries, core)


async def test_ten_thousand_cancelled_dispatches_leave_nothing_behind() -> None:
    core = FakeCore()

    async def work(message: Any, destination: str) -> None:
        await asyncio.sleep(0 if message["n"] % 3 else 60)
        if message["n"] % 5 == 0:
            raise ConnectionError

    deliveries = deliverer(core, work, concurrency=500, max_waiting=4000, base_delay=0.01, max_delay=0.01)
    tasks = [asyncio.create_task(deliveries.dispatch({"n": number})) for number in range(10_000)]
    for _ in range(4):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) or not isinstance(result, BaseException) for result in results)
    assert any(isinstance(result, asyncio.CancelledError) for result in results)
    ledger = deliveries.ledger
    assert ledger.reasons["cancelled"] > 1000
    assert len(deliveries.dead_letters) == ledger.dead_lettered + ledger.expired
    assert_settled(deliveries, core)
    assert [deliveries._turns.try_take() for _ in range(501)] == [True] * 500 + [False]
    assert [deliveries._room.try_take() for _ in range(4501)] == [True] * 4500 + [False]


@pytest.mark.parametrize("parallel", [True, False])
async def test_cancelling_ends_all_branches(parallel: bool) -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"], "r": ["c"]}, mode="all", quorum=3)
    deliveries = deliverer(core, {"a": answer, "b": hang, "c": hang}, parallel=parallel)
    dispatching = asyncio.create_task(deliveries.dispatch({}))
    await asyncio.sleep(0.005)
    dispatching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dispatching
    (letter,) = deliveries.dead_letters
    assert letter.reason == "cancelled"
    assert [branch.status for branch in letter.branches] == ["delivered", "dead_lettered", "dead_lettered"]
    assert_settled(deliveries, core)


async def test_what_ends_the_process_is_passed_on_and_the_message_is_kept() -> None:
    class Interrupt(BaseException):
        pass

    async def interrupt(message: object, destination: str) -> None:
        raise Interrupt

    core = FakeCore()
    deliveries = deliverer(core, interrupt)
    with pytest.raises(Interrupt):
        await deliveries.dispatch({})
    (letter,) = deliveries.dead_letters
    assert (letter.reason, letter.detail) == ("cancelled", "the task that delivered it was stopped by Interrupt")
    assert_settled(deliveries, core)


async def test_cancelled_background_tasks_leave_their_places_to_others() -> None:
    core = FakeCore()
    deliveries = deliverer(core, slow, concurrency=2)
    for _ in range(10):
        await deliveries.accept({})
    for task in list(deliveries._runners):
        task.cancel()  # one that has not begun
    await asyncio.sleep(0.001)
    for task in list(deliveries._runners):
        task.cancel()  # one in the middle of an attempt
    await asyncio.wait_for(deliveries.join(), 1.0)
    ledger = deliveries.ledger
    assert (ledger.accepted, ledger.reasons) == (10, {"cancelled": 2})
    assert_settled(deliveries, core)
    await asyncio.sleep(0)
    assert [deliveries._turns.try_take() for _ in range(3)] == [True, True, False]


# close


async def test_close_drains_what_was_accepted_and_refuses_the_rest() -> None:
    core = FakeCore()
    deliveries = deliverer(core, slow, concurrency=5)
    for _ in range(20):
        await deliveries.accept({})
    closing = asyncio.create_task(deliveries.close(5.0))
    await asyncio.sleep(0)
    for call in (deliveries.dispatch, deliveries.accept):
        with pytest.raises(DeliveryError, match="closed"):
            await call({})
    await closing
    assert deliveries.ledger.delivered == 20
    assert_settled(deliveries, core)
    await asyncio.wait_for(deliveries.close(), 1.0)  # again: harmless


async def test_what_is_not_settled_in_time_is_a_dead_letter_with_reason_closed() -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"]}, caps={"b": 1})
    core.out_until["b"] = time.time() + 1.0
    deliveries = deliverer(core, hang, concurrency=3)
    dispatching = [asyncio.create_task(deliveries.dispatch({"id": f"d{number}"})) for number in range(5)]
    await asyncio.sleep(0)
    for number in range(5):
        await deliveries.accept({"id": f"a{number}"})
    began = time.perf_counter()
    await deliveries.close(0.05)
    assert 0.04 <= time.perf_counter() - began < 0.5
    results = await asyncio.gather(*dispatching)
    assert {(result.status, result.reason) for result in results} == {("dead_lettered", "closed")}
    letters = list(deliveries.dead_letters)
    assert sorted(letter.id for letter in letters) == [f"{kind}{number}" for kind in "ad" for number in range(5)]
    assert {letter.reason for letter in letters} == {"closed"}
    assert core.outcomes == ["cancelled"] * 3
    assert_settled(deliveries, core)


async def test_close_ends_backoff_and_waiting_for_a_destination_too() -> None:
    core = FakeCore(pools={"p": ["a"]}, caps={"a": 1})

    async def fail(message: object, destination: str) -> None:
        await asyncio.sleep(0.001)
        raise ConnectionError

    deliveries = deliverer(core, fail, base_delay=4.0, max_delay=4.0)
    core.out_until["a"] = time.time() + 3.0
    tasks = [asyncio.create_task(deliveries.dispatch({})) for _ in range(3)]
    await asyncio.sleep(0.005)
    core.out_until.clear()
    tasks += [asyncio.create_task(deliveries.dispatch({})) for _ in range(3)]
    await asyncio.sleep(0.02)
    await asyncio.wait_for(deliveries.close(0.0), 0.5)
    assert {task.result().reason for task in tasks} <= {"closed", "deadline"}
    assert "closed" in {task.result().reason for task in tasks}
    assert_settled(deliveries, core)


async def test_an_attempt_that_will_not_end_is_given_up_at_close_once() -> None:
    release = asyncio.Event()

    async def stubborn(message: object, destination: str) -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    core = FakeCore()
    deliveries = deliverer(core, stubborn)
    dispatching = asyncio.create_task(deliveries.dispatch({"id": "m-1"}))
    await asyncio.sleep(0)
    await asyncio.wait_for(deliveries.close(0.01), 2.0)
    (letter,) = deliveries.dead_letters
    assert (letter.id, letter.reason) == ("m-1", "closed")
    assert "may take effect" in letter.detail
    assert deliveries.ledger.balanced
    release.set()
    assert (await dispatching).reason == "closed"
    assert_settled(deliveries, core)


async def test_callers_waiting_for_room_are_refused_at_close() -> None:
    core = FakeCore()
    deliveries = deliverer(core, slow, concurrency=1, max_waiting=1)
    tasks = [asyncio.create_task(deliveries.accept({})) for _ in range(5)]
    await asyncio.sleep(0)
    await deliveries.close(1.0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, DeliveryError)]
    assert len(refused) == 3
    assert {error.kind for error in refused} == {"closed"}
    ledger = deliveries.ledger
    assert (ledger.accepted, ledger.delivered, ledger.refused) == (2, 2, 3)
    assert_settled(deliveries, core)


async def test_a_closed_deliverer_starts_again() -> None:
    core = FakeCore()
    deliveries = deliverer(core, hang)
    dispatching = asyncio.create_task(deliveries.dispatch({}))
    await asyncio.sleep(0)
    await deliveries.close(0.0)
    assert (await dispatching).reason == "closed"
    deliveries.transports.register("a", answer)
    await deliveries.start()
    assert (await deliveries.dispatch({})).delivered
    await deliveries.accept({})
    await deliveries.close()
    assert deliveries.ledger.delivered == 2
    assert_settled(deliveries, core)


async def test_close_does_not_wait_for_a_plain_function_that_hangs() -> None:
    release = threading.Event()
    core = FakeCore()
    deliveries = deliverer(core, lambda message, destination: release.wait(5))
    dispatching = asyncio.create_task(deliveries.dispatch({}))
    await asyncio.sleep(0.01)
    began = time.perf_counter()
    await deliveries.close(0.02)
    assert time.perf_counter() - began < 0.5
    assert (await dispatching).reason == "closed"
    release.set()
    assert_settled(deliveries, core)


async def test_everything_going_wrong_at_once_loses_nothing() -> None:
    """Failures, hangs, overload, caps, ejections, priorities, cancellations and a close in the middle, all at once."""
    core = FakeCore(pools={"p": ["a", "b"], "q": ["c", "d"]}, mode="all", quorum=1, caps=dict.fromkeys("abcd", 5))
    failures = {
        "a": ConnectionError("down"), "b": None, "c": DeliveryError("busy", retry_after=0.01), "d": None,
    }  # fmt: skip

    async def work(message: Any, destination: str) -> None:
        number = message["n"]
        await asyncio.sleep((number * 7919 % 13) / 2000)
        error = failures[destination]
        if error is not None and number % 2:
            raise error
        if number % 97 == 0:
            raise DeliveryError("poison", retryable=False)
        if number % 31 == 0:
            await asyncio.sleep(60)

    deliveries = deliverer(core, work, concurrency=40, max_waiting=100, timeout=0.2, base_delay=0.005, max_delay=0.02)
    core.out_until["d"] = time.time() + 0.1
    tasks = []
    for number in range(600):
        message = {"n": number, "priority": number % 10}
        if number % 3:
            tasks.append(asyncio.create_task(deliveries.dispatch(message)))
        else:
            tasks.append(asyncio.create_task(deliveries.accept(message)))  # type: ignore[arg-type]
        if number % 50 == 49:
            await asyncio.sleep(0.005)
            tasks[number // 2].cancel()
    await asyncio.sleep(0.2)
    await deliveries.close(0.1)
    await asyncio.gather(*tasks, return_exceptions=True)
    ledger = deliveries.ledger
    assert ledger.accepted + ledger.refused <= 600
    assert ledger.delivered > 100
    assert_settled(deliveries, core)
    assert len(deliveries.dead_letters) == ledger.dead_lettered + ledger.expired + ledger.partial
