"""The way of a message through delivery: accept, take a turn, decide, attempt, settle.

::

    dispatch ──┐ accepted: read, counted,            ┌── mode first: one run ──┐
               ├─ holds room in memory ─ turn ─ plan ┤                         ├─ settled: delivered, or a dead letter
    accept ────┘            (lanes)        (core)    └── mode all: one a pool ─┘

:mod:`.acceptance` has the first part, :mod:`.runners` and :mod:`.attempts` the middle, :mod:`.unsettled` the end.

Invariants:

- A message is refused (an exception, nothing kept) or accepted; one that is accepted is settled exactly once, also when
  the task that waits for it is cancelled, or the router is closed.
- With an outbox, a message is accepted when it is on disk, and what the router is closed before stays there (``kept``).
- ``concurrency + max_waiting`` messages at most are in memory unsettled. Whoever brings more waits.
- Everything here runs on one event loop and is not for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from .._core import Histogram
from ..errors import ConfigError, DeliveryError, MessageError, NoRouteError
from ..transports import Transports
from .acceptance import NO_TERMS, Acceptance, Many, Terms
from .attempts import Attempts
from .clock import OnLoop
from .dead_letters import DeadLetters
from .jobs import Job
from .lanes import Lanes
from .ledger import Counts, Ledger
from .outbox import Outbox
from .outbox_file import Listed
from .outbox_schema import Request
from .records import DeadLetter, Delivery
from .requests import Requests
from .revival import Revival
from .runners import Decide, Runners
from .settings import DeliverySettings
from .together import Place, Together
from .unsettled import Unsettled
from .waiting import Waiting

if TYPE_CHECKING:
    from ..config import RouterConfig

_GRACE: Final = 1.0
"""Seconds that attempts get to end after they were cancelled at close; then they are given up, running or not."""


class Deliverer:
    """Delivers messages by the decisions of a router core."""

    def __init__(
        self,
        core: Any,
        settings: RouterConfig | DeliverySettings,
        transports: Transports,
        *,
        decide: Decide | None = None,
        seed: int | None = None,
    ) -> None:
        """A deliverer that accepts messages from now on.

        - ``core``: the router core, of which it uses ``_plan``, ``_pools`` and ``generation``.
        - ``decide``: plans a message where the stage ``custom_rules`` is configured; without it the core does.
        - ``seed``: of the backoff's jitter.
        """
        settings = DeliverySettings.of(settings)
        self.settings = settings
        self.transports = transports
        self.dead_letters = DeadLetters(settings.max_kept)
        self._counts = counts = Counts(Histogram())
        self._on = on = OnLoop()
        self._turns: Lanes[Job] = Lanes(settings.concurrency, lambda: self._runners.start_one())
        self._room: Lanes[Job] = Lanes(settings.concurrency + settings.max_waiting, lambda: None)
        rng = random.Random(seed)  # noqa: S311 - jitter
        self._attempts = Attempts(core, settings, transports, self._turns, self._room, counts, on, rng)
        self.dead_letters.on_redrive = self._redrive
        self._outbox = outbox = None if settings.outbox is None else Outbox(settings.outbox)
        self._requests = None if outbox is None else Requests(self.dead_letters, outbox)
        if outbox is not None:
            self._attempts.journal = outbox
            self.dead_letters.on_take = outbox.taken
        self._unsettled = unsettled = Unsettled(counts, self.dead_letters, self._room, outbox, on)
        self._runners = Runners(core, settings, self._turns, self._attempts, unsettled, outbox, decide, on)
        self._acceptance = acceptance = Acceptance(
            settings, self._room, unsettled, self.dead_letters, self._attempts.budget, outbox, on
        )
        begin = self._runners.begin
        self._revival = Revival(self._room, acceptance, unsettled, outbox, begin)
        self._waiting = Waiting(settings, self._room, unsettled, outbox, self._revival.add, begin, on)
        self._runners.waiting = self._waiting
        unsettled.on_end = self._waiting.left
        self._open = outbox is None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Opens the transports and accepts messages, also after :meth:`close`.

        Raises:
            ConfigError: a destination's transport cannot work; all such problems are listed. Or the outbox cannot be
                used.
        """
        self._use_loop(asyncio.get_running_loop())
        found: list[Listed] = []
        if self._outbox is not None and not self._open:
            letters, found = await asyncio.to_thread(self._outbox.open)
            self.dead_letters.replace(letters)
        try:
            self.transports.open()
        except BaseException:
            if self._outbox is not None and not self._open:
                await self._outbox.close()
            raise
        self._attempts.limits.stopped = False
        self._acceptance.accepting = True
        if self._outbox is not None and not self._open:
            self._open = True
            self._unsettled.found(len(found))
            self._waiting.found(found, self._outbox.settings.max_age)
            self._outbox.listen(self._pass_on)

    async def dispatch(
        self, message: object, terms: Terms = NO_TERMS, on_accept: Callable[[], None] | None = None
    ) -> Delivery:
        """Accepts, delivers and settles a message; says what became of it, whether it was delivered or not.

        - ``terms``: what is to be known of the message besides.
        - ``on_accept``: called when it is accepted, and with an outbox on disk; not for one that was brought before.

        If the calling task is cancelled after acceptance, the message becomes a dead letter (``cancelled``), unless
        somebody else brought one of the same id meanwhile. With an outbox, an id that was delivered within ``window``
        is answered without another delivery.

        Raises:
            MessageError: it is not a message; nothing was accepted.
            DeliveryError: nothing is accepted now: kind ``closed``, ``dead_letters_full`` or ``wrong_loop``.
        """
        job = self._read(message, terms)
        if self._outbox is not None and self._outbox.knows(job.id):
            settled = await self._repeated(job)
            if settled is not None:
                return await settled
        if self._acceptance.entered(job):
            self._waiting.entered(job)
        else:
            await self._enter(job)
        return await self._runners.attend(job, on_accept)

    async def accept(self, message: object, terms: Terms = NO_TERMS) -> str:
        """Accepts a message, to be delivered in the background, and returns its id.

        Returns as soon as the message has room in memory, and with an outbox when it is on disk; waits for room where
        ``max_waiting`` are there already. What becomes of the message shows in the ledger and, if it is not delivered,
        among the dead letters. A mapping is not copied: change it no more.

        Raises:
            MessageError, DeliveryError: as :meth:`dispatch`.
        """
        job = self._read(message, terms)
        if self._outbox is not None and self._outbox.knows(job.id):
            settled = await self._repeated(job)
            if settled is not None:
                settled.cancel()
                self._outbox.want(job.id)
                return job.id
        await self._enter(job)
        self._runners.begin(job)
        return job.id

    async def accept_many(self, messages: Iterable[object]) -> list[str | MessageError | DeliveryError]:
        """As :meth:`accept` of each, with one wait for the disk; what came of each, in order: its id, or the error by
        which it was refused. More than there is room for are accepted a part at a time."""
        answers, jobs, repeats = self._read_many(messages)
        for place, answer in (await self._enter_many(jobs, self._runners.begin)).items():
            answers[place] = answer
        for place, message in repeats:
            try:
                answers[place] = await self.accept(message)
            except (MessageError, DeliveryError) as error:
                answers[place] = error
        return [jobs[place].id if answer is None else answer for place, answer in enumerate(answers)]

    async def dispatch_many(self, messages: Iterable[object]) -> list[Delivery | MessageError | DeliveryError]:
        """As :meth:`dispatch` of each, all at once, with one wait for the disk; what came of each, in order: its
        delivery, or the error by which it was refused.

        If the calling task is cancelled, what was accepted and has not begun becomes a dead letter (``cancelled``).
        """
        answers, jobs, repeats = self._read_many(messages)
        together = Together(answers, len(jobs))
        for place, job in jobs.items():
            job.waiters = (Place(together, place),)
        again: dict[int, asyncio.Task[Delivery]] = {}
        try:
            for place, error in (await self._enter_many(jobs, self._runners.begin)).items():
                together.put(place, error)
            again = {place: asyncio.create_task(self.dispatch(message)) for place, message in repeats}
            await together.ended()
            for place, task in again.items():
                try:
                    answers[place] = await task
                except (MessageError, DeliveryError) as error:
                    answers[place] = error
        except BaseException as error:
            together.is_over = True
            for task in again.values():
                task.cancel()
            for job in jobs.values():
                self._runners.abandon(job, error)
            raise
        return answers

    def _read_many(self, messages: Iterable[object]) -> Many:
        """A job of each message, or why there is none."""
        problem: DeliveryError | None = None
        try:
            self._ready()
        except DeliveryError as error:
            problem = error
        many = self._acceptance.read_many(messages, problem)
        self._counts.refused += len(many.answers) - len(many.jobs) - len(many.repeats)
        return many

    async def _enter_many(self, jobs: dict[int, Job], begin: Callable[[Job], None]) -> dict[int, Exception]:
        """Accepts messages and begins them; why some were refused, by their places."""

        def accepted(job: Job) -> None:
            self._waiting.entered(job)
            begin(job)

        refused = await self._acceptance.enter_all(jobs, accepted)
        self._counts.refused += len(refused)
        return refused

    async def join(self) -> None:
        """Returns when everything accepted is settled, what was left over in the outbox included."""
        await self._unsettled.join()

    async def close(self, drain: float = 30.0) -> None:
        """Accepts nothing more, settles for up to ``drain`` seconds, and closes the transports. The rest become dead
        letters (``closed``); with an outbox they stay there (``kept``), and the next start goes on with them.

        Attempts under way then are cancelled; one that does not end within a second more is given up all the same, and
        may still take effect.
        """
        await self._acceptance.close()
        await self.dead_letters.left()
        if self._requests is not None:
            await self._requests.ended()
        for job in await self._revival.close():
            self._unsettled.give_up(job, "closed", "the router was closed before its turn came")
        self._waiting.close(drain)
        if not await self._joined(drain):
            self._attempts.limits.stop()
            self._waiting.give_up()
            for job in self._turns.clear():
                self._unsettled.give_up(job, "closed", "the router was closed before its turn came")
            if not await self._joined(_GRACE):
                self._unsettled.give_up_all("closed", "the router was closed; its attempt goes on and may take effect")
        self._waiting.forget()
        await self.transports.close()
        if self._outbox is not None:
            await self._outbox.close()
            self._open = False

    @property
    def under_way(self) -> int:
        """Messages in memory that are delivered now, or wait for their turn: all but those that rest."""
        return self._unsettled.in_memory - self._waiting.resting.in_memory

    def on_settled(self, told: Callable[[Delivery], None] | None) -> None:
        """From now on ``told`` is told of each message that was settled; it must not raise. None: nobody is."""
        self._unsettled.on_settled = told

    @property
    def ledger(self) -> Ledger:
        """The account of all messages, as of now."""
        return self._counts.ledger(len(self._unsettled), self._waiting.resting.delayed, self._attempts.in_flight)

    def check(self, settings: RouterConfig | DeliverySettings) -> None:
        """Whether the settings can be taken over while running.

        Raises:
            ConfigError: they name another outbox.
        """
        old, new = self.settings.outbox, DeliverySettings.of(settings).outbox
        if (old and old.path) != (new and new.path):
            raise ConfigError("message_router.outbox: its path cannot change while the router runs; start a new one")

    def reconfigure(self, settings: RouterConfig | DeliverySettings) -> None:
        """Takes over new settings, for everything that happens from now on."""
        settings = DeliverySettings.of(settings)
        self.check(settings)
        if self._outbox is not None and settings.outbox is not None:
            self._outbox.settings = settings.outbox
        self.settings = self._attempts.settings = self._runners.settings = settings
        self._acceptance.settings = self._waiting.settings = settings
        self.dead_letters.max_kept = settings.max_kept
        self._turns.resize(settings.concurrency)
        self._room.resize(settings.concurrency + settings.max_waiting)

    def _read(self, message: object, terms: Terms) -> Job:
        """A job for the message, not accepted yet."""
        try:
            self._ready()
            return self._acceptance.read(message, terms)
        except (MessageError, DeliveryError):
            self._counts.refused += 1
            raise

    def _ready(self) -> None:
        """Raises DeliveryError where nothing can be accepted on the running loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._use_loop(loop)
        if not self._open:
            raise DeliveryError("closed", "the router has not started, and so its outbox is not open")

    async def _redrive(self, letter: DeadLetter, to: str | None) -> None:
        """Accepts the message of a dead letter anew; in the outbox, one transaction makes a message of the letter."""
        if to is not None:
            try:
                self._runners.redirected(letter.message, to)
            except NoRouteError as error:
                raise ConfigError(str(error)) from None
        self._use_loop(asyncio.get_running_loop())
        job = self._again(letter, to)
        await self._enter(job)
        self._runners.begin(job)

    def _again(self, letter: DeadLetter, to: str | None) -> Job:
        if not self._open:
            raise DeliveryError("closed", "the router has not started, and so its outbox is not open")
        return self._acceptance.again(letter, to)

    async def _repeated(self, job: Job) -> asyncio.Future[Delivery] | None:
        """What becomes of the message of this id that was brought before; None if it was not accepted after all."""
        try:
            settled = await self._acceptance.repeated(job)
        except (MessageError, DeliveryError):
            self._counts.refused += 1
            raise
        if settled is not None:
            self._counts.repeated += 1
        return settled

    async def _enter(self, job: Job) -> None:
        """Accepts the message."""
        try:
            await self._acceptance.enter(job)
            self._waiting.entered(job)
        except (MessageError, DeliveryError):
            self._counts.refused += 1
            raise

    def _pass_on(self, found: list[Request]) -> None:
        """Brings requests from the outbox's thread to the event loop."""
        if self._loop is not None and self._requests is not None:
            with contextlib.suppress(RuntimeError):  # it was closed: the next start finds them
                self._loop.call_soon_threadsafe(self._requests.answer, found)

    def _use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._loop:
            return
        if self._unsettled:
            raise DeliveryError(
                "wrong_loop",
                f"{len(self._unsettled)} messages are under way on another event loop; use the router on one loop "
                f"only, and close it before the loop ends",
                retryable=False,
            )
        self._loop = self._on.loop = loop
        self._runners.context = contextvars.copy_context()

    async def _joined(self, seconds: float) -> bool:
        """Whether everything is settled, after at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.join()
        except TimeoutError:
            return False
        return True
