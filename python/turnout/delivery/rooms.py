"""Where messages wait that no destination may receive right now: one room a pool.

They wait without a place in the lanes, so that a pool that is out holds up no other. A room wakes one of its messages,
the most urgent first, when a destination of the pool has become free (an attempt there ended), when the earliest
ejection is over, and besides every 50 ms, because other things free destinations too: another pool's attempt at a
shared destination, a lease held by the user, an operator. Whoever was woken and got a destination wakes the next, so
that as many go as there is room for, and a recovering destination is met by one message and not by the whole room.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from typing import Final

RECHECK: Final = 0.05
"""Seconds between looks at a pool that nothing is known to free: one wake-up, a few µs, each time."""


_SOONEST: Final = 0.005
"""Seconds: an ejection that should be over and is not must not become a busy loop."""


class WaitingRooms:
    """The waiting messages of all pools. Of one event loop; not for threads."""

    __slots__ = ("_order", "_rooms", "_timers")

    def __init__(self) -> None:
        self._rooms: dict[str, list[tuple[int, int, int, asyncio.Future[None]]]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._order = itertools.count()

    def __bool__(self) -> bool:
        """Whether anything waits, or did a moment ago."""
        return bool(self._rooms)

    async def wait(self, pools: Iterable[str], priority: int, number: int, until: float | None) -> None:
        """Returns when it is worth asking the pools for a destination again.

        ``until``: when the earliest ejection among them ends, in the loop's time; None if that is not known.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        for pool in pools:
            room = self._rooms.setdefault(pool, [])
            heapq.heappush(room, (-priority, number, next(self._order), turn))
            now = loop.time()
            self._arm(loop, pool, now + RECHECK if until is None else max(until, now + _SOONEST))
        try:
            await turn
        finally:
            turn.cancel()  # no effect if it was woken; else its entries in the rooms are passed over

    def wake(self, pool: str) -> None:
        """Wakes the most urgent message that waits for the pool, if one does."""
        room = self._rooms.get(pool)
        if room is None:
            return
        while room:
            turn = heapq.heappop(room)[-1]
            if not turn.done():
                turn.set_result(None)
                break
        if not room:
            del self._rooms[pool]
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
