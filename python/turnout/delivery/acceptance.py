"""How a message is accepted: it is read, there is room for it in memory, and with an outbox it is on disk.

What an earlier run of the process left in the outbox was accepted already; :mod:`.revival` brings it back to memory.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..errors import DeliveryError, MessageError
from ..message import read_ordering_key, read_time
from .admission import Envelope, read_envelope
from .budget import RetryBudget
from .clock import OnLoop, clock
from .dead_letters import DeadLetters
from .jobs import Job
from .lanes import Lanes
from .outbox import Outbox
from .records import DeadLetter, Delivery
from .redrives import redriven
from .settings import DeliverySettings
from .unsettled import Unsettled


class Terms(NamedTuple):
    """What the caller says of a message besides, which wins over its fields: as they are, not read yet."""

    not_before: object = None
    expires_at: object = None
    ordering_key: object = None
    message_id: str | None = None
    """The id of a message that brings none."""

    def applied(self, envelope: Envelope) -> Envelope:
        """The envelope with what is said here.

        Raises:
            MessageError: something is no time, or no key.
        """
        not_before, expires, ordering = self.not_before, self.expires_at, self.ordering_key
        if not_before is not None:
            envelope = envelope._replace(not_before=read_time(not_before, "not_before"))
        if expires is not None:
            envelope = envelope._replace(expires=read_time(expires, "expires_at"))
        if ordering is not None:
            envelope = envelope._replace(ordering=read_ordering_key(ordering, "ordering_key"))
        return envelope


NO_TERMS = Terms()


class Many(NamedTuple):
    """What was read of a list of messages, each in one of the three by its place."""

    answers: list[Any]
    """Of each: the error by which it is refused, or None."""
    jobs: dict[int, Job]
    """Not accepted yet."""
    repeats: list[tuple[int, object]]
    """Messages whose id was brought before, in this list or another."""


class Acceptance:
    """Accepts the messages of one deliverer. Of one event loop; not for threads."""

    def __init__(
        self,
        settings: DeliverySettings,
        room: Lanes[Job],
        unsettled: Unsettled,
        dead_letters: DeadLetters,
        budget: RetryBudget,
        outbox: Outbox | None,
        on: OnLoop,
    ) -> None:
        """``room``: places in memory; a message holds one until it is settled, unless it waits on disk."""
        self.settings = settings
        self.accepting = True
        """False from the beginning of a close to the next start."""
        self._room = room
        self._unsettled = unsettled
        self._dead_letters = dead_letters
        self._budget = budget
        self._outbox = outbox
        self._on = on
        self._brought = 0
        self._entering = 0
        self._closing: list[asyncio.Future[None]] = []

    def read(self, message: object, terms: Terms) -> Job:
        """A job for the message, not accepted yet.

        Raises:
            MessageError: it is not a message.
            DeliveryError: nothing is accepted now.
        """
        if not self.accepting:
            raise closed()
        if self._dead_letters.full:
            raise DeliveryError(
                "dead_letters_full",
                f"{len(self._dead_letters)} dead letters are kept (dead_letters.max_kept), so nothing new is "
                f"accepted; take() some out first",
            )
        envelope = read_envelope(message, strict=self.settings.validation, default=terms.message_id)
        if terms is not NO_TERMS:
            envelope = terms.applied(envelope)
        name, priority, not_before, expires, ordering = envelope
        return Job(name, message, priority, self.number(), expires, not_before, ordering)

    def read_many(self, messages: Iterable[object], problem: DeliveryError | None) -> Many:
        """As :meth:`read` of each; where there is a ``problem``, it refuses each of them."""
        answers: list[Any] = []
        jobs: dict[int, Job] = {}
        repeats: list[tuple[int, object]] = []
        names: set[str] = set()
        outbox, read = self._outbox, self.read
        for place, message in enumerate(messages):
            answers.append(None)
            if problem is not None:
                answers[place] = copy.copy(problem)
                continue
            try:
                job = read(message, NO_TERMS)
            except (MessageError, DeliveryError) as error:
                answers[place] = error
                continue
            if outbox is None:
                jobs[place] = job
            elif job.id in names or outbox.knows(job.id):
                repeats.append((place, message))
            else:
                names.add(job.id)
                jobs[place] = job
        return Many(answers, jobs, repeats)

    def again(self, letter: DeadLetter, to: str | None) -> Job:
        """A job for the message of a dead letter, not accepted yet.

        Raises:
            DeliveryError: nothing is accepted now.
        """
        if not self.accepting:
            raise closed()
        return redriven(letter, to, self.number())

    def number(self) -> int:
        """The number of the next message that comes to memory."""
        self._brought += 1
        return self._brought

    def entered(self, job: Job) -> bool:
        """Whether the message is accepted, as by :meth:`enter`, because there is nothing to wait for."""
        if self._outbox is not None or not self._room.try_take():
            return False
        job.has_room = True
        self._accept(job)
        job.entering = None  # without an outbox nobody waits for that
        return True

    async def enter(self, job: Job) -> None:
        """Accepts the message: there is room for it, and it is on disk if there is an outbox. One that is not due yet
        needs no room then.

        Raises:
            MessageError: it cannot be written to the outbox.
            DeliveryError: the router is closed meanwhile, or the outbox takes nothing.
        """
        outbox = self._outbox
        if outbox is not None:
            outbox.claim(job)
        self._entering += 1
        try:
            if outbox is None or job.not_before is None or job.not_before <= clock.now():
                if not self._room.try_take():
                    await self._wait_for_room(job)
                job.has_room = True
            if outbox is not None:
                await outbox.add(job)
            self._accept(job)
            waiting, job.entering = job.entering, None
            if waiting:
                _tell(waiting, None)
        except BaseException as error:
            self._refused(job, error)
            raise
        finally:
            self._entering -= 1
            if not self._entering:
                _tell(self._closing, None)

    async def enter_all(self, jobs: dict[int, Job], accepted: Callable[[Job], None]) -> dict[int, Exception]:
        """As :meth:`enter` of each, with one wait for the disk for as many as there is room for.

        - ``accepted``: told of each that was.

        Returns:
            Why some were refused, by their keys.
        """
        refused: dict[int, Exception] = {}
        left = dict(jobs)
        if self._outbox is not None:
            for job in jobs.values():
                self._outbox.claim(job)
        self._entering += 1
        try:
            while left:
                await self._enter_part(left, refused, accepted)
        except DeliveryError as error:  # closed meanwhile
            for key, job in left.items():
                refused[key] = copy.copy(error)
                self._refused(job, error)
        except BaseException as error:
            for job in left.values():
                self._refused(job, error)
            raise
        finally:
            self._entering -= 1
            if not self._entering:
                _tell(self._closing, None)
        return refused

    async def _enter_part(
        self, left: dict[int, Job], refused: dict[int, Exception], accepted: Callable[[Job], None]
    ) -> None:
        """Takes the first messages out of ``left``, as many as there is room for, and accepts them or not."""
        part = await self._with_room(left)
        failed = await self._outbox.add_all(part) if self._outbox is not None else {}
        for key, job in part.items():
            del left[key]
            if (error := failed.get(key)) is not None:
                refused[key] = error
                self._refused(job, error)
                continue
            self._accept(job)
            accepted(job)
            waiting, job.entering = job.entering, None
            if waiting:
                _tell(waiting, None)

    async def _with_room(self, jobs: dict[int, Job]) -> dict[int, Job]:
        """The first of the messages, as many as there is room for, which they have then; at least one."""
        found: dict[int, Job] = {}
        now = clock.now()
        for key, job in jobs.items():
            if self._outbox is None or job.not_before is None or job.not_before <= now:
                if not self._room.try_take():
                    if found:
                        break
                    await self._wait_for_room(job)
                job.has_room = True
            found[key] = job
        return found

    def _refused(self, job: Job, error: BaseException) -> None:
        self.leave(job)
        if self._outbox is not None:
            self._outbox.let_go(job)
        waiting, job.entering = job.entering, None
        _tell(waiting, error)

    def leave(self, job: Job) -> None:
        """Gives back its place in memory, if it holds one."""
        if job.has_room:
            job.has_room = False
            self._room.release()

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
            first.entering += (accepted,)
            await accepted
        if not self.accepting:  # closed while it waited for the other
            raise closed()
        return None

    async def close(self) -> None:
        """Accepts nothing more; who waits for room is refused. Returns when what is being written is, or is refused."""
        self.accepting = False
        self._room.refuse(closed())
        if self._entering:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._closing.append(done)
            await done

    async def _wait_for_room(self, job: Job) -> None:
        await self._room.take(job.priority, job.number)
        if not self.accepting:  # closed just after the room was given
            self._room.release()
            raise closed()

    def _accept(self, job: Job) -> None:
        now = job.started = self._on.loop.time()
        if self._outbox is not None:
            job.ends = min(job.ends, job.accepted + self._outbox.settings.max_age)
        self._budget.deposit(now)
        self._unsettled.add(job)


def _tell(waiting: Iterable[asyncio.Future[None]] | None, error: BaseException | None) -> None:
    """Ends the waiting of all: as the error says, if it is one of acceptance and not of the task that it ended."""
    for waiter in waiting or ():
        if waiter.done():
            continue
        if isinstance(error, (MessageError, DeliveryError)):
            waiter.set_exception(copy.copy(error))
        else:
            waiter.set_result(None)


def closed() -> DeliveryError:
    """The error for a message that comes to a closed router."""
    return DeliveryError("closed", "the router is closed, or closing, and accepts nothing")
