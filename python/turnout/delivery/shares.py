"""How much a pool may take of what all pools share: places in the lanes, and room in memory for what waits.

A dead or slow destination must not slow another. Both bounds are dynamic thresholds (Choudhury and Hahne, "Dynamic
queue length thresholds for shared-memory packet switches", 1998): a pool may have so many times what is still free.
So a pool alone in its trouble gets much, several get less each, and there is always something left, without anybody
having to say how much.

- Attempts under way: eight for each place that is free, less where there are few places (half of all but one), so that
  one pool that hangs leaves a ninth of the places, and at least one of two or more.
- Messages that wait, for a destination or for their backoff: as many as all that wait so leave of the room, so that one
  pool alone leaves half of it, two a third; or ``max_waiting`` of the pool, if it says so. Messages whose turn has not
  come do not count: they go on by themselves, and a long line of them must not end what waits for its backoff. A pool
  that delivers may have more, namely what it can deliver at its pace of late before their time is up: a burst for a
  pool in good order has to wait, and is not given up.

With one pool there is nobody to leave anything to, and neither holds: then whoever brings more messages waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..errors import NoDestinationError
from .jobs import Job, Run
from .lanes import Lanes
from .settings import DeliverySettings

if TYPE_CHECKING:
    from .._core import Lease

_PLACES: Final = 8
"""Attempts under way for each place that is free."""
_WINDOW: Final = 1.0
"""Seconds over which a pool's pace is measured: the last whole ones, and what has passed of the next."""


class _Pace:
    """What a pool has delivered, and how much of it lately; before it was asked the first time, of all its life."""

    __slots__ = ("before", "began", "delivered", "since")

    def __init__(self, now: float) -> None:
        self.delivered = 0
        self.before = 0.0
        self.began = 0
        self.since = now

    def can_deliver(self, now: float, seconds: float) -> float:
        """How many more it delivers in that time, at its pace of late."""
        passed = now - self.since
        if passed >= _WINDOW:
            self.before = (self.delivered - self.began) / passed * _WINDOW
            self.began, self.since = self.delivered, now
        return (self.before + self.delivered - self.began) / _WINDOW * seconds


class Shares:
    """The pools of one deliverer, and what they have of the places and the room. Of one event loop; not for threads."""

    def __init__(
        self, core: Any, settings: DeliverySettings, busy: dict[str, int], lanes: Lanes[Job], room: Lanes[Job]
    ) -> None:
        """``busy``: attempts under way by pool, which others count. ``lanes``: the places. ``room``: for messages."""
        self.settings = settings
        self._core = core
        self._busy = busy
        self._lanes = lanes
        self._room = room
        self._waiting: dict[str, int] = {}
        self._all_waiting = 0
        self._paces: dict[str, _Pace] = {}
        self._members: dict[str, tuple[str, ...]] = {}  # destinations by pool, of one generation
        self._generation = 0

    def acquire(self, run: Run, exclude: tuple[str, ...], number: int) -> Lease | None:
        """Holds a destination of the first of the run's pools that has one and is not crowded; None if all are.

        Raises:
            NoDestinationError: those that are not crowded have none.
        """
        for pool in run.pools:
            if self._busy.get(pool) and self.is_crowded(pool):
                break
        else:
            return run.plan.acquire(branch=run.index, exclude=exclude, attempt=number)
        refused: NoDestinationError | None = None
        for index, pool in enumerate(run.pools):
            if not self.is_crowded(pool):
                try:
                    branch = index if run.index is None else run.index
                    return run.plan.acquire(branch=branch, exclude=exclude, attempt=number)
                except NoDestinationError as error:
                    refused = refused or error
        if refused is not None:
            raise refused
        return None

    def is_crowded(self, pool: str) -> bool:
        """Whether the pool has so many attempts under way that what places are free are for other pools.

        Asked by one that has a place.
        """
        busy = self._busy.get(pool, 0)
        free = self._lanes.free + 1  # its own place is free as yet
        if busy <= _PLACES * free and busy <= (self.settings.concurrency - 1) / 2 * free:
            return False
        return self._several()

    def enter(self, pools: Iterable[str]) -> str | None:
        """Lets one more message wait, in the first of its pools that has room left; None if none has.

        Give what it returns to :meth:`leave` in the end.
        """
        for pool in pools:
            waiting = self._waiting.get(pool, 0)
            bound = self.settings.pool_waiting.get(pool)
            if waiting < bound if bound is not None else self._may_wait(pool, waiting):
                self._waiting[pool] = waiting + 1
                self._all_waiting += 1
                return pool
        return None

    def _may_wait(self, pool: str, waiting: int) -> bool:
        """Whether one more may wait for a pool that has no bound of its own."""
        if waiting <= self._room.size - self._all_waiting or not self._several():
            return True
        pace = self._paces.get(pool)
        if pace is None:
            return False
        return waiting < pace.can_deliver(asyncio.get_running_loop().time(), self.settings.timeout)

    def delivered(self, pool: str) -> None:
        """A message was delivered there."""
        pace = self._paces.get(pool)
        if pace is None:
            pace = self._paces[pool] = _Pace(asyncio.get_running_loop().time())
        pace.delivered += 1

    def leave(self, pool: str) -> None:
        """Ends the waiting of one message."""
        self._all_waiting -= 1
        left = self._waiting[pool] - 1
        if left:
            self._waiting[pool] = left
        else:
            del self._waiting[pool]

    def waiting(self, pool: str) -> int:
        """Messages that wait for the pool now."""
        return self._waiting.get(pool, 0)

    def destinations(self, pool: str) -> Iterable[str]:
        """The destinations of a pool."""
        self._refresh()
        return self._members.get(pool, ())

    def _several(self) -> bool:
        """Whether there are other pools to leave anything to."""
        self._refresh()
        return len(self._members) > 1

    def _refresh(self) -> None:
        generation: int = self._core.generation
        if generation != self._generation:
            self._members = {
                known["id"]: tuple(member["id"] for member in known["destinations"]) for known in self._core._pools()
            }
            self._generation = generation
