"""Deadlines of tasks, all under one timer of the event loop.

A timer of its own for each wait, as ``asyncio.timeout`` has, costs 5 µs, and 22 µs where hundreds of requests wait:
asyncio keeps timers in a heap that it compares in Python. Nearly all are cancelled, for what they limit ends before.
So the deadlines stand in a heap of tuples here, the loop has a timer for the earliest only, and what has ended is left
in the heap until it is half of it, or comes up. That takes a third of the time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Final

_FEW: Final = 64
"""Deadlines that are kept without looking for those that have ended."""
_NEVER: Final = float("inf")


class Limit:
    """By which the current task is cancelled once, until :meth:`end`; who cancelled it is told as ``asyncio.Timeout``
    tells it, by the task's count of requests."""

    __slots__ = ("_cancelling", "_task", "is_expired")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """``loop``: the running one. Raises RuntimeError: it runs no task now."""
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit needs a task to cancel")
        self._task: asyncio.Task[object] | None = task
        self._cancelling = task.cancelling()
        self.is_expired = False

    @property
    def is_open(self) -> bool:
        """Whether what it limits has not ended."""
        return self._task is not None

    def expire(self) -> None:
        """Cancels the task, if this was not done and has not ended."""
        if self._task is not None and not self.is_expired:
            self.is_expired = True
            self._task.cancel()

    def expire_soon(self) -> None:
        """The same, in the next round of the loop: the caller may be the task."""
        if self._task is not None:
            self._task.get_loop().call_soon(self.expire)

    def end(self) -> bool:
        """Ends it; whether it has cancelled the task, and nobody else did. No effect, and no, if it has ended."""
        task, self._task = self._task, None
        return self.is_expired and task is not None and task.uncancel() <= self._cancelling


class Deadlines:
    """Expires limits at their time. Of one event loop at a time; not for threads."""

    __slots__ = ("_at", "_heap", "_loop", "_most", "_order", "_timer")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = _NEVER
        """When the timer is due."""
        self._heap: list[tuple[float, int, Limit]] = []
        self._order = itertools.count()
        self._most = _FEW
        """Entries in the heap before those that have ended are taken out."""

    def add(self, loop: asyncio.AbstractEventLoop, deadline: float, limit: Limit) -> None:
        """The limit expires at ``deadline``, in the time of the loop, which is the running one."""
        if loop is not self._loop:  # the other one has ended, with all that waited on it
            self._loop, self._timer, self._at = loop, None, _NEVER
            self._heap.clear()
        heapq.heappush(self._heap, (deadline, next(self._order), limit))
        if deadline < self._at:
            self._arm(loop, deadline)
        if len(self._heap) > self._most:
            self._heap = [entry for entry in self._heap if entry[2].is_open]
            heapq.heapify(self._heap)
            self._most = max(_FEW, 2 * len(self._heap))

    def _arm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at, self._timer = at, loop.call_at(at, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expires what is due, and sets the timer for the next."""
        if loop is not self._loop:
            return
        due = max(self._at, loop.time())  # a loop may run a timer a little early
        self._at, self._timer = _NEVER, None
        heap = self._heap
        while heap and (heap[0][0] <= due or not heap[0][2].is_open):
            heapq.heappop(heap)[2].expire()
        if heap:
            self._arm(loop, heap[0][0])
