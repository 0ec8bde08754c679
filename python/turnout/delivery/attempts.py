"""The attempts at one message: hold a destination, try it, and on failure another, as long as that is allowed.

What ends them:

- an attempt succeeds; or fails for good (``rejected``): then the message is at fault and the destination is not blamed,
  so that one bad message cannot get a destination ejected that serves all others;
- ``max_attempts`` were made, the retry budget is used up (it is charged before the backoff, or retries waiting in
  backoff would escape it), or the deadline has passed or would pass during the backoff.

Every further attempt waits for a full-jitter backoff first, also one on another destination: a random time below
``base_delay`` * 2**(attempts made - 1), at most ``max_delay`` (Brooker, "Exponential Backoff and Jitter", AWS 2015). So
messages that failed together do not fall on the next destination together. A hedge (:mod:`.hedging`) is not a further
attempt, but a second one at the same time.

Further attempts go to destinations not tried yet; when all were, or those left may not be used, to any. Without
failover they go to the first destination again, and no other, unless an operator fails it over.

While it waits, for its backoff or for a destination, a message gives up its place in the lanes: messages for a pool
that is out wait at nobody's expense. Nor can those that hang take all places, or those that wait all the room: see
:mod:`.shares`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ..errors import NoDestinationError
from ..transports import Transports
from .budget import RetryBudget
from .clock import OnLoop
from .failures import after, count_of, last_of, moment, stopped_by
from .hedging import Hedging
from .jobs import Job, Run, Turn
from .lanes import Lanes
from .ledger import Counts
from .limits import TOO_SHORT, TimeIsUpError
from .rooms import WaitingRooms
from .sending import Made, Sender
from .settings import DeliverySettings
from .shares import Shares

if TYPE_CHECKING:
    from .._core import Lease
    from .outbox import Outbox


class Attempts:
    """Makes attempts; shared by all messages of a deliverer. Of one event loop; not for threads."""

    def __init__(
        self,
        core: Any,
        settings: DeliverySettings,
        transports: Transports,
        lanes: Lanes[Job],
        room: Lanes[Job],
        counts: Counts,
        on: OnLoop,
        rng: random.Random,
    ) -> None:
        """``lanes``: the places of messages under way. ``room``: for all that are accepted."""
        self.budget = RetryBudget(settings.budget_percent, settings.budget_per_second)
        self.rooms = WaitingRooms()
        self.sender = Sender(transports, counts, on, self.rooms.wake)
        self.limits = self.sender.limits
        self.journal: Outbox | None = None
        """Told of each attempt that failed, and before each that begins of a message of an earlier run."""
        self._settings = settings
        self._lanes = lanes
        self._counts = counts
        self._on = on
        self._rng = rng
        self._shares = Shares(core, settings, self.sender.busy, lanes, room)
        self._hedging = Hedging(self.sender, self.budget, lanes, self._shares, counts, {})

    @property
    def settings(self) -> DeliverySettings:
        """The settings in force."""
        return self._settings

    @settings.setter
    def settings(self, settings: DeliverySettings) -> None:
        self._settings = self._shares.settings = settings
        self.budget.configure(settings.budget_percent, settings.budget_per_second)
        self._hedging.forget()

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return self.sender.in_flight

    async def run(self, run: Run) -> None:
        """Delivers one branch of a message, or gives it up; the run tells which. Entered holding the run's turn; when
        it returns the turn may or may not be held.

        Raises:
            BaseException: only what ends the task: its cancellation, KeyboardInterrupt, SystemExit. The run is ended.
        """
        loop = self._on.loop
        try:
            if run.tried >= self._settings.max_attempts:
                self._used_up(run)
                return
            number = run.earlier + run.tried + 1
            while (lease := await self._hold(run, number, loop)) is not None:
                if run.job.resumed and self.journal is not None:
                    await self.journal.begin(run)
                settings = self._settings
                made: tuple[Made, ...]
                if settings.hedge_share and settings.failover and run.job.ordering is None:
                    made = await self._hedging.attempt(run, lease, number, settings)
                else:
                    limit = settings.attempt_timeout
                    made = (await self.sender.send(run.job, lease, number, run.attempts.append, limit=limit),)
                if self._ends(run, made):
                    return
                number += len(made)
                if not await self._again(run, loop):
                    return
                run.exclude = self._next_exclude(run, made)
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

    async def _hold(self, run: Run, number: int, loop: asyncio.AbstractEventLoop) -> Lease | None:
        """A destination for the next attempt, after waiting for it if need be; None if the run ended instead."""
        waited = False
        while not self._time_is_up(run, loop.time()):
            try:
                lease = self._shares.acquire(run, run.exclude, number)
            except NoDestinationError as error:
                # All were tried, or those left may not be used; or an operator moved the pool on: messages follow.
                if run.exclude and (self._settings.failover or error.moved):
                    run.exclude = ()
                    continue
                may_go_on = await self._freed(run, error)
            else:
                if lease is None:
                    may_go_on = await self._turn_of_pool(run)
                else:
                    if waited:  # there may be room for the next as well
                        for pool in run.pools:
                            self.rooms.wake(pool)
                    return lease
            if not may_go_on:
                return None
            waited = True
        return None

    def _ends(self, run: Run, made: tuple[Made, ...]) -> bool:
        """Whether the run ended with these attempts."""
        for one in made:
            if one.failure is None:
                run.delivered(one.pool, one.destination, one.value)
                self._shares.delivered(one.pool)
                return True
        run.tried += len(made)
        if self.journal is not None:
            self.journal.tried(run)
        for one in made:
            failure = one.failure
            if failure is not None and not failure.retryable:
                run.failed("rejected", f"{one.destination}: {failure.kind}: {failure.text}")
        return run.status is not None

    async def _again(self, run: Run, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether there may be another attempt; returns when it is time for it."""
        if self._time_is_up(run, loop.time()):
            return False
        last = f"after {count_of(run.earlier + run.tried)}; the last: {last_of(run)}"
        if run.tried >= self._settings.max_attempts:
            run.failed("attempts", f"given up {last}")
            return False
        delay = self.backoff(run.tried)
        now = loop.time()
        if now + delay >= run.job.deadline:
            run.failed("deadline", f"no time for another attempt {last}")
            return False
        if not self.budget.withdraw(now):
            run.failed("budget", f"the retry budget allows no other attempt {last}")
            return False
        self._counts.retries += 1
        return await self._wait(run, asyncio.sleep(delay))

    def _used_up(self, run: Run) -> None:
        """Ends a run whose attempts were all made before this process began."""
        if run.crashed:
            why = f"the process ended during an attempt, the last of {run.tried} that it may have; it may be why"
            run.failed("poison", why)
        else:
            run.failed("attempts", f"{count_of(run.tried)} failed before the process was started anew")

    def backoff(self, attempts: int) -> float:
        """Seconds to wait after so many attempts: random, from 0 to the exponential bound."""
        settings = self._settings
        # The exponent is bounded because 2.0**1024 overflows; max_delay is reached long before.
        return self._rng.random() * min(settings.max_delay, settings.base_delay * 2.0 ** min(attempts - 1, 64))

    def _next_exclude(self, run: Run, made: tuple[Made, ...]) -> tuple[str, ...]:
        tried = tuple(one.destination for one in made)
        if self._settings.failover:
            return run.exclude + tried
        return tuple(known for pool in run.pools for known in self._shares.destinations(pool) if known not in tried)

    async def _freed(self, run: Run, error: NoDestinationError) -> bool:
        """Whether a destination may be free now, after waiting for that; False if the run ended instead."""
        loop = self._on.loop
        until = None if error.retry_at is None else loop.time() + error.retry_at - time.time()
        if until is not None and until >= run.job.deadline:
            until = None
        waits = error.full or self._settings.wait_for_recovery
        held = any(self.sender.held.get(known) for pool in run.pools for known in self._shares.destinations(pool))
        if not waits or (until is None and not held):
            when = "" if error.retry_at is None else f"; it may be tried again {moment(error.retry_at)}"
            run.failed("overloaded" if error.overloaded else "no_destination", f"{error}{after(run)}{when}")
            return False
        job = run.job
        if not await self._wait(run, self.rooms.wait(run.pools, job.priority, job.number, until)):
            if run.reason == "deadline":
                run.detail = f"{run.detail}; {error}"
            return False
        return True

    async def _turn_of_pool(self, run: Run) -> bool:
        """Whether a pool may have another attempt, after waiting for that; False if the run ended instead."""
        job = run.job
        if await self._wait(run, self.rooms.wait(run.pools, job.priority, job.number, None)):
            return True
        if run.reason == "deadline":
            pool = run.pools[0]
            run.detail = f"{run.detail}; pool {pool!r}: too many attempts were under way while others need room too"
        return False

    async def _wait(self, run: Run, event: Coroutine[Any, Any, object]) -> bool:
        """Awaits ``event`` and then a place in the lanes, until the message's deadline; False if the run ended then.

        It waits in a queue of its pool, and ends where that is full.
        """
        queue = self._shares.enter(run.pools)
        if queue is None:
            event.close()
            waiting = self._shares.waiting(run.pools[0])
            full = f"pool {run.pools[0]!r}: {waiting} messages wait for it, and others need room too"
            run.failed("queue_full", full + after(run))
            return False
        turn = run.turn
        self.give_back(turn)
        try:
            await self.limits.within(run.job.deadline, self._event_and_turn(event, turn))
        except TimeIsUpError:
            self._time_is_up(run, run.job.deadline)
            return False
        finally:
            self._shares.leave(queue)
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
            run.failed("closed", "the router was closed" + after(run, " before any attempt"))
            return True
        if now >= run.job.deadline - TOO_SHORT:
            run.failed("deadline", "its time is up" + after(run, " before any attempt"))
            return True
        return False
