"""Who attends to a message whose turn has come: decides, attempts in every branch, settles.

A message of ``dispatch`` is attended to by the task that waits for it. Those of ``accept`` have none: runners, tasks
that own a place in the lanes, settle one after another, as many at once as there are places.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..errors import AccessDeniedError, ConfigError, MessageError, NoRouteError
from .attempts import Attempts
from .clock import OnLoop, clock
from .failures import stopped_by, text_of
from .jobs import Job, Run, Turn
from .lanes import Lanes
from .limits import TOO_SHORT, TimeIsUpError
from .outbox import Outbox
from .records import Delivery, Reason
from .settings import DeliverySettings
from .unsettled import Unsettled
from .waiting import Waiting

if TYPE_CHECKING:
    from .._core import Plan

Decide = Callable[[Any], Coroutine[Any, Any, "Plan"]]
"""Plans a message, custom rules included; raises what the core's ``_plan`` raises."""

_SLICE: Final = 0.001
"""Seconds a runner settles messages without letting others use the event loop."""

_AT_ONCE: Final = 2
"""Runners that one which begins starts."""

_REASONS: Final[dict[type[Exception], Reason]] = {
    NoRouteError: "no_route", MessageError: "unreadable", AccessDeniedError: "access_denied",
}  # fmt: skip

_LATER: Final = frozenset({"attempts", "budget", "deadline", "no_destination", "overloaded", "queue_full"})
"""Reasons for which a further round may help."""

_log = logging.getLogger(__name__)


class Runners:
    """Attends to the messages of one deliverer. Of one event loop; not for threads."""

    def __init__(
        self,
        core: Any,
        settings: DeliverySettings,
        turns: Lanes[Job],
        attempts: Attempts,
        unsettled: Unsettled,
        outbox: Outbox | None,
        decide: Decide | None,
        on: OnLoop,
    ) -> None:
        self.settings = settings
        self.context: contextvars.Context | None = None
        """What runners run in. They go on from message to message, so it is that of the start and not of a message."""
        self.tasks: set[asyncio.Task[None]] = set()
        """The runners there are."""
        self._places = 0
        """Places that were taken for runners that there are not yet: only while some have not begun."""
        self._unbegun: set[Turn] = set()
        """The turns of runners that have not begun."""
        self._core = core
        self._turns = turns
        self._attempts = attempts
        self._unsettled = unsettled
        self._outbox = outbox
        self._decide = decide
        self._on = on
        self.waiting: Waiting
        """Set by the deliverer: where messages wait that may not begin yet."""

    def start_one(self) -> None:
        """Sees to it that a task owns the place it was started for; see :meth:`Lanes.queue`.

        Each runner that begins starts two more, as long as anybody waits. So messages that need not wait are settled by
        few, one after another, and those that do have as many as there are places after a few rounds of the loop.
        """
        self._places += 1
        if not self._unbegun:
            self._start_some()

    def _start_some(self) -> None:
        """Starts up to two runners, and gives back all places if nobody waits for one."""
        started = 0
        while self._places and (started < _AT_ONCE or not self._turns.is_waited_for):
            self._places -= 1
            if self._turns.is_waited_for:
                self._start()
                started += 1
            else:
                self._turns.release()

    def _start(self) -> None:
        turn = Turn(0, 0)
        turn.held = True
        task = asyncio.get_running_loop().create_task(self._run(turn), context=self.context)
        self.tasks.add(task)
        self._unbegun.add(turn)

        def ended(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            self._attempts.give_back(turn)  # also where the task was cancelled before it began
            if turn in self._unbegun:
                self._began(turn)

        task.add_done_callback(ended)

    async def _run(self, turn: Turn) -> None:
        """Settles queued messages, one after another, until none waits or its place has gone to another."""
        self._began(turn)
        loop = self._on.loop
        since = loop.time()
        while turn.held:
            turn.held = False
            job = self._turns.next()
            if job is None:
                return
            if job.delivery is not None:  # given up while it was queued
                turn.held = True
                continue
            job.held = True
            try:
                await self._deliver(job)
            except Exception as error:  # noqa: BLE001 - a bug of ours: that message is a dead letter, the others go on
                _log.exception("message %s: delivery failed", job.id)
                self._unsettled.give_up(job, *stopped_by(error))
            except BaseException as error:
                self._stopped(job, error)
                raise
            finally:
                turn.held, job.held = job.held, False
            if loop.time() - since > _SLICE:
                await asyncio.sleep(0)
                since = loop.time()

    def _began(self, turn: Turn) -> None:
        self._unbegun.discard(turn)
        self._start_some()

    def begin(self, job: Job) -> None:
        """Takes over a message that is in memory, to deliver it behind, now or when it may begin."""
        if self.waiting.began(job):
            self._turns.queue(job.priority, job.number, job)

    async def attend(self, job: Job, on_accept: Callable[[], None] | None) -> Delivery:
        """Delivers a message that was accepted just now, in the calling task, and settles it; also when the task is
        cancelled, unless somebody else wants the message: then a runner goes on with it."""
        waiter: asyncio.Future[Delivery] | None = None
        ours = True
        try:
            if on_accept is not None:
                on_accept()
            if job.not_before is not None or job.ordering is not None or self.settings.schedules:
                # It may leave the lanes, and comes back with a runner.
                waiter = asyncio.get_running_loop().create_future()
                job.waiters += (waiter,)
            if not self.waiting.began(job):
                ours = False
                return await _end_of(waiter)
            if self._turns.try_take():
                job.held = True
            else:
                await self._attempts.take(job, job.deadline)  # if its time is up before, delivery ends with that
            delivery = await self._deliver(job)
            if delivery is None:
                self._attempts.give_back(job)
                ours = False
                delivery = await _end_of(waiter)
            return delivery
        except BaseException as error:
            if waiter is not None:
                waiter.cancel()
            if ours or (job.order in self.waiting.resting and not job.is_wanted):
                self._stopped(job, error)
            raise
        finally:
            if ours:
                self._attempts.give_back(job)

    def abandon(self, job: Job, error: BaseException) -> None:
        """Nobody waits any more for a message that was queued: it is given up, unless an attempt at it may be under
        way, which goes on."""
        if job.entering is None and job.delivery is None and not job.is_wanted and not job.runs:
            self._unsettled.give_up(job, *stopped_by(error))

    def _stopped(self, job: Job, error: BaseException) -> None:
        """The task that attended to the message was stopped."""
        if job.delivery is None and isinstance(error, asyncio.CancelledError) and job.is_wanted:
            self._attempts.give_back(job)
            job.reopen()
            self._turns.queue(job.priority, job.number, job)
        else:
            self._unsettled.give_up(job, *stopped_by(error))

    async def _deliver(self, job: Job) -> Delivery | None:
        """Decides and attempts, entered holding the job's turn, and settles; None if it waits for others of its key or
        for its next round instead."""
        plan = await self._planned(job) if job.plan is None else job.plan
        if plan is not None:
            if not job.runs:
                job.begin(plan)
                self.waiting.decided(job)
            if job.ordering is not None:
                await self._deliver_in_order(job)
                if any(run.status is None for run in job.runs):
                    self.waiting.stands(job)
                    return None
            elif plan.mode == "all":
                await self._deliver_to_all(job)
            else:
                (run,) = job.runs
                if run.status is None:  # else it ended just before its task was cancelled
                    await self._attempts.run(run)
        if self.settings.schedules and self._next_round(job):
            self._attempts.give_back(job)
            if self._outbox is not None:
                job.in_memory_only = not await self._outbox.rest(job)
            if job.delivery is None:
                self.waiting.again(job)
            return None
        return self._unsettled.settle(job)

    def _next_round(self, job: Job) -> bool:
        """Whether there is another round of attempts for the message later; then it is put by for that."""
        stays = self._outbox is not None or not self.waiting.closing
        if self._attempts.limits.stopped or job.delivery is not None or not stays:
            return False
        delays = [delay for run in job.runs if (delay := self._delay_of(run)) is not None]
        if not job.runs and job.reason in _LATER:
            delays = list(self.settings.schedule[job.round : job.round + 1])
        if not delays:
            return False
        until = clock.now() + min(delays)
        if until >= job.ends:
            return False
        for run in job.runs:
            if self._delay_of(run) is not None:
                run.later()
        job.put_by()
        job.round, job.not_before = job.round + 1, until
        return True

    def _delay_of(self, run: Run) -> float | None:
        """Seconds until the branch is attempted again in another round; None if it has ended."""
        if run.reason not in _LATER:
            return None
        schedule = self.settings.schedule_of(run.pools[0])
        return schedule[run.job.round] if run.job.round < len(schedule) else None

    async def _deliver_in_order(self, job: Job) -> None:
        """Attempts all branches in which no message of the same key stands before this one, and those that become so
        meanwhile; returns when all these have ended. No hedge begins beside an attempt of such a message."""
        own = job.held
        tasks: dict[asyncio.Task[None], Run] = {}
        begun: set[Run] = set()
        try:
            while True:
                for run in [run for run in job.runs if run.status is None and run not in begun]:
                    if not self.waiting.may_attempt(run) or (tasks and not self.settings.parallel):
                        continue
                    begun.add(run)
                    if own and len(job.runs) == 1:
                        await self._branch(run, self._attempts.run(run))
                        return
                    run.turn = Turn(job.priority, job.number)
                    tasks[asyncio.create_task(self._branch(run, self._attempts.run_in_turn(run)))] = run
                self._attempts.give_back(job)
                if not tasks:
                    return
                job.changed = asyncio.get_running_loop().create_future()
                done, _ = await asyncio.wait([*tasks, job.changed], return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in tasks if task in done]:
                    del tasks[task]
                    task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            raise
        finally:
            job.changed = None

    async def _planned(self, job: Job) -> Plan | None:
        """The plan for the message, which has pools; None if the job failed instead."""
        if self._attempts.limits.stopped or self._on.loop.time() >= job.deadline - TOO_SHORT:
            job.failed(*self._out_of_time("before its turn came"))
            return None
        try:
            if job.redrive is not None and job.redrive.target is not None:
                plan = self.redirected(job.message, job.redrive.target)
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
        if not plan.pools:
            job.plan = plan
            source = "the default" if plan.rule is None else f"rule {plan.rule!r}"
            job.failed("dead_letter", f"{source} says dead_letter")
            return None
        return plan

    def redirected(self, message: object, target: str) -> Plan:
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

    async def _deliver_to_all(self, job: Job) -> None:
        parallel = self.settings.parallel
        missing = job.missing(parallel=parallel)
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
        if self._outbox is not None and run.status == "delivered" and run.index is not None:
            self._outbox.took(run)
        if run.job.ordering is not None and self._delay_of(run) is None:
            self.waiting.ended(run)


async def _end_of(waiter: asyncio.Future[Delivery] | None) -> Delivery:
    """How a message ended that has left its task."""
    if waiter is None:
        raise RuntimeError("a message rests that nothing was said to make it rest")
    return await waiter
