"""The way of a message through delivery: accept, take a turn, decide, attempt, settle.

::

    dispatch ──┐ accepted: read, counted,            ┌── mode first: one run ──┐
               ├─ holds room in memory ─ turn ─ plan ┤                         ├─ settled: delivered, or a dead letter
    accept ────┘            (lanes)        (core)    └── mode all: one a pool ─┘

Invariants:

- A message is refused (an exception, nothing kept) or accepted; one that is accepted is settled exactly once, also when
  the task that waits for it is cancelled, or the router is closed.
- With an outbox, a message is accepted when it is on disk, and what the router is closed before stays there (``kept``).
- ``concurrency + max_waiting`` messages at most are in memory unsettled. Whoever brings more waits.
- Everything here runs on one event loop and is not for threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from .._core import Histogram
from ..errors import AccessDeniedError, ConfigError, DeliveryError, MessageError, NoRouteError
from ..transports import Transports
from .admission import read_envelope
from .attempts import Attempts
from .dead_letters import DeadLetters
from .failures import stopped_by, text_of
from .jobs import Job, Run, Turn
from .lanes import Lanes
from .ledger import Counts, Ledger
from .limits import TOO_SHORT, TimeIsUpError
from .outbox import Outbox
from .outbox_codec import decode
from .records import DeadLetter, Delivery, Reason
from .redrives import redriven
from .settings import DeliverySettings
from .settlement import delivery_of, letters_of

if TYPE_CHECKING:
    from .._core import Plan
    from ..config import RouterConfig
    from .outbox_file import Row

Decide = Callable[[Any], Coroutine[Any, Any, "Plan"]]
"""Plans a message, custom rules included; raises what the core's ``_plan`` raises."""

_SLICE: Final = 0.001
"""Seconds a runner settles messages without letting others use the event loop."""
_GRACE: Final = 1.0
"""Seconds that attempts get to end after they were cancelled at close; then they are given up, running or not."""

_REASONS: Final[dict[type[Exception], Reason]] = {
    NoRouteError: "no_route", MessageError: "unreadable", AccessDeniedError: "access_denied",
}  # fmt: skip

_log = logging.getLogger(__name__)


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
        self._core = core
        self._decide = decide
        self._counts = Counts(Histogram())
        self._turns: Lanes[Job] = Lanes(settings.concurrency, self._start_runner)
        self._room: Lanes[Job] = Lanes(settings.concurrency + settings.max_waiting, lambda: None)
        rng = random.Random(seed)  # noqa: S311 - jitter
        self._attempts = Attempts(core, settings, transports, self._turns, self._room, self._counts, rng)
        self.dead_letters.on_redrive = self._redrive
        self._outbox = None if settings.outbox is None else Outbox(settings.outbox)
        if self._outbox is not None:
            self._attempts.on_failure = self._outbox.tried
            self.dead_letters.on_take = self._outbox.taken
        self._resuming: asyncio.Task[None] | None = None
        self._open = self._outbox is None
        self._unsettled: dict[int, Job] = {}
        self._brought = 0
        self._accepting = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._runners: set[asyncio.Task[None]] = set()
        self._joining: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """Opens the transports and accepts messages, also after :meth:`close`.

        Raises:
            ConfigError: a destination's transport cannot work; all such problems are listed. Or the outbox cannot be
                used.
        """
        self._use_loop(asyncio.get_running_loop())
        if self._outbox is not None and not self._open:
            self.dead_letters.replace(await asyncio.to_thread(self._outbox.open))
        try:
            self.transports.open()
        except BaseException:
            if self._outbox is not None and not self._open:
                await self._outbox.close()
            raise
        self._attempts.limits.stopped = False
        self._accepting = True
        if self._outbox is not None and not self._open:
            self._open = True
            self._resuming = asyncio.create_task(self._resume(self._outbox))

    async def dispatch(self, message: object) -> Delivery:
        """Accepts, delivers and settles a message; says what became of it, whether it was delivered or not.

        If the calling task is cancelled after acceptance, the message becomes a dead letter (``cancelled``).

        Raises:
            MessageError: it is not a message; nothing was accepted.
            DeliveryError: nothing is accepted now: kind ``closed``, ``dead_letters_full`` or ``wrong_loop``.
        """
        job = self._read(message)
        if self._outbox is not None and (settled := self._outbox.repeated(job)) is not None:
            self._counts.repeated += 1
            return await settled
        await self._enter(job)
        try:
            if self._turns.try_take():
                job.held = True
            else:
                await self._attempts.take(job, job.deadline)  # if its time is up before, delivery ends with that
            return await self._deliver(job)
        except BaseException as error:
            self._give_up(job, *stopped_by(error))
            raise
        finally:
            self._attempts.give_back(job)

    async def accept(self, message: object) -> str:
        """Accepts a message, to be delivered in the background, and returns its id.

        Returns as soon as the message has room in memory, and with an outbox when it is on disk; waits for room where
        ``max_waiting`` are there already. What becomes of the message shows in the ledger and, if it is not delivered,
        among the dead letters. A mapping is not copied: change it no more.

        Raises:
            MessageError, DeliveryError: as :meth:`dispatch`.
        """
        job = self._read(message)
        if self._outbox is not None and (settled := self._outbox.repeated(job)) is not None:
            self._counts.repeated += 1
            settled.cancel()
            return job.id
        await self._enter(job)
        self._turns.queue(job.priority, job.number, job)
        return job.id

    async def join(self) -> None:
        """Returns when everything accepted is settled, what was left over in the outbox included."""
        if self._resuming is not None:
            await asyncio.wait([self._resuming])
        while self._unsettled:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._joining.append(done)
            await done

    async def close(self, drain: float = 30.0) -> None:
        """Accepts nothing more, settles for up to ``drain`` seconds, makes dead letters (``closed``) of the rest, and
        closes the transports.

        Attempts under way then are cancelled; one that does not end within a second more is given up all the same, and
        may still take effect.
        """
        self._accepting = False
        self._room.refuse(_closed())
        if not await self._joined(drain):
            self._attempts.limits.stop()
            for job in self._turns.clear():
                self._give_up(job, "closed", "the router was closed before its turn came")
            if not await self._joined(_GRACE):
                for job in list(self._unsettled.values()):
                    self._give_up(job, "closed", "the router was closed; its attempt goes on and may take effect")
        if self._resuming is not None:
            await asyncio.wait([self._resuming])
        await self.transports.close()
        if self._outbox is not None:
            await self._outbox.close()
            self._open = False

    @property
    def ledger(self) -> Ledger:
        """The account of all messages, as of now."""
        return self._counts.ledger(len(self._unsettled), self._attempts.in_flight)

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
        self.settings = self._attempts.settings = settings
        self.dead_letters.max_kept = settings.max_kept
        self._turns.resize(settings.concurrency)
        self._room.resize(settings.concurrency + settings.max_waiting)

    # -- acceptance

    def _read(self, message: object) -> Job:
        """A job for the message, not accepted yet."""
        loop = asyncio.get_running_loop()
        try:
            if loop is not self._loop:
                self._use_loop(loop)
            if not self._open:
                raise DeliveryError("closed", "the router has not started, and so its outbox is not open")
            if not self._accepting:
                raise _closed()
            if self.dead_letters.full:
                raise DeliveryError(
                    "dead_letters_full",
                    f"{len(self.dead_letters)} dead letters are kept (dead_letters.max_kept), so nothing new is "
                    f"accepted; take() some out first",
                )
            name, priority, expires = read_envelope(message, strict=self.settings.validation)
        except (MessageError, DeliveryError):
            self._counts.refused += 1
            raise
        self._brought += 1
        return Job(name, message, priority, self._brought, expires)

    async def _enter(self, job: Job) -> None:
        """Accepts the message: there is room for it, and it is on disk if there is an outbox."""
        outbox = self._outbox
        if outbox is not None:
            outbox.unsettled[job.id] = job
        try:
            if not self._room.try_take():
                await self._wait_for_room(job)
            if outbox is not None:
                await self._store(job, outbox)
        except BaseException as error:
            if outbox is not None:
                outbox.unsettled.pop(job.id, None)
                for waiter in job.waiters:
                    if not waiter.done():
                        waiter.set_exception(DeliveryError("refused", f"message {job.id!r} was not accepted: {error}"))
            raise
        self._accept(job, asyncio.get_running_loop())

    async def _store(self, job: Job, outbox: Outbox) -> None:
        try:
            await outbox.add(job)
            if not self._accepting:  # closed meanwhile
                outbox.drop(job)
                raise _closed()
        except BaseException as error:
            self._room.release()
            if isinstance(error, (MessageError, DeliveryError)):
                self._counts.refused += 1
            raise

    async def _resume(self, outbox: Outbox) -> None:
        """Brings messages of earlier runs to the lanes, as there is room for them."""
        after = 0
        try:
            while page := await asyncio.to_thread(outbox.left_over, after):
                for row, took in page:
                    if not await self._resume_one(outbox, row, took):
                        return
                after = page[-1][0].seq
        except sqlite3.Error as error:
            _log.error("outbox: messages of earlier runs cannot be read, and stay there: %s", error)

    async def _resume_one(self, outbox: Outbox, row: Row, took: frozenset[str]) -> bool:
        """Accepts a message of an earlier run anew; False if the router is closed, and it stays where it is."""
        self._brought += 1
        job = Job(row.id, row.body, row.priority, self._brought, row.expires)
        job.seq, job.tried, job.took = row.seq, row.tried, took
        job.expires = min(row.expires or float("inf"), row.accepted + outbox.settings.max_age)
        try:
            await self._room.take(job.priority, job.number)
        except DeliveryError:
            return False
        if not self._accepting:
            self._room.release()
            return False
        outbox.unsettled[job.id] = job
        self._accept(job, asyncio.get_running_loop())
        try:
            job.message = decode(row.body)
        except Exception as error:  # noqa: BLE001 - written by other hands; the rest must go on
            self._give_up(job, "unreadable", f"its body in the outbox cannot be read: {text_of(error)}")
        else:
            self._turns.queue(job.priority, job.number, job)
        return True

    async def _redrive(self, letter: DeadLetter, to: str | None) -> None:
        """Accepts the message of a dead letter anew. While it is being written, the letter is still in the outbox."""
        if to is not None:
            try:
                self._redirected(letter.message, to)
            except NoRouteError as error:
                raise ConfigError(str(error)) from None
        if not self._open or not self._accepting:
            raise _closed()
        self._brought += 1
        job = redriven(letter, to, self._brought)
        await self._enter(job)
        if self._outbox is not None:
            self._outbox.taken([job.letter])
        self._turns.queue(job.priority, job.number, job)

    async def _wait_for_room(self, job: Job) -> None:
        try:
            await self._room.take(job.priority, job.number)
            if not self._accepting:  # closed just after the room was given
                self._room.release()
                raise _closed()
        except DeliveryError:
            self._counts.refused += 1
            raise

    def _accept(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        now = job.started = loop.time()
        job.deadline = now + self.settings.timeout
        if job.expires is not None:
            job.deadline = min(job.deadline, now + job.expires - time.time())
        self._counts.accepted += 1
        self._attempts.budget.deposit(now)
        self._unsettled[job.number] = job

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
        self._loop = loop
        # Runners go on from message to message, so they run in the context of the start and not of one message.
        self._context = contextvars.copy_context()

    # -- delivery

    def _start_runner(self) -> None:
        """Starts a task that owns the place it was started for; see :meth:`Lanes.queue`."""
        turn = Turn(0, 0)
        turn.held = True
        task = asyncio.get_running_loop().create_task(self._run_queued(turn), context=self._context)
        self._runners.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._runners.discard(task)
            self._attempts.give_back(turn)  # also where the task was cancelled before it began

        task.add_done_callback(ended)

    async def _run_queued(self, turn: Turn) -> None:
        """Settles queued messages, one after another, until none waits or its place has gone to another."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        while turn.held:
            turn.held = False
            job = self._turns.next()
            if job is None:
                return
            job.held = True
            try:
                await self._deliver(job)
            except Exception:  # noqa: BLE001 - a bug of ours: that message is a dead letter, the others go on
                _log.exception("message %s: delivery failed", job.id)
            finally:
                turn.held, job.held = job.held, False
            if loop.time() - since > _SLICE:
                await asyncio.sleep(0)
                since = loop.time()

    async def _deliver(self, job: Job) -> Delivery:
        """Decides and attempts, entered holding the job's turn, and settles; also when an exception stops it."""
        try:
            plan = await self._planned(job) if job.plan is None else job.plan
            if plan is not None:
                if plan.mode == "all":
                    await self._deliver_to_all(job, plan)
                else:
                    run = Run(job, plan, plan.pools, None, job)
                    job.runs.append(run)
                    await self._attempts.run(run)
        except BaseException as error:
            self._give_up(job, *stopped_by(error))
            raise
        return self._settle(job)

    async def _planned(self, job: Job) -> Plan | None:
        """The plan for the message, which has pools; None if the job failed instead."""
        loop = asyncio.get_running_loop()
        if self._attempts.limits.stopped or loop.time() >= job.deadline - TOO_SHORT:
            job.failed(*self._out_of_time("before its turn came"))
            return None
        try:
            if job.redrive is not None and job.redrive.target is not None:
                plan = self._redirected(job.message, job.redrive.target)
            elif self._decide is not None and self.settings.custom_rules:
                plan = await self._attempts.limits.within(job.deadline, self._decide(job.message))
            else:
                plan = self._core._plan(job.message)
        except (NoRouteError, MessageError, AccessDeniedError) as error:
            job.failed(_REASONS[type(error)], text_of(error))
            return None
        except TimeIsUpError:
            job.failed(*self._out_of_time("while custom rules ran"))
            return None
        except Exception as error:  # noqa: BLE001 - the message must not be lost, whatever happens
            job.failed(*stopped_by(error))
            return None
        job.plan = plan
        if not plan.pools:
            source = "the default" if plan.rule is None else f"rule {plan.rule!r}"
            job.failed("dead_letter", f"{source} says dead_letter")
            return None
        return plan

    def _redirected(self, message: object, target: str) -> Plan:
        """The plan of a redrive that named its target.

        Raises:
            NoRouteError: it is not there: a reload took it away, or the redrive was for another configuration.
        """
        try:
            plan: Plan = self._core._plan_to(message, target, "redrive")
        except ConfigError:
            raise NoRouteError(f"redriven to {target!r}, which is no pool and no destination") from None
        return plan

    def _out_of_time(self, when: str) -> tuple[Reason, str]:
        if self._attempts.limits.stopped:
            return "closed", f"the router was closed {when}"
        return "deadline", f"its time was up {when}"

    async def _deliver_to_all(self, job: Job, plan: Plan) -> None:
        parallel = self.settings.parallel
        missing = job.branches(plan, parallel=parallel)
        if not missing:
            return
        own, *others = missing
        if not parallel:
            for run in missing:
                await self._branch(run, self._attempts.run(run))
            return
        tasks = [asyncio.create_task(self._branch(run, self._attempts.run_in_turn(run))) for run in others]
        try:
            await self._branch(own, self._attempts.run(own))
            self._attempts.give_back(job)
            if tasks:
                await asyncio.wait(tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            raise
        for task in tasks:
            task.result()

    async def _branch(self, run: Run, attempts: Coroutine[Any, Any, None]) -> None:
        """Makes the attempts of a branch; a delivered one is not made again by another start."""
        await attempts
        if self._outbox is not None and run.status == "delivered":
            self._outbox.took(run.job, run.pools[0])

    def _give_up(self, job: Job, reason: Reason, detail: str) -> None:
        """Settles the message as it stands; what has not ended of it has failed. No effect if it is settled."""
        if job.delivery is None:
            job.failed(reason, detail)
            self._settle(job)

    def _settle(self, job: Job) -> Delivery:
        """Accounts for a message whose delivery has ended, once; says how it ended."""
        if job.delivery is not None:  # given up at close, while an attempt went on
            return job.delivery
        elapsed = asyncio.get_running_loop().time() - job.started
        delivery = job.delivery = delivery_of(job, elapsed, outbox=self._outbox is not None)
        letters = letters_of(job, delivery) if delivery.status != "delivered" or delivery.branches else []
        job.runs.clear()  # runs know their job: a cycle, which the garbage collector would have to find
        del self._unsettled[job.number]
        self._room.release()
        counts = self._counts
        if delivery.status == "delivered":
            counts.delivered += 1
            counts.latency.record(elapsed)
        elif delivery.status == "expired":
            counts.expired += 1
        elif delivery.status == "kept":
            counts.kept += 1
        else:
            counts.dead_lettered += 1
        self._keep(job, delivery, letters)
        if not self._unsettled:
            joining, self._joining = self._joining, []
            for done in joining:
                if not done.done():
                    done.set_result(None)
        return delivery

    def _keep(self, job: Job, delivery: Delivery, letters: list[DeadLetter]) -> None:
        """Tells the end of a message to the outbox, the dead letters, and those who brought it a second time."""
        numbers = [0] * len(letters)
        if self._outbox is not None and delivery.status != "kept":
            kept = letters if self.settings.max_kept else ()
            numbers = self._outbox.end(job, delivered=delivery.delivered, letters=kept) or numbers
        for letter, number in zip(letters, numbers, strict=True):
            self._counts.partial += letter.partial and delivery.delivered
            self._counts.reasons[letter.reason] = self._counts.reasons.get(letter.reason, 0) + 1
            self.dead_letters.add(letter, number)
        for waiter in job.waiters:
            if not waiter.done():
                waiter.set_result(delivery)

    async def _joined(self, seconds: float) -> bool:
        """Whether everything is settled, after at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.join()
        except TimeoutError:
            return False
        return True


def _closed() -> DeliveryError:
    return DeliveryError("closed", "the router is closed, or closing, and accepts nothing")
