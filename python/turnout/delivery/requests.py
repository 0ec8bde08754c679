"""What other processes ask of a living router about its dead letters, through the outbox: ``turnout dlq`` does.

A request is deleted after it was done. A crash in between leaves a request about a letter that is not there any more,
which is then deleted with no other effect; so every letter is redriven once, or is still there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from ..errors import ConfigError, DeliveryError
from .dead_letters import DeadLetters
from .outbox import Outbox
from .outbox_schema import Request

_TOGETHER: Final = 256
"""Letters redriven at once."""

_log = logging.getLogger(__name__)


class Requests:
    """Answers requests. Of one event loop."""

    def __init__(self, dead_letters: DeadLetters, outbox: Outbox) -> None:
        self._dead_letters = dead_letters
        self._outbox = outbox
        self._known: set[int] = set()
        """Numbers of requests under way."""
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[Request] = []

    def answer(self, found: Sequence[Request]) -> None:
        """Does what is asked; ``found`` are all requests there are."""
        self._waiting += [request for request in found if request.number not in self._known]
        self._known.update(request.number for request in found)
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._answer())

    async def ended(self) -> None:
        """Returns when nothing is under way any more."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _answer(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                done = await asyncio.gather(*(self._one(request) for request in group))
                answered = [request.number for request, is_done in zip(group, done, strict=True) if is_done]
                await self._outbox.answered(answered)
                self._known.difference_update(request.number for request in group)
        finally:
            self._task = None

    async def _one(self, request: Request) -> bool:
        """Whether it is done with; False: the router closes, and the next start does it."""
        try:
            if request.action == "purge":
                self._dead_letters.purge([request.letter])
            elif request.action == "redrive":
                await self._dead_letters.redrive([request.letter], request.target)
            else:
                _log.warning("outbox: a request says %r, which this release does not know", request.action[:100])
        except DeliveryError as error:
            if error.kind == "closed":
                return False
            _log.warning("dead letter %d was not redriven, as was asked: %s", request.letter, error)
        except ConfigError as error:
            _log.warning("dead letter %d was not redriven, as was asked: %s", request.letter, error)
        return True
