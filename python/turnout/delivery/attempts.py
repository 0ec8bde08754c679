"""The attempts at one message: hold a destination, try it, and on failure another, as long as that is allowed.

What ends them:

- an attempt succeeds; or fails for good (``rejected``): then the message is at fault and the destination is not blamed,
  so that one bad message cannot get a destination ejected that serves all others;
- ``max_attempts`` were made, the retry budget is used up (it is charged before the backoff, or retries waiting in
  backoff would escape it), or the deadline has passed or would pass during the backoff.

Every further attempt waits for a full-jitter backoff first, also one on another destination: a random time below
``base_delay`` * 2**(attempts made - 1), at most ``max_delay`` (Brooker, "Exponential Backoff and Jitter", AWS 2015). So
messages that failed together do not fall on the next destination together.

Further attempts go to destinations not tried yet; when all were, or those left may not be used, to any. Without
failover they go to the first destination again, and no other, unless an operator fails it over.

While it waits, for its backoff or for a destination, a message gives up its place in the lanes: messages for a pool
that is out wait at nobody's expense. And attempts that hang cannot take all places: a pool with more than eight times
as many attempts under way as there are free places gets no further one (dynamic thresholds: Choudhury and Hahne, 1998).
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import ConfigError, DeliveryError, NoDestinationError
from ..transports import Transport, Transports
from .budget import RetryBudget
from .jobs import Job, Run, Turn
from .lanes import Lanes
from .ledger import Counts
from .limits import Limits, TimeIsUpError
from .records import Attempt, Outcome, Reason
from .rooms import WaitingRooms
from .settings import DeliverySettings

if TYPE_CHECKING:
    from .._core import Lease

_LONGEST_TEXT: Final = 500
"""Characters of an error that are kept: dead letters stay in memory."""

TOO_SHORT: Final = 0.0001
"""Seconds before the deadline in which nothing is begun any more; above the resolution of the loop's timers."""


_SHARE: Final = 8
"""Attempts a pool may have under way for each place that is free: one pool that hangs leaves a ninth of the places to
the others, two leave a seventeenth. Below ten places none is left."""


class Attempts:
    """Makes attempts; shared by all messages of a deliverer. Of one event loop; not for threads."""

    def __init__(
        self,
        core: Any,
        settings: DeliverySettings,
        transports: Transports,
        lanes: Lanes[Job],
        counts: Counts,
        rng: random.Random,
    ) -> None:
        self.settings = settings
        self.in_flight = 0
        self.limits = Limits()
        """Stopped when the router closes and its time to drain is over: nothing goes on."""
        self.budget = RetryBudget(settings.budget_percent, settings.budget_per_second)
        self.rooms = WaitingRooms()
        self.on_failure: Callable[[Job], None] | None = None
        """Told of each attempt that failed; the outbox counts them."""
        self._core = core
        self._transports = transports
        self._lanes = lanes
        self._counts = counts
        self._rng = rng
        self._held: dict[str, int] = {}  # leases held, by destination
        self._busy: dict[str, int] = {}  # the same, by pool
        self._members: dict[str, tuple[str, ...]] = {}  # destinations by pool, of one generation
        self._generation = 0

    async def run(self, run: Run) -> None:
        """Delivers one branch of a message, or gives it up; the run tells which. Entered holding the run's turn; when
        it returns the turn may or may not be held.

        Raises:
            BaseException: only what ends the task: its cancellation, KeyboardInterrupt, SystemExit. The run is ended.
        """
        try:
            await self._run(run)
        except BaseException as error:
            run.failed(*stopped_by(error))
            raise

    async def run_in_turn(self, run: Run) -> None:
        """As :meth:`run`, taking the run's turn first and giving it back in the end."""
        turn = run.turn
        try:
            if await self.take(turn, run.job.deadline):
                await self.run(run)
            else:
                self._time_is_up(run, run.job.deadline)
        except BaseException as error:
            run.failed(*stopped_by(error))
            raise
        finally:
            self.give_back(turn)

    async def _run(self, run: Run) -> None:
        loop = asyncio.get_running_loop()
        number = 1
        while (lease := await self._hold(run, number, loop)) is not None:
            if await self._attempt(run, lease, number, loop) or not await self._again(run, number, loop):
                return
            run.exclude = self._next_exclude(run, lease.destination)
            number += 1

    async def _hold(self, run: Run, number: int, loop: asyncio.AbstractEventLoop) -> Lease | None:
        """A destination for the next attempt, after waiting for it if need be; None if the run ended instead."""
        waited = False
        while not self._time_is_up(run, loop.time()):
            if self._crowded(run):
                may_go_on = await self._turn_of_pool(run)
            else:
                try:
                    lease = run.plan.acquire(branch=run.index, exclude=run.exclude, attempt=number)
                except NoDestinationError as error:
                    # All were tried, or those left may not be used; or an operator moved the pool on: messages follow.
                    if run.exclude and (self.settings.failover or error.moved):
                        run.exclude = ()
                        continue
                    may_go_on = await self._freed(run, error)
                else:
                    if waited:  # there may be room for the next as well
                        for pool in run.pools:
                            self.rooms.wake(pool)
                    return lease
            if not may_go_on:
                return None
            waited = True
        return None

    async def _attempt(self, run: Run, lease: Lease, number: int, loop: asyncio.AbstractEventLoop) -> bool:
        """One attempt; True if the run ended with it."""
        job, destination, pool = run.job, lease.destination, lease.pool
        self._counts.attempts += 1
        self.in_flight += 1
        self._held[destination] = self._held.get(destination, 0) + 1
        self._busy[pool] = self._busy.get(pool, 0) + 1
        started_at, started = time.time(), loop.time()
        failure: _Failure | None = _STOPPED
        try:
            deadline = min(job.deadline, started + self.settings.attempt_timeout)
            sending = self._transport(destination).send(
                job.message,
                destination,
                message_id=job.id,
                attempt=job.tried + number,
                deadline=started_at + (deadline - started),
                expires=job.expires,
            )
            value = await self.limits.within(deadline, sending)
            lease.success(_utilisation(value))
            failure = None
            run.delivered(pool, destination, value)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises is a failed attempt
            failure = self._judged(error, loop.time() - started)
            _end(lease, failure)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was cancelled, but something that the transport awaited.
            failure = _Failure("failure", type(error).__name__, text_of(error))
            _end(lease, failure)
        finally:
            lease.cancel()  # no effect if it has ended
            self.in_flight -= 1
            self._held[destination] -= 1
            self._busy[pool] -= 1
            run.attempts.append(_record(number, lease, failure, started_at, loop.time() - started))
            if self.rooms:
                self.rooms.wake(pool)
        if failure is None:
            return True
        if self.on_failure is not None:
            self.on_failure(job)
        if not failure.retryable:
            run.failed("rejected", f"{destination}: {failure.kind}: {failure.text}")
        return not failure.retryable

    def _transport(self, destination: str) -> Transport:
        try:
            return self._transports.of(destination)
        except ConfigError as error:
            raise DeliveryError("no_transport", str(error), retryable=False) from error

    def _judged(self, error: Exception, elapsed: float) -> _Failure:
        """What an attempt's exception means."""
        if isinstance(error, TimeIsUpError):
            if self.limits.stopped:
                return _STOPPED
            return _Failure("failure", "timeout", f"no answer after {elapsed:.3g} s")
        if not isinstance(error, DeliveryError):
            return _Failure("failure", type(error).__name__, text_of(error))
        outcome: Outcome = "failure" if error.retry_after is None or not error.retryable else "overloaded"
        return _Failure(outcome, error.kind, text_of(error), error.retryable, error.retry_after)

    async def _again(self, run: Run, number: int, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether there may be another attempt after ``number`` of them; returns when it is time for it."""
        if self._time_is_up(run, loop.time()):
            return False
        last = f"after {_count(number)}; the last: {_last(run)}"
        if number >= self.settings.max_attempts:
            run.failed("attempts", f"given up {last}")
            return False
        delay = self.backoff(number)
        now = loop.time()
        if now + delay >= run.job.deadline:
            run.failed("deadline", f"no time for another attempt {last}")
            return False
        if not self.budget.withdraw(now):
            run.failed("budget", f"the retry budget allows no other attempt {last}")
            return False
        self._counts.retries += 1
        return await self._wait(run, asyncio.sleep(delay))

    def backoff(self, attempts: int) -> float:
        """Seconds to wait after so many attempts: random, from 0 to the exponential bound."""
        settings = self.settings
        # The exponent is bounded because 2.0**1024 overflows; max_delay is reached long before.
        return self._rng.random() * min(settings.max_delay, settings.base_delay * 2.0 ** min(attempts - 1, 64))

    def _next_exclude(self, run: Run, tried: str) -> tuple[str, ...]:
        if self.settings.failover:
            return (*run.exclude, tried)
        return tuple(member for pool in run.pools for member in self._destinations(pool) if member != tried)

    async def _freed(self, run: Run, error: NoDestinationError) -> bool:
        """Whether a destination may be free now, after waiting for that; False if the run ended instead."""
        loop = asyncio.get_running_loop()
        until = None if error.retry_at is None else loop.time() + error.retry_at - time.time()
        if until is not None and until >= run.job.deadline:
            until = None
        waits = error.full or self.settings.wait_for_recovery
        held = any(self._held.get(known) for pool in run.pools for known in self._destinations(pool))
        if not waits or (until is None and not held):
            after = f" after {_count(len(run.attempts))}; the last: {_last(run)}" if run.attempts else ""
            run.failed("no_destination", f"{error}{after}")
            return False
        job = run.job
        if not await self._wait(run, self.rooms.wait(run.pools, job.priority, job.number, until)):
            if run.reason == "deadline":
                run.detail = f"{run.detail}; {error}"
            return False
        return True

    def _crowded(self, run: Run) -> bool:
        """Whether the pool has so many attempts under way that what room is left is for other pools."""
        busy = self._busy.get(run.pools[0], 0)
        if busy <= _SHARE * (self._lanes.free + 1):  # its own place is free as yet
            return False
        self._destinations(run.pools[0])  # brings the members up to date
        return len(self._members) > 1

    async def _turn_of_pool(self, run: Run) -> bool:
        """Whether the pool may have another attempt, after waiting for that; False if the run ended instead."""
        job, pool = run.job, run.pools[0]
        if await self._wait(run, self.rooms.wait((pool,), job.priority, job.number, None)):
            return True
        if run.reason == "deadline":
            run.detail = f"{run.detail}; pool {pool!r}: too many attempts were under way while others need room too"
        return False

    async def _wait(self, run: Run, event: Coroutine[Any, Any, object]) -> bool:
        """Awaits ``event`` and then a place in the lanes, until the message's deadline; False if the run ended then."""
        turn = run.turn
        self.give_back(turn)
        try:
            await self.limits.within(run.job.deadline, self._event_and_turn(event, turn))
        except TimeIsUpError:
            self._time_is_up(run, run.job.deadline)
            return False
        return True

    async def _event_and_turn(self, event: Coroutine[Any, Any, object], turn: Turn) -> None:
        await event
        await self._lanes.take(turn.priority, turn.number)
        turn.held = True

    async def take(self, turn: Turn, deadline: float) -> bool:
        """Takes a place in the lanes; False if the deadline passes first, or deliveries are stopped."""
        try:
            await self.limits.within(deadline, self._lanes.take(turn.priority, turn.number))
        except TimeIsUpError:
            return False
        turn.held = True
        return True

    def give_back(self, turn: Turn) -> None:
        """Gives the turn's place back, if it holds one."""
        if turn.held:
            turn.held = False
            self._lanes.release()

    def _time_is_up(self, run: Run, now: float) -> bool:
        """Whether nothing may be tried any more; then the run ended."""
        if self.limits.stopped:
            run.failed("closed", "the router was closed" + _after(run))
            return True
        if now >= run.job.deadline - TOO_SHORT:
            run.failed("deadline", "its time is up" + _after(run))
            return True
        return False

    def _destinations(self, pool: str) -> Iterable[str]:
        """The destinations of a pool."""
        generation: int = self._core.generation
        if generation != self._generation:
            self._members = {
                known["id"]: tuple(member["id"] for member in known["destinations"]) for known in self._core._pools()
            }
            self._generation = generation
        return self._members.get(pool, ())


def _utilisation(answer: object) -> float | None:
    """The load that a destination's answer tells, if it does."""
    told: Any = getattr(answer, "utilisation", None)
    return told if type(told) in (float, int) and 0.0 <= told <= sys.float_info.max else None


class _Failure(NamedTuple):
    outcome: Outcome
    kind: str
    text: str
    retryable: bool = True
    retry_after: float | None = None


_STOPPED: Final = _Failure("cancelled", "cancelled", "stopped before it ended")


def _end(lease: Lease, failure: _Failure) -> None:
    """Gives the lease its outcome. A message refused for good is the message's fault, not the destination's."""
    if failure.outcome == "cancelled" or not failure.retryable:
        lease.cancel()
    elif failure.outcome == "overloaded":
        lease.overloaded(failure.retry_after)
    else:
        lease.failure(failure.kind)


def _record(number: int, lease: Lease, failure: _Failure | None, started: float, elapsed: float) -> Attempt:
    outcome: Outcome = "success"
    kind = text = None
    retryable = True
    if failure is not None:
        outcome, kind, text, retryable, _ = failure
    return Attempt(
        number, lease.destination, lease.pool, outcome, kind, text, retryable, lease.is_probe, started, elapsed
    )


def stopped_by(error: BaseException) -> tuple[Reason, str]:
    """The reason and detail for a message whose task ended by an exception that is not an attempt's."""
    if isinstance(error, Exception):
        return "internal", f"{type(error).__name__}: {text_of(error)}"
    return "cancelled", f"the task that delivered it was stopped by {type(error).__name__}"


def _after(run: Run) -> str:
    return f" after {_count(len(run.attempts))}; the last: {_last(run)}" if run.attempts else " before any attempt"


def _count(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _last(run: Run) -> str:
    last = run.attempts[-1]
    return f"{last.destination}: {last.kind}: {last.error}"


def text_of(error: BaseException) -> str:
    """The exception's text, shortened."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - somebody else's exception; it must not take the message with it
        text = f"(no text: {type(broken).__name__})"
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
