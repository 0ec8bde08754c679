"""Where messages wait that no destination may receive right now: one room a pool.

They wait without a place in the lanes, so that a pool that is out holds up no other. A room wakes one of its messages,
the most urgent first, when a destination of the pool has become free (an attempt there ended), when the earliest
ejection is over or a rate limit allows another message, and besides every 50 ms, because other things free
destinations too: another pool's attempt at a shared destination, a lease held by the user, an operator. Whoever was
woken and got a destination wakes the next, so that as many go as there is room for, and a recovering destination is met
by one message and not by the whole room.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from typing import Final

RECHECK: Final = 0.05
"""Seconds between looks at a pool that nothing is known to free: one wake-up, a few µs, each time."""


_SOONEST: Final = 0.001
"""Seconds: an ejection that should be over and is not must not become a busy loop; and timers are no finer."""


_MANY: Final = 64
"""Entries of those who wait no longer that are left in a room in any case: removing some costs as much as all."""

_Entry = tuple[int, int, int, "asyncio.Future[str]"]


class WaitingRooms:
    """The waiting messages of all pools. Of one event loop; not for threads."""

    __slots__ = ("_gone", "_order", "_rooms", "_timers")

    def __init__(self) -> None:
        self._rooms: dict[str, list[_Entry]] = {}
        self._gone: dict[str, int] = {}  # entries of those who wait no longer, by room
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._order = itertools.count()

    def __bool__(self) -> bool:
        """Whether anything waits, or did a moment ago."""
        return bool(self._rooms)

    async def wait(self, pools: Iterable[str], priority: int, number: int, until: float | None) -> None:
        """Returns when it is worth asking the pools for a destination again.

        ``until``: when the first of them may have a destination, in the loop's time; None if that is not known.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[str] = loop.create_future()
        pools = tuple(pools)
        for pool in pools:
            room = self._rooms.setdefault(pool, [])
            heapq.heappush(room, (-priority, number, next(self._order), turn))
            now = loop.time()
            self._arm(loop, pool, now + RECHECK if until is None else max(until, now + _SOONEST))
        try:
            await turn
        finally:
            turn.cancel()  # no effect if it was woken
            woken_in = None if turn.cancelled() else turn.result()
            for pool in pools:
                if pool != woken_in:
                    self._leave(pool)

    def wake(self, pool: str) -> None:
        """Wakes the most urgent message that waits for the pool, if one does."""
        room = self._rooms.get(pool)
        if room is None:
            return
        while room:
            turn = heapq.heappop(room)[-1]
            if not turn.done():
                turn.set_result(pool)
                break
            self._gone[pool] = self._gone.get(pool, 0) - 1
        if not room:
            self._empty(pool)

    def _leave(self, pool: str) -> None:
        """Leaves the entry of one who waits no longer in the room until there are many: then all are removed."""
        room = self._rooms.get(pool)
        if room is None:
            return
        gone = self._gone[pool] = self._gone.get(pool, 0) + 1
        if gone > _MANY and gone * 2 > len(room):
            self._gone[pool] = 0
            room[:] = [entry for entry in room if not entry[-1].done()]
            heapq.heapify(room)
            if not room:
                self._empty(pool)

    def _empty(self, pool: str) -> None:
        del self._rooms[pool]
        self._gone.pop(pool, None)
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()

    def _arm(self, loop: asyncio.AbstractEventLoop, pool: str, when: float) -> None:
        timer = self._timers.get(pool)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[pool] = loop.call_at(when, self._tick, loop, pool)

    def _tick(self, loop: asyncio.AbstractEventLoop, pool: str) -> None:
        self._timers.pop(pool, None)
        self.wake(pool)
        if pool in self._rooms:
            self._arm(loop, pool, loop.time() + RECHECK)
