"""Messages a second to a callable that does nothing: bare, through dispatch and accept, in memory and with an outbox.

``dispatch`` of 1,000 tasks at once; the best of five runs. With the outbox every message is on disk before it is
delivered: the figure is that of this disk's fsync, shared by the group.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from test_dispatch import nothing
from turnout import Router

MESSAGES = 20_000
TASKS = 1_000


def router_with(outbox: Path | None) -> Router:
    config = {} if outbox is None else {"outbox": {"path": str(outbox), "window": 0}}
    router = Router(config, destinations={"a": {"url": "callable:nothing"}})
    router.transport("nothing", nothing)
    return router


async def rate(one: Callable[[Any], Awaitable[Any]], tasks: int, join: Callable[[], Awaitable[None]] | None) -> float:
    """Messages a second, by so many tasks."""
    batch = [{"number": number, "text": "a message of some length"} for number in range(MESSAGES)]

    async def some(start: int) -> None:
        for message in batch[start::tasks]:
            await one(message)

    since = time.perf_counter()
    await asyncio.gather(*(some(start) for start in range(tasks)))
    if join is not None:
        await join()
    return MESSAGES / (time.perf_counter() - since)


async def main() -> None:
    async def bare(message: Any) -> None:
        await nothing(message, "a")

    print(f"{'bare await, 1 task':34}{max([await rate(bare, 1, None) for _ in range(5)]):12,.0f} messages/s")
    with tempfile.TemporaryDirectory() as directory:
        for name, outbox in (("in memory", None), ("outbox", Path(directory) / "outbox.db")):
            async with router_with(outbox) as router:
                for what, one, tasks, join in (
                    ("dispatch, 1 task", router.dispatch, 1, None),
                    (f"dispatch, {TASKS} tasks", router.dispatch, TASKS, None),
                    (f"accept, {TASKS} tasks, and join", router.accept, TASKS, router.join),
                ):
                    if outbox is not None and tasks == 1:
                        continue  # one fsync a message: a figure of the disk alone
                    best = max([await rate(one, tasks, join) for _ in range(5)])
                    print(f"{name + ': ' + what:34}{best:12,.0f} messages/s")


asyncio.run(main())
