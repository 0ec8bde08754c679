"""Messages a second to a callable that does nothing: through dispatch, accept and their lists, in memory and with an
outbox of default settings; what a message that waits costs in memory. Ends with the goals, met or missed.

``dispatch`` of 1,000 tasks at once; the best of several runs. With the outbox every message is on disk before it is
delivered: the figure is that of this disk's fsync, shared by the group.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from goal import Goal, table
from test_dispatch import nothing
from turnout import Router

MESSAGES = 20_000
TASKS = 1_000
RUNS = 7
WAITING = 20_000
TEXT = "a message of some length"


def router_with(outbox: Path | None) -> Router:
    config = {} if outbox is None else {"outbox": {"path": str(outbox)}}
    router = Router(config, destinations={"a": {"url": "callable:nothing"}})
    router.transport("nothing", nothing)
    return router


def batch() -> list[dict[str, Any]]:
    return [{"number": number, "text": TEXT} for number in range(MESSAGES)]


async def by_tasks(
    one: Callable[[Any], Awaitable[Any]], tasks: int, join: Callable[[], Awaitable[None]] | None
) -> float:
    """Seconds a message, by so many tasks."""
    messages = batch()

    async def some(start: int) -> None:
        for message in messages[start::tasks]:
            await one(message)

    since = time.perf_counter()
    await asyncio.gather(*(some(start) for start in range(tasks)))
    if join is not None:
        await join()
    return (time.perf_counter() - since) / MESSAGES


async def by_list(many: Callable[[Any], Awaitable[Any]], join: Callable[[], Awaitable[None]] | None) -> float:
    """Seconds a message, in lists of 1,000."""
    messages = batch()
    since = time.perf_counter()
    for begin in range(0, MESSAGES, TASKS):
        await many(messages[begin : begin + TASKS])
    if join is not None:
        await join()
    return (time.perf_counter() - since) / MESSAGES


async def best(what: str, run: Callable[[], Awaitable[float]]) -> float:
    """Microseconds a message, the least of several runs; printed."""
    found = min([await run() for _ in range(RUNS)])
    print(f"{what:44}{1 / found:12,.0f} messages/s{found * 1e6:10.2f} µs each")
    return found * 1e6


async def memory(path: Path) -> float:
    """Bytes that a message takes while it waits, besides its own: with an outbox, behind a destination that hangs."""
    router = Router(
        {"outbox": {"path": str(path)}, "performance": {"timeout": "10m"}}, destinations={"a": {"url": "callable:hang"}}
    )

    async def hang(_message: Any, _destination: str) -> None:
        await asyncio.Event().wait()

    router.transport("hang", hang)
    await router.start()
    await router.accept_many([{"number": number, "text": TEXT} for number in range(1_000)])
    messages = [{"number": number, "text": TEXT} for number in range(WAITING)]
    gc.collect()
    tracemalloc.start()
    await router.accept_many(messages)
    await asyncio.sleep(0.2)  # what was written is let go of
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await router.close(drain=0)
    return used / WAITING


async def main() -> None:
    async def bare(message: Any) -> None:
        await nothing(message, "a")

    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as directory:
        alone = await best("bare await, 1 task", lambda: by_tasks(bare, 1, None))
        for name, outbox in (("in memory", None), ("outbox", Path(directory) / "outbox.db")):
            async with router_with(outbox) as router:
                if outbox is None:  # with one: a message an fsync, a figure of the disk alone
                    one = await best("in memory: dispatch, 1 task", lambda: by_tasks(router.dispatch, 1, None))
                    goals.append(Goal("dispatch, over the bare await", one - alone, 15.0, "µs"))
                each = await best(f"{name}: dispatch, {TASKS} tasks", lambda: by_tasks(router.dispatch, TASKS, None))
                rate = 40_000 if outbox is None else 8_000
                goals.append(Goal(f"{name}: dispatch, {rate:,}/s", each, 1e6 / rate, "µs"))
                await best(
                    f"{name}: accept, {TASKS} tasks, and join", lambda: by_tasks(router.accept, TASKS, router.join)
                )
                each = await best(f"{name}: dispatch_many of {TASKS}", lambda: by_list(router.dispatch_many, None))
                if outbox is not None:
                    goals.append(Goal("outbox: dispatch_many, 20,000/s", each, 1e6 / 20_000, "µs"))
                await best(
                    f"{name}: accept_many of {TASKS}, and join", lambda: by_list(router.accept_many, router.join)
                )
        used = await memory(Path(directory) / "waiting.db")
        print(f"{'a message that waits, besides its own bytes':44}{used:12,.0f} bytes")
        goals.append(Goal("memory of a message that waits, besides its own", used, 1024.0, "bytes"))
    print("\n".join(table(goals)))


asyncio.run(main())
