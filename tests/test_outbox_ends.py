"""Messages with an outbox whose acceptance or delivery is cut short: repeats, cancellations, closes, crashes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_core import FakeCore, answer, assert_settled, failing, hang
from outbox_support import kept, sent_by, with_outbox
from turnout.delivery.outbox_schema import BranchRow
from turnout.errors import DeliveryError, MessageError


@contextlib.contextmanager
def held_up(path: Path) -> Iterator[None]:
    """Nothing is written to the file in this block: another process writes."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def passed(turns: int = 20) -> None:
    """Long enough for everything that does not wait for the disk."""
    for _ in range(turns):
        await asyncio.sleep(0.002)


# Acceptance


async def test_a_message_is_accepted_when_it_is_written_and_not_before(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def receive(message: Any, _destination: str) -> None:
        sent.append(message["id"])

    deliveries = with_outbox(FakeCore(), receive, tmp_path / "o.db")
    await deliveries.start()
    await deliveries.dispatch({"id": "first"})
    with held_up(tmp_path / "o.db"):
        accepting = [asyncio.create_task(call({"id": name})) for name, call in
                     (("a", deliveries.accept), ("d", deliveries.dispatch))]  # fmt: skip
        await passed()
        assert not any(task.done() for task in accepting)
        assert sent == ["first"]
        assert deliveries.ledger.accepted == 1
    await asyncio.gather(*accepting)
    await deliveries.join()
    assert sorted(sent) == ["a", "d", "first"]
    await deliveries.close()


async def test_the_file_is_written_with_a_log_and_every_commit_is_synced(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    assert deliveries._outbox is not None
    file = deliveries._outbox._file
    assert file is not None
    assert file._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    await deliveries.close()


@pytest.mark.parametrize("how", ["accept", "dispatch"])
async def test_a_repeat_is_answered_when_the_first_is_on_disk(tmp_path: Path, how: str) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    with held_up(tmp_path / "o.db"):
        first = asyncio.create_task(deliveries.accept({"id": "m"}))
        await passed(2)
        second = asyncio.create_task(getattr(deliveries, how)({"id": "m"}))
        await passed()
        assert not second.done()
    await asyncio.gather(first, second)
    await deliveries.join()
    assert (deliveries.ledger.accepted, deliveries.ledger.repeated) == (1, 1)
    await deliveries.close()


async def test_a_repeat_is_refused_as_the_first_was(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db", max_waiting=1, concurrency=1, timeout=60)
    await deliveries.start()
    go = asyncio.Event()

    async def wait(_message: Any, _destination: str) -> None:
        await go.wait()

    deliveries.transports.register("a", wait)
    for name in "xy":
        await deliveries.accept({"id": name})  # there is no room for more
    first = asyncio.create_task(deliveries.accept({"id": "m", "what": object()}))
    await passed(2)
    second = asyncio.create_task(deliveries.accept({"id": "m"}))
    await passed(2)
    go.set()
    for task in (first, second):
        with pytest.raises(MessageError, match="outbox"):
            await task
    assert (deliveries.ledger.refused, deliveries.ledger.repeated) == (2, 0)
    await deliveries.close()
    assert deliveries.ledger.balanced


async def test_a_repeat_becomes_the_first_where_that_is_cancelled_before_it_is_accepted(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    with held_up(tmp_path / "o.db"):
        first = asyncio.create_task(deliveries.accept({"id": "m"}))
        await passed(2)
        second = asyncio.create_task(deliveries.dispatch({"id": "m"}))
        await passed(2)
        first.cancel()
        await passed(2)
    assert (await second).delivered
    assert (deliveries.ledger.accepted, deliveries.ledger.delivered, deliveries.ledger.repeated) == (1, 1, 0)
    await deliveries.close()
    await kept_nothing(tmp_path / "o.db")


async def kept_nothing(path: Path) -> None:
    again = with_outbox(FakeCore(), answer, path)
    await again.start()
    await again.join()
    assert again.ledger.accepted == 0
    await again.close()


async def test_what_a_close_finds_being_written_is_accepted_and_nothing_refused_comes_back(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db", max_waiting=1, concurrency=1)
    await deliveries.start()
    with held_up(tmp_path / "o.db"):
        accepting = [asyncio.create_task(deliveries.accept({"id": f"m{number}"})) for number in range(5)]
        await passed(2)
        closing = asyncio.create_task(deliveries.close(drain=0))
        await passed(2)
    await closing
    results = await asyncio.gather(*accepting, return_exceptions=True)
    accepted = [result for result in results if isinstance(result, str)]
    assert [result.kind for result in results if isinstance(result, DeliveryError)] == ["closed"] * 3
    assert deliveries.ledger.kept + deliveries.ledger.delivered == len(accepted) == 2
    assert deliveries.ledger.balanced
    again = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    sent = sent_by(again)
    await again.start()
    await again.join()
    assert len(sent) == deliveries.ledger.kept
    assert {name for name, *_ in sent} <= set(accepted)
    await again.close()


async def test_an_id_that_is_no_unicode_is_refused_and_the_writer_lives_on(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    with pytest.raises(MessageError, match="surrogate"):
        await deliveries.dispatch({"id": "\ud800"})
    assert (await deliveries.dispatch({"id": "ü"})).delivered
    await deliveries.close()


# Cancellation


@pytest.mark.parametrize("how", ["accept", "dispatch"])
async def test_a_message_that_somebody_else_brought_too_survives_the_cancellation_of_the_first(
    tmp_path: Path, how: str
) -> None:
    go = asyncio.Event()
    core = FakeCore()

    async def wait(_message: Any, destination: str) -> str:
        await go.wait()
        return destination

    deliveries = with_outbox(core, wait, tmp_path / "o.db")
    sent = sent_by(deliveries)
    await deliveries.start()
    first = asyncio.create_task(deliveries.dispatch({"id": "m"}))
    await passed()
    second = asyncio.create_task(getattr(deliveries, how)({"id": "m"}))
    await passed(2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    result = await second
    await deliveries.join()
    if how == "dispatch":
        assert [attempt.kind for attempt in result.attempts] == ["cancelled", None]
    assert [attempt for *_, attempt in sent] == [1, 2]
    assert deliveries.ledger.delivered == 1
    assert len(deliveries.dead_letters) == 0
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_it_is_given_up_when_all_who_waited_are_cancelled(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), hang, tmp_path / "o.db")
    await deliveries.start()
    tasks = []
    for _ in range(3):
        tasks.append(asyncio.create_task(deliveries.dispatch({"id": "m"})))
        await passed()
    for task in reversed(tasks):
        task.cancel()
        await passed(1)
    await deliveries.join()
    assert [letter.reason for letter in deliveries.dead_letters] == ["cancelled"]
    await deliveries.close()


# Attempts across runs


def branches_of(path: Path) -> dict[str, BranchRow]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT seq, pool, run, tried, earlier, begun, took, record FROM branch").fetchall()
    return {row[1]: BranchRow._make(row) for row in rows}


async def test_attempts_are_counted_for_each_branch_across_restarts(tmp_path: Path) -> None:
    path, core = tmp_path / "o.db", FakeCore(pools={"p": ["a"], "q": ["b"], "r": ["c"]}, mode="all", quorum=3)
    stuck, thrice, tried = asyncio.Event(), asyncio.Event(), 0

    async def serve(_message: Any, destination: str) -> None:
        nonlocal tried
        if destination == "a":
            tried += 1
            if tried == 3:
                thrice.set()
            raise ConnectionError("down")
        if destination == "b":
            stuck.set()
            await asyncio.Event().wait()

    deliveries = with_outbox(core, serve, path, max_attempts=9, base_delay=0.05, max_delay=0.05)
    sent = sent_by(deliveries)
    await deliveries.start()
    await deliveries.accept({"id": "m"})
    await asyncio.gather(stuck.wait(), thrice.wait())
    await deliveries.close(drain=0)
    made = {name: len([one for one in sent if one[1] == name]) for name in "abc"}
    again = with_outbox(core, answer, path)
    sent = sent_by(again)
    await again.start()
    await again.join()
    assert sorted(sent) == [("m", "a", made["a"] + 1), ("m", "b", 2)]
    await again.close()


CRASHING = """
import asyncio, os, sys, signal
from turnout import Router
async def f(message, destination):
    if message["id"] == "poison":
        os.write(1, b".")
        os.kill(os.getpid(), signal.SIGKILL)
async def main():
    router = Router({"outbox": {"path": sys.argv[1]}, "retries": {"max_attempts": 3}}, destinations={"a": {"url": "callable:f"}})
    router.transport("f", f)
    async with router:
        if len(sys.argv) > 2:
            for number in range(40):
                await router.accept({"id": f"good-{number}"})
            await router.accept({"id": "poison", "priority": 9})
        await router.join()
        await asyncio.sleep(0.01)
    print([(letter.id, letter.reason) for letter in router.dead_letters])
asyncio.run(main())
"""  # noqa: E501 - a script


TOGETHER = (
    CRASHING.replace(
        "async def f(message, destination):", "async def f(message, destination):\n    await asyncio.sleep(0.02)"
    )
    .replace('"priority": 9', '"priority": 4')
    .replace("range(40)", "range(12)")
    .replace("os.kill(os.getpid(), signal.SIGKILL)", 'os.kill(os.getpid(), signal.SIGKILL)\n    os.write(2, b"+")')
)
"""The same, with others under way whenever the process dies."""


@pytest.mark.parametrize(("script", "good"), [(CRASHING, 0), (TOGETHER, 12)], ids=["alone", "among others"])
def test_a_message_that_kills_the_process_becomes_a_dead_letter_and_takes_no_other_with_it(
    tmp_path: Path, script: str, good: int
) -> None:
    attempts, delivered, runs, ended = 0, 0, 0, None
    while ended is None or ended.returncode == -signal.SIGKILL:
        more = ["bring"] if runs == 0 else []
        ended = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "o.db", *more], capture_output=True, timeout=60, check=False
        )
        runs += 1
        attempts += ended.stdout.count(b".")
        delivered += ended.stderr.count(b"+")
        assert runs < 9
    assert ended.stdout == b"[('poison', 'poison')]\n", ended.stderr.decode()[-2000:]
    assert delivered >= good
    assert attempts == 4  # one in the run that accepted it, of which nothing is written, and then as many as allowed


async def test_failures_of_earlier_runs_count_toward_the_attempts_that_a_message_may_have(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await kept(path, {"id": "m"})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute("SELECT tried FROM branch").fetchall() == [(1,)]  # the attempt that the close ended
    deliveries = with_outbox(FakeCore(), failing("a", "b", "c"), path, max_attempts=3)
    sent = sent_by(deliveries)
    await deliveries.start()
    await deliveries.join()
    assert [attempt for *_, attempt in sent] == [2, 3]
    (letter,) = deliveries.dead_letters
    assert (letter.reason, letter.tried) == ("attempts", 3)
    await deliveries.close()


async def test_a_start_writes_as_little_whatever_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await kept(path, *({"id": f"m{number}", "text": "x" * 500} for number in range(2000)))
    deliveries = with_outbox(FakeCore(), hang, path, concurrency=1)
    await deliveries.start()
    await asyncio.sleep(0.1)
    assert os.stat(f"{path}-wal").st_size < 100_000  # noqa: PTH116 - a short look
    await deliveries.close(drain=0)
