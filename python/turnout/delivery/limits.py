"""Time limits that cost nothing where nothing waits.

Most of what is limited here ends without ever waiting, so a coroutine is begun first, and limited when it waits for the
first time. Until then nothing could have stopped it anyway: timers run only when the loop does. All that waits shares
one timer, see :mod:`.deadlines`.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeVar

from .deadlines import Deadlines, Limit

T = TypeVar("T")

TOO_SHORT: Final = 0.0001
"""Seconds before a deadline in which nothing is begun any more; above the resolution of the loop's timers."""


class TimeIsUpError(Exception):
    """The limit was reached, and what it held is cancelled; its cause is what that raised then, if anything."""


class Leash:
    """By which one may cut short what :meth:`Limits.within` runs, and learn whether it waits at all."""

    __slots__ = ("_limit", "is_cut")

    def __init__(self) -> None:
        self.is_cut = False
        """Whether it was cut short, or would be."""
        self._limit: Limit | None = None

    def cut(self) -> None:
        """Ends what runs, by :class:`TimeIsUpError`; at once if it has not begun."""
        self.is_cut = True
        if self._limit is not None:
            self._limit.expire_soon()

    def waits(self) -> None:
        """Called when what runs waits for the first time."""

    def hold(self, limit: Limit | None) -> None:
        """For :class:`Limits`: what runs is under this limit from now on; None: it has ended."""
        self._limit = limit


class Limits:
    """Runs coroutines under deadlines, and can end all of them at once. Of one event loop; not for threads."""

    __slots__ = ("_deadlines", "_running", "stopped")

    def __init__(self) -> None:
        self._deadlines = Deadlines()
        self._running: set[Limit] = set()
        self.stopped = False
        """Whether all that waits is ended, and whatever begins to wait."""

    async def within(self, deadline: float, coroutine: Coroutine[Any, Any, T], leash: Leash | None = None) -> T:
        """What the coroutine returns. ``deadline`` is in the loop's time.

        If it returns in spite of its cancellation, that counts.

        Raises:
            TimeIsUpError: the deadline passed while it waited, it was cut short, or :meth:`stop` was called.
        """
        if leash is not None and leash.is_cut:
            coroutine.close()
            raise TimeIsUpError
        try:
            awaited = coroutine.send(None)
        except StopIteration as done:
            value: T = done.value
            return value
        loop = asyncio.get_running_loop()
        limit = Limit(loop)
        self._running.add(limit)
        if self.stopped:
            limit.expire_soon()
        else:
            self._deadlines.add(loop, deadline, limit)
        try:
            if leash is not None:
                leash.hold(limit)
                leash.waits()
            return await _rest(coroutine, awaited)
        except asyncio.CancelledError as error:
            if limit.end():
                raise TimeIsUpError from error
            raise
        except Exception as error:
            if limit.is_expired:
                raise TimeIsUpError from error
            raise
        finally:
            limit.end()
            self._running.discard(limit)
            if leash is not None:
                leash.hold(None)

    def stop(self) -> None:
        """Ends all that waits, now and from now on."""
        self.stopped = True
        for limit in self._running:
            limit.expire_soon()


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Goes on with a coroutine that was begun by hand and waits for ``awaited``; as ``await`` would."""
    while True:
        error: BaseException | None = None
        answer: Any = None
        try:
            answer = yield awaited
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as thrown:  # noqa: BLE001 - a cancellation, for the coroutine to deal with
            error = thrown
        try:
            awaited = coroutine.send(answer) if error is None else coroutine.throw(error)
        except StopIteration as done:
            value: T = done.value
            return value
