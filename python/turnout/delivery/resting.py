"""Messages that wait outside of the lanes: for a time, or for the message before them of their ordering key.

A message here holds no place in the lanes. With an outbox it may be on disk only: then nothing is here but its number
and priority, about 300 bytes. Times are in wall time and looked at once a second at least, so that a step of the clock
moves them by that step and no more.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final, NamedTuple

from .clock import clock
from .jobs import Job

_LOOK: Final = 1.0
"""Seconds between looks at the clock, while anything waits for a time."""
_LATER: Final = 0.0005
"""Seconds that timers are late on purpose: a loop's timer may fire a little early."""


class Rested(NamedTuple):
    """One message at rest."""

    item: Job | int
    """The message; or its priority, where it is on disk only."""
    until: float
    """Unix seconds; infinity: until it is woken."""
    delayed: bool
    """Whether it waits for a time."""


class Resting:
    """The messages at rest, by their order of acceptance. Of one event loop; not for threads."""

    def __init__(self, wake: Callable[[int, Job | int], None]) -> None:
        """``wake``: takes over a message whose time has come."""
        self.delayed = 0
        """How many wait for a time."""
        self.in_memory = 0
        """How many are here themselves."""
        self._wake = wake
        self._rested: dict[int, Rested] = {}
        self._heap: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, order: int) -> bool:
        return order in self._rested

    def add(self, order: int, item: Job | int, until: float, *, delayed: bool) -> None:
        """A message rests, in place of what is known of it here."""
        self.take(order)
        self._rested[order] = Rested(item, until, delayed)
        self.delayed += delayed
        self.in_memory += isinstance(item, Job)
        if until < float("inf"):
            heapq.heappush(self._heap, (until, order))
            if len(self._heap) > 2 * len(self._rested) + 64:  # most were woken before their time
                self._heap = [entry for entry in self._heap if self._is_live(entry)]
                heapq.heapify(self._heap)
            if self._heap[0][1] == order:
                self._arm()

    def take(self, order: int) -> Job | int | None:
        """The message, which rests no longer; None if it did not."""
        rested = self._rested.pop(order, None)
        if rested is None:
            return None
        self.delayed -= rested.delayed
        self.in_memory -= isinstance(rested.item, Job)
        return rested.item

    def take_all(self, after: float | None) -> list[Job | int]:
        """Those whose time comes after ``after`` (Unix seconds); None: all there are."""
        rested = self._rested.items()
        found = [order for order, one in rested if after is None or (one.delayed and one.until > after)]
        return [item for order in found if (item := self.take(order)) is not None]

    def _is_live(self, entry: tuple[float, int]) -> bool:
        rested = self._rested.get(entry[1])
        return rested is not None and rested.until == entry[0]

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = min(max(self._heap[0][0] - clock.now(), 0.0) + _LATER, _LOOK)
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._timer, now = None, clock.now()
        while self._heap and (self._heap[0][0] <= now or not self._is_live(self._heap[0])):
            entry = heapq.heappop(self._heap)
            if self._is_live(entry) and (item := self.take(entry[1])) is not None:
                self._wake(entry[1], item)
        if self._heap:
            self._arm()
