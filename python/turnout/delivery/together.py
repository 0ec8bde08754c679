"""One task that waits for many messages: a future for all, instead of one for each."""

from __future__ import annotations

import asyncio
from typing import Any

from .records import Delivery


class Together:
    """What becomes of messages that one task brought, in their places. Of one event loop; not for threads."""

    __slots__ = ("_ended", "_left", "answers", "is_over")

    def __init__(self, answers: list[Any], left: int) -> None:
        """``answers``: filled in; None where there is none yet. ``left``: answers that are to come by :meth:`put`."""
        self.answers = answers
        self.is_over = False
        """Whether the task does not wait any more: it was cancelled."""
        self._left = left
        self._ended: asyncio.Future[None] | None = None

    def put(self, place: int, answer: Delivery | Exception) -> None:
        """What became of the message in that place."""
        self.answers[place] = answer
        self._left -= 1
        if not self._left and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def ended(self) -> None:
        """Returns when all answers are there."""
        if self._left:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended


class Place:
    """Who waits for one message of them; of a :class:`~.jobs.Waiter`."""

    __slots__ = ("_place", "_together")

    def __init__(self, together: Together, place: int) -> None:
        self._together = together
        self._place = place

    def done(self) -> bool:
        """Whether nobody waits for its end any more."""
        together = self._together
        return together.is_over or together.answers[self._place] is not None

    def set_result(self, delivery: Delivery, /) -> None:
        """It has ended."""
        self._together.put(self._place, delivery)
