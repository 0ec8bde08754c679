"""From a source to a router: what is acknowledged when, so that no message is lost whichever process dies.

- With an outbox, a message is acknowledged when it is on disk there. What becomes of it then is the outbox's business;
  more are brought as long as not too many are under way, of which those that wait for a later time are none.
- Without one, when it is settled and delivered. One that was given up on is acknowledged only where its dead letter is
  durable, which the caller says (``keep``); else it goes back to the broker and comes again, and no letter of it stays
  in memory. A letter of one pool of several, where the others suffice, is not waited for: the message is delivered.
- What the router does not accept (its outbox is full, it is closed) goes back to the broker too, for a while.
- What is no message is rejected, the broker's own way.

A message has the id that it brings, else that of the source, so with an outbox one that the broker hands over twice is
delivered once, within ``outbox.window``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeliveryError, MessageError
from .base import Incoming, Source

if TYPE_CHECKING:
    from ..router import Router

WINDOW: Final = 2
"""Messages handed to the router for each that it settles at once: some wait, for the urgent to overtake, but none so
long that its time runs out waiting."""

_LOOK: Final = 0.005
"""Seconds between looks whether fewer messages are under way."""

_AGAIN: Final = 0.2
"""Seconds after which what was cancelled and has not ended is cancelled again."""

_log = logging.getLogger(__name__)


@dataclass
class Bridged:
    """What a bridge has done; counts."""

    taken: int = 0
    """Handed over by the source; what came again counts again."""
    acked: int = 0
    nacked: int = 0
    rejected: int = 0


class Watch:
    """What a bridge tells of each message. By itself it does nothing."""

    async def bringing(self, incoming: Incoming, message: dict[str, Any]) -> None:
        """The message is handed to the router when this returns."""

    def brought(self, message: dict[str, Any]) -> None:
        """The router has done with it, however."""

    def accepted(self, incoming: Incoming, name: str) -> None:
        """With an outbox: the message is on disk, under this id."""

    async def rejects(self, incoming: Incoming, why: str) -> None:
        """It is no message; the source is told so when this returns."""

    def refused(self, incoming: Incoming, error: DeliveryError) -> None:
        """The router did not accept it; it comes again."""

    async def keep(self, message: dict[str, Any]) -> bool:
        """Whether the dead letter of the message is on disk now, so that the source may forget the message.

        Asked where there is no outbox, and the source would keep the message.
        """
        return False


class Bridge:
    """Brings the messages of a source to a router that has started. Runs once."""

    def __init__(
        self, router: Router, source: Source, *, window: int, rate: float | None = None, watch: Watch | None = None
    ) -> None:
        """``window``: messages handed to the router and not settled, at most. ``rate``: messages a second, at most."""
        self.counts = Bridged()
        self.failure: BaseException | None = None
        """Not of a message but of this program: it ended the reading."""
        self._router, self._source, self._rate = router, source, rate
        self._watch = watch or Watch()
        self._durable = router.config.outbox is not None
        self._window = window
        self._slots = asyncio.Semaphore(window)
        self._tasks: dict[asyncio.Task[None], Incoming] = {}
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._stopped = False

    async def read(self) -> None:
        """Until the source ends or :meth:`stop` is called; some messages may be unsettled then.

        Raises:
            OSError: the source cannot be read any further.
        """
        if self._stopped:
            return
        self._reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait([self._reading])
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([self._reading])
            raise
        if not self._reading.cancelled():
            self._reading.result()

    def stop(self) -> None:
        """Fetches nothing more."""
        self._stopped = True
        if self._reading is not None and self._ending is None:
            self._ending = asyncio.create_task(_end(self._reading))

    async def settled(self) -> None:
        """Returns when every message that was handed to the router is settled, and the source was told."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def give_back(self) -> None:
        """Gives the messages that are not settled back to the source, but for those that are in the outbox."""
        unsettled = [task for task, incoming in self._tasks.items() if not incoming.ended]
        for task in unsettled:
            task.cancel()
        if unsettled:
            await asyncio.wait(unsettled)

    async def _read(self) -> None:
        messages = aiter(self._source)
        try:
            await self._take(messages)
        finally:
            if isinstance(messages, AsyncGenerator):  # else its clean-up would wait for the garbage collector
                await messages.aclose()

    async def _take(self, messages: AsyncIterator[Incoming]) -> None:
        began = time.monotonic()
        async for incoming in messages:
            try:
                early = 0.0 if self._rate is None else began + self.counts.taken / self._rate - time.monotonic()
                await asyncio.sleep(max(early, 0.0))  # also lets deliveries go on where nothing ever waits
                await self._slots.acquire()
                while self._durable and self._router.under_way + len(self._tasks) >= self._window:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK)
            except asyncio.CancelledError:
                await incoming.nack(0.0)
                raise
            self.counts.taken += 1
            task = asyncio.create_task(self._bring(incoming))
            self._tasks[task] = incoming
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._slots.release()
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = self.failure or error
            self.stop()

    async def _bring(self, incoming: Incoming) -> None:
        """Hands a message to the router, and ends it as that goes. Where anything else happens it goes back."""
        try:
            message = incoming.message()
        except ValueError as error:
            await self._reject(incoming, str(error))
            return
        last = self._router.dead_letters.last
        try:
            await self._watch.bringing(incoming, message)
            if not await self._settled(incoming, message):
                self._forget(message, last)
        except MessageError as error:
            await self._reject(incoming, str(error))
        except DeliveryError as error:
            if not error.retryable:  # the router is used wrongly
                raise
            self._watch.refused(incoming, error)
        except asyncio.CancelledError:
            self._forget(message, last)
            raise
        finally:
            self._watch.brought(message)
            if not incoming.ended:
                self.counts.nacked += 1
                await incoming.nack(self._source.nack_delay)

    async def _settled(self, incoming: Incoming, message: dict[str, Any]) -> bool:
        """Brings a message; whether the source need not keep it any longer, which it was told then."""
        name = incoming.id or None
        if self._durable:
            self._watch.accepted(incoming, await self._router.accept(message, message_id=name))
            safe = True
        else:
            delivery = await self._router.dispatch(message, message_id=name)
            safe = delivery.delivered or not self._source.keeps
            if not safe and delivery.reason != "closed":  # what the router had no time for has not failed
                safe = await self._watch.keep(message)
        if safe:
            await self._ack(incoming)
        return safe

    def _forget(self, message: dict[str, Any], last: int) -> None:
        """Takes dead letters of a message that the source keeps out of memory, where they would pile up."""
        if not self._durable:
            store = self._router.dead_letters
            store.purge([letter for letter in store.after(last) if letter.message is message])

    async def _ack(self, incoming: Incoming) -> None:
        if not incoming.ended:
            self.counts.acked += 1
            await incoming.ack()

    async def _reject(self, incoming: Incoming, why: str) -> None:
        self.counts.rejected += 1
        await self._watch.rejects(incoming, why)
        await incoming.reject(why)


async def bridge(router: Router, source: Source, *, drain: float = 30.0) -> Bridged:
    """Brings messages until the source ends, and says how many; the router must have started.

    When the calling task is cancelled nothing more is fetched, what is in flight gets ``drain`` seconds to settle and
    then goes back to the broker, and the source is closed.

    Raises:
        ConfigError: the source cannot work.
        OSError: it cannot be read any further.
    """
    watch = _Logged(source.name)
    made = Bridge(router, source, window=router.config.performance.concurrency * WINDOW, watch=watch)
    await source.open()
    try:
        try:
            await made.read()
            await made.settled()
        except asyncio.CancelledError:
            made.stop()
            await asyncio.wait([asyncio.create_task(made.settled())], timeout=drain)
            raise
    finally:
        await made.give_back()
        await source.close()
    if made.failure is not None:
        raise made.failure
    return made.counts


async def _end(task: asyncio.Task[None]) -> None:
    """Cancels a task until it has ended: a client may lose a cancellation that comes just with its answer."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN)


class _Logged(Watch):
    def __init__(self, name: str) -> None:
        self._name = name

    async def rejects(self, incoming: Incoming, why: str) -> None:
        _log.error("%s: %s rejected: %s", self._name, incoming.place, why)
