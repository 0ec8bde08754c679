"""Messages that are not due yet, that expire, and that get further rounds of attempts later."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_core import FakeCore, answer, assert_settled, deliverer, failing, hang
from outbox_support import sent_by, with_outbox
from turnout.delivery import Deliverer, Terms
from turnout.delivery.clock import clock
from turnout.errors import DeliveryError, MessageError


class Wall:
    """A wall clock that is turned by hand; the loop's own time goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = 0.0
        now = clock.now
        monkeypatch.setattr(clock, "now", lambda: now() + self.offset)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


def in_seconds(seconds: float) -> float:
    return clock.now() + seconds


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never")


@pytest.fixture(params=["in memory", "outbox"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Deliverer]:
    """Makes a deliverer, with an outbox or without one."""
    if request.param == "in memory":
        return deliverer
    return lambda core, function, **settings: with_outbox(core, function, tmp_path / "o.db", **settings)


# Delayed


@pytest.mark.parametrize("how", ["accept", "dispatch"])
async def test_a_message_is_attempted_when_it_is_due(make: Callable[..., Deliverer], how: str) -> None:
    core, came = FakeCore(), list[float]()

    async def receive(message: Any, _destination: str) -> None:
        came.append(clock.now() - message["not_before"])

    deliveries = make(core, receive, timeout=0.1)
    await deliveries.start()
    call = asyncio.create_task(getattr(deliveries, how)({"id": "m", "not_before": in_seconds(0.3)}))
    await until(lambda: deliveries.ledger.delayed == 1)
    assert (deliveries.ledger.accepted, deliveries.ledger.waiting) == (1, 1)
    assert deliveries.ledger.balanced
    assert call.done() == (how == "accept") or await asyncio.wait_for(call, 0.1) == "m"
    await deliveries.join()
    assert 0.0 <= came[0] < 0.25
    assert (deliveries.ledger.delivered, deliveries.ledger.delayed) == (1, 0)
    await call
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_what_the_caller_says_wins_over_the_fields(make: Callable[..., Deliverer]) -> None:
    deliveries = make(FakeCore(), answer)
    await deliveries.start()
    message = {"not_before": in_seconds(60), "expires_at": 5}
    delivery = await deliveries.dispatch(message, Terms(not_before=5, expires_at=in_seconds(60)))
    assert delivery.delivered
    with pytest.raises(MessageError, match="not_before"):
        await deliveries.dispatch({}, Terms(not_before="soon"))
    assert deliveries.ledger.refused == 1
    await deliveries.close()


async def test_delayed_messages_hold_no_room_with_an_outbox(tmp_path: Path) -> None:
    core = FakeCore()
    deliveries = with_outbox(core, answer, tmp_path / "o.db", concurrency=1, max_waiting=1)
    await deliveries.start()
    due = in_seconds(0.5)
    await asyncio.gather(*(deliveries.accept({"id": f"m{number}", "not_before": due}) for number in range(300)))
    assert deliveries.ledger.delayed == 300
    assert deliveries._room.free == 2
    assert (await deliveries.dispatch({})).delivered
    await deliveries.join()
    assert deliveries.ledger.delivered == 301
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_a_delayed_message_on_disk_takes_little_memory(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    due, text = in_seconds(3600), "x" * 5000

    async def bring(start: int) -> None:
        names = range(start, start + 1000)
        await asyncio.gather(
            *(deliveries.accept({"id": f"m{number}", "not_before": due, "text": f"{text}{number}"}) for number in names)
        )

    await bring(0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await bring(1000)
    await asyncio.sleep(0.01)
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before) / 1000
    tracemalloc.stop()
    assert each < 1000, each
    await deliveries.close()
    assert deliveries.ledger.kept == 2000
    assert deliveries.ledger.balanced


async def test_delayed_messages_survive_a_restart_and_close_does_not_wait_for_them(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    deliveries = with_outbox(FakeCore(), answer, path)
    await deliveries.start()
    due = in_seconds(0.8)
    await deliveries.accept({"id": "m", "not_before": due})
    dispatching = asyncio.create_task(deliveries.dispatch({"id": "d", "not_before": due}))
    await until(lambda: deliveries.ledger.delayed == 2)
    await asyncio.wait_for(deliveries.close(), 0.5)
    assert (await dispatching).status == "kept"
    assert (deliveries.ledger.kept, deliveries.ledger.balanced) == (2, True)
    again = with_outbox(FakeCore(), answer, path)
    sent = sent_by(again)
    await again.start()
    assert (again.ledger.accepted, again.ledger.delayed, sent) == (2, 2, [])
    await again.join()
    assert clock.now() >= due
    assert sorted(sent) == [("d", "a", 1), ("m", "a", 1)]
    await again.close()


async def test_without_an_outbox_a_close_delivers_what_is_due_in_time_and_dead_letters_the_rest() -> None:
    deliveries = deliverer(FakeCore(), answer)
    await deliveries.accept({"id": "soon", "not_before": in_seconds(0.2)})
    await deliveries.accept({"id": "late", "not_before": in_seconds(60)})
    await asyncio.wait_for(deliveries.close(5.0), 2.0)
    assert (deliveries.ledger.delivered, deliveries.ledger.reasons) == (1, {"closed": 1})
    assert [letter.id for letter in deliveries.dead_letters] == ["late"]


async def test_cancelling_a_dispatch_that_is_not_due_gives_the_message_up(make: Callable[..., Deliverer]) -> None:
    core = FakeCore()
    deliveries = make(core, answer)
    await deliveries.start()
    task = asyncio.create_task(deliveries.dispatch({"not_before": in_seconds(60)}))
    await until(lambda: deliveries.ledger.delayed == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deliveries.ledger.reasons == {"cancelled": 1}
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_priorities_hold_after_a_restart(tmp_path: Path) -> None:
    path, got = tmp_path / "o.db", list[int]()
    first = with_outbox(FakeCore(), hang, path, timeout=60)
    await first.start()
    await asyncio.gather(*(first.accept({"id": f"{n}", "priority": n % 10}) for n in range(300)))
    await first.close(drain=0)

    async def receive(message: Any, _destination: str) -> None:
        got.append(message["priority"])

    again = with_outbox(FakeCore(), receive, path, concurrency=1, max_waiting=1)  # few are in memory at once
    await again.start()
    await again.join()
    assert got == sorted(got, reverse=True)
    assert len(got) == 300
    await again.close()


# Expiring


async def test_an_expired_message_is_not_attempted(make: Callable[..., Deliverer]) -> None:
    core = FakeCore()
    deliveries = make(core, answer)
    await deliveries.start()
    delivery = await deliveries.dispatch({"expires_at": in_seconds(-1)})
    assert (delivery.status, delivery.reason, core.leases) == ("expired", "deadline", [])
    delivery = await deliveries.dispatch({"expires_at": 0})
    assert delivery.status == "expired"
    await deliveries.close()


async def test_a_message_expires_while_it_is_not_due(make: Callable[..., Deliverer]) -> None:
    deliveries = make(FakeCore(), answer)
    await deliveries.start()
    delivery = await deliveries.dispatch({"not_before": in_seconds(60), "expires_at": in_seconds(0.1)})
    assert delivery.status == "expired"
    await deliveries.close()


async def test_the_age_limit_holds_in_a_run_too(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db", max_age=0.1)
    await deliveries.start()
    assert (await deliveries.dispatch({"not_before": in_seconds(60)})).status == "expired"
    await deliveries.accept({"not_before": in_seconds(60)})
    await deliveries.join()
    assert deliveries.ledger.expired == 2
    await deliveries.close()


# Clock steps


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_step_of_the_clock_moves_what_waits_by_that_step_and_touches_nothing_else(
    make: Callable[..., Deliverer], wall: Wall, step: float
) -> None:
    core, go = FakeCore(), asyncio.Event()

    async def wait(_message: Any, _destination: str) -> None:
        await go.wait()

    deliveries = make(core, wait)
    await deliveries.start()
    under_way = asyncio.create_task(deliveries.dispatch({"id": "now", "expires_at": in_seconds(1800)}))
    await deliveries.accept({"id": "later", "not_before": in_seconds(1800), "expires_at": in_seconds(36_000)})
    await until(lambda: deliveries._attempts.in_flight == 1)
    wall.offset += step
    go.set()
    assert (await under_way).delivered
    if step > 0:
        await deliveries.join()
        assert deliveries.ledger.delivered == 2
    else:
        await asyncio.sleep(1.1)  # it has been looked at
        assert deliveries.ledger.delayed == 1
        wall.offset += 7200
        await deliveries.join()
    assert deliveries.ledger.delivered == 2
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_an_id_is_remembered_for_the_window_whatever_the_clock_does(tmp_path: Path, wall: Wall) -> None:
    core = FakeCore()
    deliveries = with_outbox(core, answer, tmp_path / "o.db", window=600.0)
    await deliveries.start()
    for step in (0.0, 7200.0, -14_400.0):
        wall.offset += step
        assert (await deliveries.dispatch({"id": "m"})).delivered
    assert len(core.leases) == 1
    await deliveries.close()
    wall.offset -= 7200.0
    again = with_outbox(core, answer, tmp_path / "o.db", window=600.0)
    await again.start()
    assert (await again.dispatch({"id": "m"})).delivered
    assert len(core.leases) == 1
    await again.close()


# Further rounds


async def test_a_message_gets_further_rounds_until_it_is_delivered(make: Callable[..., Deliverer]) -> None:
    core, failures = FakeCore(), 0

    async def serve(_message: Any, destination: str) -> str:
        nonlocal failures
        if failures < 5:
            failures += 1
            raise ConnectionError("down")
        return destination

    deliveries = make(core, serve, max_attempts=2, schedule=(0.02, 0.04, 0.06))
    sent = sent_by(deliveries)
    await deliveries.start()
    delivery = await deliveries.dispatch({"id": "m"})
    assert delivery.delivered
    assert [attempt for *_, attempt in sent] == [1, 2, 3, 4, 5, 6]
    assert [attempt.number for attempt in delivery.attempts] == [1, 2, 3, 4, 5, 6]
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_it_becomes_a_dead_letter_with_every_attempt_after_the_last_round(make: Callable[..., Deliverer]) -> None:
    core = FakeCore()
    deliveries = make(core, failing("a", "b", "c"), max_attempts=2, schedule=(0.01, 0.01))
    await deliveries.start()
    await deliveries.accept({"id": "m"})
    await deliveries.join()
    (letter,) = deliveries.dead_letters
    assert (letter.reason, letter.tried) == ("attempts", 6)
    assert [attempt.number for attempt in letter.attempts] == [1, 2, 3, 4, 5, 6]
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_an_outage_longer_than_the_timeout_is_survived(make: Callable[..., Deliverer]) -> None:
    core, up = FakeCore(pools={"p": ["a"]}), asyncio.Event()

    async def serve(_message: Any, _destination: str) -> None:
        if not up.is_set():
            await asyncio.sleep(60)

    deliveries = make(core, serve, timeout=0.05, schedule=(0.1,) * 9)
    await deliveries.start()
    await asyncio.gather(*(deliveries.accept({"n": number}) for number in range(20)))
    await until(lambda: deliveries.ledger.delayed == 20)
    up.set()
    await deliveries.join()
    assert (deliveries.ledger.delivered, deliveries.ledger.lost) == (20, 0)
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_what_is_refused_for_good_or_expires_first_gets_no_further_round(make: Callable[..., Deliverer]) -> None:
    deliveries = make(FakeCore(), failing("a", "b", "c", error=DeliveryError("bad", retryable=False)), schedule=(0.01,))
    await deliveries.start()
    assert (await deliveries.dispatch({})).reason == "rejected"
    await deliveries.close()
    deliveries = make(FakeCore(), failing("a", "b", "c"), schedule=(60.0,), max_attempts=1)
    await deliveries.start()
    assert (await deliveries.dispatch({"expires_at": in_seconds(30)})).reason == "attempts"
    await deliveries.close()


async def test_of_a_fan_out_only_the_branches_that_failed_get_another_round(make: Callable[..., Deliverer]) -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"], "r": ["c"]}, mode="all", quorum=1)
    down = True

    async def serve(_message: Any, destination: str) -> str:
        if destination == "b" and down:
            raise ConnectionError("down")
        if destination == "c":
            raise DeliveryError("bad", "no", retryable=False)
        return destination

    deliveries = make(core, serve, max_attempts=1, schedule=(60.0,), pool_schedules={"q": (0.1, 0.1)})
    sent = sent_by(deliveries)
    await deliveries.start()
    dispatching = asyncio.create_task(deliveries.dispatch({"id": "m"}))
    await until(lambda: deliveries.ledger.delayed == 1)
    down = False
    delivery = await dispatching
    assert delivery.delivered
    assert [branch.status for branch in delivery.branches] == ["delivered", "delivered", "dead_lettered"]
    assert sorted(sent) == [("m", "a", 1), ("m", "b", 1), ("m", "b", 2), ("m", "c", 1)]
    (letter,) = deliveries.dead_letters
    assert (letter.pool, letter.reason, letter.partial) == ("r", "rejected", True)
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_rounds_go_on_after_a_restart_with_what_happened_before(tmp_path: Path) -> None:
    path, core = tmp_path / "o.db", FakeCore(pools={"p": ["a"], "q": ["b"]}, mode="all", quorum=2)
    first = with_outbox(core, failing("b"), path, max_attempts=2, schedule=(0.3,))
    await first.start()
    await first.accept({"id": "m"})
    await until(lambda: first.ledger.delayed == 1)
    await first.close()
    assert first.ledger.kept == 1
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT round, not_before > 0 FROM message").fetchall() == [(1, 1)]
    again = with_outbox(core, failing("b"), path, max_attempts=2, schedule=(0.3,))
    sent = sent_by(again)
    await again.start()
    assert again.ledger.delayed == 1
    await again.join()
    assert sent == [("m", "b", 3), ("m", "b", 4)]
    (letter,) = again.dead_letters
    assert [branch.status for branch in letter.branches] == ["delivered", "dead_lettered"]
    assert [attempt.number for attempt in letter.branches[1].attempts] == [1, 2, 3, 4]
    assert letter.tried == 4
    await again.close()
