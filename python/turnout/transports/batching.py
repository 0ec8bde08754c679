"""Group commit: what is sent while one write is under way goes out together with the next.

So the price of a write (an fsync, a round trip) is shared by all who wait for it, and nobody waits for a timer. A send
that is cancelled before its group is taken is left out; later, it may take effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from ..errors import DeliveryError

T = TypeVar("T")


class Batches(Generic[T]):
    """Writes items in groups, in the order they came. Of one event loop; not for threads."""

    def __init__(
        self,
        write: Callable[[list[T]], Coroutine[Any, Any, Sequence[object]]],
        *,
        limit: int | None = None,
        at_once: int = 1,
        abandon: bool = False,
    ) -> None:
        """``write`` gives one result an item, in order; one that is an exception is raised to who added that item, and
        one that ``write`` raises, to all. ``limit``: items in a group at most. ``at_once``: groups that may be under
        way together; more than one keeps no order between groups. ``abandon``: whether the writing of a group is
        cancelled when nobody waits for it any more, as where it has no time limit of its own."""
        self._write = write
        self._limit = limit
        self._waiting: list[tuple[T, asyncio.Future[object]]] = []
        self._at_once = at_once
        self._abandon = abandon
        self._writers: set[asyncio.Task[None]] = set()

    async def add(self, item: T) -> object:
        """Returns the item's result once its group is written."""
        written: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if len(self._writers) < self._at_once:
            task = asyncio.create_task(self._run())
            self._writers.add(task)
            task.add_done_callback(self._writers.discard)
        return await written

    async def close(self) -> None:
        """Returns when everything added is written, or has failed."""
        while self._writers:
            await asyncio.wait(self._writers)

    async def _run(self) -> None:
        while self._waiting:
            group = self._waiting[: self._limit]
            del self._waiting[: self._limit]
            group = [(item, written) for item, written in group if not written.done()]  # the rest were cancelled
            if group:
                await self._write_group(group)
        # Nothing may be added between this look and the end of the task and go unseen.
        self._writers.discard(asyncio.current_task())

    async def _write_group(self, group: list[tuple[T, asyncio.Future[object]]]) -> None:
        results: Sequence[object]
        try:
            writing = self._write([item for item, _ in group])
            results = await (_while_waited_for(writing, group) if self._abandon else writing)
        except Exception as error:  # noqa: BLE001 - it is raised to everybody who waits for this group
            results = [error] * len(group)
        for (_, written), result in zip(group, results, strict=True):
            if written.done():
                continue  # cancelled meanwhile
            if isinstance(result, Exception):
                written.set_exception(result)
            else:
                written.set_result(result)


async def _while_waited_for(
    writing: Coroutine[Any, Any, Sequence[object]], group: list[tuple[T, asyncio.Future[object]]]
) -> Sequence[object]:
    """What ``writing`` returns, while somebody waits for the group; then it is cancelled, and nobody is told."""
    task = asyncio.ensure_future(writing)
    waiting = len(group)

    def gone(_: asyncio.Future[object]) -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            task.cancel()

    for _, written in group:
        written.add_done_callback(gone)
    try:
        await asyncio.wait([task])
    except BaseException:
        task.cancel()
        raise
    if task.cancelled():
        # Nobody is told; or what the group waited for was cancelled, while others wait for the group.
        return [DeliveryError("CancelledError", "the call ended by its cancellation")] * len(group)
    return task.result()
