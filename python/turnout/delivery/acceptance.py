"""How a message is accepted: it is read, there is room for it in memory, and with an outbox it is on disk.

What an earlier run of the process left in the outbox is accepted anew, as there is room for it.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import sqlite3
import time
from typing import TYPE_CHECKING

from ..errors import DeliveryError, MessageError
from .admission import read_envelope
from .budget import RetryBudget
from .dead_letters import DeadLetters
from .failures import text_of
from .jobs import Job
from .lanes import Lanes
from .ledger import Counts
from .outbox import Outbox
from .outbox_codec import decode
from .records import DeadLetter, Delivery
from .redrives import redriven
from .settings import DeliverySettings
from .unsettled import Unsettled

if TYPE_CHECKING:
    from .outbox_schema import BranchRow, Row

_log = logging.getLogger(__name__)


class Acceptance:
    """Accepts the messages of one deliverer. Of one event loop; not for threads."""

    def __init__(
        self,
        settings: DeliverySettings,
        room: Lanes[Job],
        turns: Lanes[Job],
        unsettled: Unsettled,
        dead_letters: DeadLetters,
        budget: RetryBudget,
        counts: Counts,
        outbox: Outbox | None,
    ) -> None:
        """``room``: places in memory; a message holds one until it is settled. ``turns``: of those left over."""
        self.settings = settings
        self.accepting = True
        """False from the beginning of a close to the next start."""
        self._room = room
        self._turns = turns
        self._unsettled = unsettled
        self._dead_letters = dead_letters
        self._budget = budget
        self._counts = counts
        self._outbox = outbox
        self._brought = 0
        self._entering = 0
        self._closing: list[asyncio.Future[None]] = []

    def read(self, message: object, message_id: str | None = None) -> Job:
        """A job for the message, not accepted yet. ``message_id``: of a message that brings none.

        Raises:
            MessageError: it is not a message.
            DeliveryError: nothing is accepted now.
        """
        if not self.accepting:
            raise _closed()
        if self._dead_letters.full:
            raise DeliveryError(
                "dead_letters_full",
                f"{len(self._dead_letters)} dead letters are kept (dead_letters.max_kept), so nothing new is "
                f"accepted; take() some out first",
            )
        name, priority, expires = read_envelope(message, strict=self.settings.validation, default=message_id)
        self._brought += 1
        return Job(name, message, priority, self._brought, expires)

    def again(self, letter: DeadLetter, to: str | None) -> Job:
        """A job for the message of a dead letter, not accepted yet.

        Raises:
            DeliveryError: nothing is accepted now.
        """
        if not self.accepting:
            raise _closed()
        self._brought += 1
        return redriven(letter, to, self._brought)

    async def enter(self, job: Job) -> None:
        """Accepts the message: there is room for it, and it is on disk if there is an outbox.

        Raises:
            MessageError: it cannot be written to the outbox.
            DeliveryError: the router is closed meanwhile, or the outbox takes nothing.
        """
        outbox = self._outbox
        if outbox is not None:
            outbox.claim(job)
        self._entering += 1
        error: BaseException | None = None
        try:
            if not self._room.try_take():
                await self._wait_for_room(job)
            if outbox is not None:
                await self._store(job, outbox)
            self._accept(job, asyncio.get_running_loop())
        except BaseException as raised:
            error = raised
            if outbox is not None:
                outbox.let_go(job)
            raise
        finally:
            waiting, job.entering = job.entering, None
            _tell(waiting, error)
            self._entering -= 1
            if not self._entering:
                _tell(self._closing, None)

    async def repeated(self, job: Job) -> asyncio.Future[Delivery] | None:
        """What becomes of the message of this id that was brought before, once that is accepted; None if its task was
        cancelled before, so that this one is the first.

        Raises:
            MessageError, DeliveryError: it was not accepted, for this reason.
        """
        outbox = self._outbox
        while outbox is not None and outbox.knows(job.id):
            first = outbox.first(job.id)
            if first is None or first.entering is None:
                return outbox.repeated(job)
            accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            first.entering.append(accepted)
            await accepted
        return None

    async def close(self) -> None:
        """Accepts nothing more; who waits for room is refused. Returns when what is being written is, or is refused."""
        self.accepting = False
        self._room.refuse(_closed())
        if self._entering:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._closing.append(done)
            await done

    async def _store(self, job: Job, outbox: Outbox) -> None:
        try:
            await outbox.add(job)
        except BaseException:
            self._room.release()
            raise

    async def _wait_for_room(self, job: Job) -> None:
        await self._room.take(job.priority, job.number)
        if not self.accepting:  # closed just after the room was given
            self._room.release()
            raise _closed()

    def _accept(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        now = job.started = loop.time()
        job.deadline = now + self.settings.timeout
        if job.expires is not None:
            job.deadline = min(job.deadline, now + job.expires - time.time())
        self._budget.deposit(now)
        self._unsettled.add(job)

    async def resume(self, outbox: Outbox) -> None:
        """Brings messages of earlier runs to the lanes, as there is room for them."""
        after = 0
        try:
            while page := await asyncio.to_thread(outbox.left_over, after):
                for row, branches in page:
                    if not await self._resume_one(outbox, row, branches):
                        return
                after = page[-1][0].seq
        except sqlite3.Error as error:
            _log.error("outbox: messages of earlier runs cannot be read, and stay there: %s", error)

    async def _resume_one(self, outbox: Outbox, row: Row, branches: dict[str, BranchRow]) -> bool:
        """Accepts a message of an earlier run anew; False if the router is closed, and it stays where it is."""
        self._brought += 1
        job = Job(row.id, row.body, row.priority, self._brought, row.expires)
        end = row.accepted + outbox.settings.max_age
        job.expires = end if row.expires is None else min(row.expires, end)
        try:
            await self._room.take(job.priority, job.number)
        except DeliveryError:
            return False
        if not self.accepting:
            self._room.release()
            return False
        outbox.resumed(job, row, branches)
        job.entering = None
        self._accept(job, asyncio.get_running_loop())
        job.expires = row.expires  # the age limit is of the outbox, and no matter of the channel's
        try:
            job.message = decode(row.body)
        except Exception as error:  # noqa: BLE001 - written by other hands; the rest must go on
            self._unsettled.give_up(job, "unreadable", f"its body in the outbox cannot be read: {text_of(error)}")
        else:
            self._turns.queue(job.priority, job.number, job)
        return True


def _tell(waiting: list[asyncio.Future[None]] | None, error: BaseException | None) -> None:
    """Ends the waiting of all: as the error says, if it is one of acceptance and not of the task that it ended."""
    for waiter in waiting or ():
        if waiter.done():
            continue
        if isinstance(error, (MessageError, DeliveryError)):
            waiter.set_exception(copy.copy(error))
        else:
            waiter.set_result(None)


def _closed() -> DeliveryError:
    return DeliveryError("closed", "the router is closed, or closing, and accepts nothing")
