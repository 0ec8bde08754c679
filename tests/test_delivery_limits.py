"""Time limits that begin with the first wait: for what they run, as good as ``await`` and ``asyncio.timeout``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from turnout.delivery.limits import Limits, TimeIsUpError


def soon(seconds: float = 0.02) -> float:
    return asyncio.get_running_loop().time() + seconds


async def echo(value: object, waits: int = 0) -> object:
    for _ in range(waits):
        await asyncio.sleep(0)
    return value


@pytest.mark.parametrize("waits", [0, 1, 5])
async def test_the_result_comes_through(waits: int) -> None:
    limits = Limits()
    assert await limits.within(soon(), echo("x", waits)) == "x"
    assert not limits._running


async def test_what_does_not_wait_needs_no_timer() -> None:
    timers = len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
    for _ in range(100):
        await Limits().within(soon(), echo(1))
    assert len(asyncio.get_running_loop()._scheduled) == timers  # type: ignore[attr-defined]


@pytest.mark.parametrize("waits", [0, 1])
async def test_an_exception_comes_through(waits: int) -> None:
    async def fail() -> None:
        await echo(None, waits)
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await Limits().within(soon(), fail())


async def test_what_waits_too_long_is_cancelled() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)  # cleaning up may wait
            ended.append("cleaned up")

    with pytest.raises(TimeIsUpError):
        await Limits().within(soon(), wait())
    assert ended == ["cleaned up"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_raised_on_cancellation_is_the_cause() -> None:
    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError("lost") from None

    with pytest.raises(TimeIsUpError) as caught:
        await Limits().within(soon(), wait())
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_timeout_of_its_own_is_its_own() -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.005):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await Limits().within(soon(1.0), wait())


async def test_a_timeout_begun_before_the_first_wait_is_obeyed_after_it() -> None:
    async def wait() -> str:
        try:
            async with asyncio.timeout(0.005):
                await asyncio.sleep(60)
        except TimeoutError:
            return "went on"
        return "never"

    assert await Limits().within(soon(1.0), wait()) == "went on"


async def test_tasks_groups_and_queues_work_inside() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def both() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(queue.get())
            group.create_task(queue.put(5))
        return [taking.result(), *await asyncio.gather(echo(1, 3), echo(2))]

    assert await Limits().within(soon(1.0), both()) == [5, 1, 2]


async def test_cancelling_the_task_from_outside_is_no_timeout() -> None:
    running = asyncio.create_task(Limits().within(soon(60), asyncio.sleep(60)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert running.cancelled()


async def test_stopping_ends_all_that_waits_now_and_later() -> None:
    limits = Limits()
    running = [asyncio.create_task(limits.within(soon(60), asyncio.sleep(60))) for _ in range(3)]
    await asyncio.sleep(0)
    limits.stop()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(result, TimeIsUpError) for result in results)
    with pytest.raises(TimeIsUpError):
        await limits.within(soon(60), asyncio.sleep(60))
    assert await limits.within(soon(60), echo("no wait")) == "no wait"


async def test_a_coroutine_that_is_dropped_is_closed() -> None:
    closed: list[bool] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    running = Limits().within(soon(60), wait())
    running.send(None)
    running.close()
    assert closed == [True]
