"""Event streams: order, bounds, ends, cancellation, many readers and threads; nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout import ConfigError, Router
from turnout.events import EventStream, EventStreams
from turnout.reports import Event

PAIR = {"destinations": {"a": {}, "b": {}}}


def toggled(router: Router, times: int) -> None:
    """So many events, and twice as many."""
    for _ in range(times):
        router.drain("a")
        router.enable("a")


async def read(stream: EventStream, count: int) -> list[int]:
    return [(await anext(stream)).seq for _ in range(count)]


def watchers() -> int:
    """Native threads of event streams in this process; one counts when it has given itself its name."""
    count = 0
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            count += path.read_text() == "turnout-events\n"
    return count


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def test_events_are_read_as_they_happen_and_in_order() -> None:
    router = Router(PAIR)
    router.drain("b")  # before the stream: not its own
    stream = router.events()
    reader = asyncio.create_task(read(stream, 3))
    await asyncio.sleep(0)
    router.drain("a")
    router.set_health("a", "unhealthy")
    router.enable("b")
    assert await reader == [2, 3, 4]
    assert stream.dropped == 0


async def test_a_stream_may_begin_with_what_was() -> None:
    router = Router(PAIR)
    toggled(router, 2)
    event = await anext(router.events(since=2))
    assert isinstance(event, Event)
    assert (event.seq, event.destination, event.kind, event.reason) == (3, "a", "admin", "operator")


async def test_an_ejection_in_another_thread_wakes_the_reader() -> None:
    router = Router({**PAIR, "failover": {"streak": 1}})
    reader = asyncio.ensure_future(anext(router.events()))
    await asyncio.sleep(0)
    thread = threading.Thread(target=lambda: router.acquire({"destination": "a"}).failure())
    thread.start()
    assert (await asyncio.wait_for(reader, 10)).kind == "ejected"
    thread.join()


async def test_what_is_not_read_in_time_is_passed_over_and_counted() -> None:
    router = Router(PAIR)
    small, large = router.events(size=3), router.events()
    toggled(router, 5)
    assert await read(small, 3) == [8, 9, 10]
    assert await read(large, 10) == list(range(1, 11))
    assert (small.dropped, large.dropped) == (7, 0)
    toggled(router, 600)
    assert await read(large, 1) == [1210 - 1024 + 1]
    assert large.dropped == 1210 - 1024 - 10


async def test_every_stream_gets_every_event() -> None:
    router = Router(PAIR)
    readers = [asyncio.create_task(read(router.events(), 20)) for _ in range(50)]
    await asyncio.sleep(0)
    threads = [threading.Thread(target=toggled, args=(router, 5)) for _ in range(2)]
    for thread in threads:
        thread.start()
    # Two threads may find the destination in the state they want, so that less happens; the rest is made up for.
    await until(lambda: not any(thread.is_alive() for thread in threads))
    toggled(router, 10)
    assert all(result == list(range(1, 21)) for result in await asyncio.gather(*readers))


async def test_streams_end_with_the_router_after_what_was_left_to_read() -> None:
    router = Router(PAIR)
    async with router:
        behind, waiting = router.events(), router.events(since=2)
        reader = asyncio.ensure_future(anext(waiting))
        router.drain("a")
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await reader
    assert [event.seq async for event in behind] == [1]
    assert [event.seq async for event in behind] == []


async def test_a_closed_stream_ends_for_its_reader_and_no_other() -> None:
    router = Router(PAIR)
    one, other = router.events(), router.events()
    reader = asyncio.ensure_future(anext(one))
    await asyncio.sleep(0)
    await one.aclose()
    await one.aclose()
    with pytest.raises(StopAsyncIteration):
        await reader
    router.drain("a")
    assert [event.seq async for event in one] == []
    assert await read(other, 1) == [1]


async def test_a_cancelled_reader_loses_no_event() -> None:
    router = Router(PAIR)
    stream = router.events()
    for _ in range(100):
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    toggled(router, 2)
    assert await read(stream, 4) == [1, 2, 3, 4]
    assert not router._events._waiting


async def test_two_readers_of_one_stream_share_its_events() -> None:
    router = Router(PAIR)
    stream = router.events()
    readers = [asyncio.create_task(read(stream, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    toggled(router, 5)
    assert sorted(seq for seqs in await asyncio.gather(*readers) for seq in seqs) == list(range(1, 11))


def test_readers_may_live_on_several_event_loops() -> None:
    router = Router(PAIR)
    ready = threading.Barrier(4)
    found: list[list[int]] = []

    async def reads() -> list[int]:
        stream = router.events(since=0)
        await asyncio.to_thread(ready.wait)
        return await read(stream, 200)

    threads = [threading.Thread(target=lambda: found.append(asyncio.run(reads()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    toggled(router, 100)
    for thread in threads:
        thread.join(10)
    assert found == [list(range(1, 201))] * 3


def test_a_reader_whose_event_loop_was_closed_harms_nobody() -> None:
    router = Router(PAIR)
    stream = router.events()
    loop = asyncio.new_event_loop()
    task = loop.create_task(read(stream, 1))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    toggled(router, 1)
    assert asyncio.run(read(stream, 2)) == [1, 2]
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is pending for good, which asyncio reports


async def all_wait(streams: EventStreams, count: int) -> None:
    await until(lambda: len(streams._waiting) == count)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to count threads in")
async def test_nothing_is_left_of_streams_that_were_closed_or_forgotten() -> None:
    await until(lambda: gc.collect() == 0 and watchers() == 0)  # what other tests left
    router = Router(PAIR)
    streams = [router.events() for _ in range(10)]
    readers = [asyncio.create_task(read(stream, 1)) for stream in streams]
    await all_wait(router._events, 10)
    await until(lambda: watchers() > 0)
    router.drain("a")
    await asyncio.gather(*readers)
    assert watchers() == 1  # whoever woke a reader has its name
    left = [weakref.ref(stream) for stream in streams]
    await streams.pop().aclose()
    del streams, readers
    gc.collect()
    assert [one() for one in left] == [None] * 10
    await until(lambda: watchers() == 0)
    known = weakref.ref(router)
    stream = router.events()
    reader = asyncio.ensure_future(anext(stream))
    await until(lambda: watchers() == 1)
    reader.cancel()
    await asyncio.wait([reader])
    del router, stream, reader
    gc.collect()
    assert known() is None
    await until(lambda: watchers() == 0)


async def test_a_reader_that_is_busy_is_woken_once_for_all_that_came() -> None:
    router = Router(PAIR)
    stream = router.events()
    wakes = 0
    wake = router._events.wake

    def counted() -> None:
        nonlocal wakes
        wakes += 1
        wake()

    router._events.wake = counted  # type: ignore[method-assign]
    reader = asyncio.create_task(read(stream, 200))
    await asyncio.sleep(0)
    toggled(router, 100)  # the event loop does not run meanwhile
    await reader
    assert wakes == 1


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 1025}, {"since": -1}])
def test_what_cannot_be_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Router(PAIR).events(**bad)
