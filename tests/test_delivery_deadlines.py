"""Many deadlines under one timer: each expires at its time, and what has ended is not kept."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from turnout.delivery.deadlines import Deadlines, Limit
from turnout.delivery.limits import Limits, TimeIsUpError


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def wait() -> None:
    await asyncio.sleep(60)


async def test_they_expire_in_their_order_however_they_came() -> None:
    limits, ended = Limits(), list[float]()

    async def one(after: float) -> None:
        with pytest.raises(TimeIsUpError):
            await limits.within(soon(after), wait())
        ended.append(after)

    # Far enough apart that a busy machine does not make two due at once.
    await asyncio.gather(*(one(after) for after in (0.12, 0.02, 60e-3, 0.2)))
    assert ended == [0.02, 0.06, 0.12, 0.2]


async def test_a_deadline_that_has_passed_expires_at_once() -> None:
    with pytest.raises(TimeIsUpError):
        await Limits().within(soon(-1.0), wait())


async def test_all_share_one_timer() -> None:
    limits = Limits()
    timers = len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
    waiting = [asyncio.create_task(limits.within(soon(60 + number), asyncio.Event().wait())) for number in range(100)]
    await asyncio.sleep(0)
    assert len(asyncio.get_running_loop()._scheduled) == timers + 1  # type: ignore[attr-defined]
    limits.stop()
    assert len(await asyncio.gather(*waiting, return_exceptions=True)) == 100


async def test_what_has_ended_is_not_kept() -> None:
    limits = Limits()
    for _ in range(10_000):
        await limits.within(soon(60), asyncio.sleep(0))
    assert len(limits._deadlines._heap) < 200
    assert not limits._running


async def test_a_task_that_has_ended_is_let_go_before_its_deadline() -> None:
    limits = Limits()
    task = asyncio.create_task(limits.within(soon(60), asyncio.sleep(0)))
    await task
    ended = weakref.ref(task)
    del task
    await asyncio.sleep(0)  # the callback that woke this test has the task until then
    gc.collect()
    assert ended() is None


async def test_a_limit_that_has_ended_cancels_nobody() -> None:
    limit = Limit(asyncio.get_running_loop())
    limit.expire_soon()
    assert not limit.end()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_it_was_not_the_deadline_alone_where_others_cancelled_too() -> None:
    limits = Limits()
    task = asyncio.create_task(limits.within(soon(60), wait()))
    await asyncio.sleep(0)
    task.cancel()
    limits.stop()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_deadlines_of_one_loop_are_nothing_to_the_next() -> None:
    deadlines = Deadlines()

    async def far() -> None:
        loop = asyncio.get_running_loop()
        deadlines.add(loop, soon(60), Limit(loop))

    async def near() -> bool:
        loop = asyncio.get_running_loop()
        limit = Limit(loop)
        deadlines.add(loop, soon(0.01), limit)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(60)
        return limit.end()

    asyncio.run(far())
    assert asyncio.run(near())
