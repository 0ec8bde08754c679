"""Cancellation and close: no accepted message is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from fake_core import FakeCore, answer, assert_settled, deliverer, hang, slow
from turnout.errors import DeliveryError

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
    assert all(
        isinstance(result, asyncio.CancelledError) or not isinstance(result, BaseException) for result in results
    )
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
    for task in list(deliveries._runners.tasks):
        task.cancel()  # one that has not begun
    await asyncio.sleep(0.001)
    for task in list(deliveries._runners.tasks):
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
    core = FakeCore()
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
    tasks: list[asyncio.Task[Any]] = []
    # A machine that stands still for a while lets everything expire; then it takes more than 600.
    while len(tasks) < 600 or (deliveries.ledger.delivered <= 100 and len(tasks) < 60_000):
        number = len(tasks)
        message = {"n": number, "priority": number % 10}
        if number % 3:
            tasks.append(asyncio.create_task(deliveries.dispatch(message)))
        else:
            tasks.append(asyncio.create_task(deliveries.accept(message)))
        if number % 50 == 49:
            await asyncio.sleep(0.005)
            tasks[number // 2].cancel()
    await asyncio.sleep(0.2)
    await deliveries.close(0.1)
    await asyncio.gather(*tasks, return_exceptions=True)
    ledger = deliveries.ledger
    assert ledger.accepted + ledger.refused <= len(tasks)
    assert ledger.delivered > 100
    assert_settled(deliveries, core)
    assert len(deliveries.dead_letters) == ledger.dead_lettered + ledger.expired + ledger.partial
