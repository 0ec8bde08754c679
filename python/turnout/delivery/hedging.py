"""Hedged attempts: where one takes longer than most, another begins beside it, and the first success wins.

It cuts the tail that a few slow answers make, at the price of a few attempts more (Dean and Barroso, "The Tail at
Scale", CACM 2013). A hedge begins when an attempt has lasted longer than the percentile of the pool's latencies of
late; on another destination; if the retry budget allows it, which is charged first; if a place is free that nobody
waits for; and if the message may have another attempt at all. The loser is cancelled, and nobody is blamed for that.

The percentile is of attempts that succeeded, and of those that a hedge outran, which would have lasted longer than they
did. Without these, or with the hedges themselves, it would fall with each window, and hedges grow to the budget.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .._core import Histogram
from ..errors import NoDestinationError
from .budget import RetryBudget
from .failures import OUTRUN
from .jobs import Job, Run
from .lanes import Lanes
from .ledger import Counts
from .limits import TOO_SHORT, Leash
from .sending import Made, Sender
from .settings import DeliverySettings
from .shares import Shares

if TYPE_CHECKING:
    from .._core import Lease

WINDOW: Final = 10.0
"""Seconds of which latencies are of late, if so many were seen in them as are needed; else it takes longer."""
_SHORTEST: Final = 0.001
"""Seconds before a hedge at least: the loop's timers are no finer."""


class RecentLatency:
    """A percentile of the latencies of late: of the last whole window, or at first of the one under way.

    Not of any that is under way, for of messages that come together the fast ones end first.
    """

    __slots__ = ("_count", "_since", "_whole", "_window", "seconds")

    def __init__(self, now: float) -> None:
        self.seconds: float | None = None
        """The percentile; None while too few were seen."""
        self._window = Histogram()
        self._count = 0
        self._since = now
        self._whole = False

    def record(self, seconds: float, now: float, share: float, needed: int) -> None:
        """Counts one. ``share``: the percentile, 0 to 1. ``needed``: how many a window must hold to tell it."""
        self._window.record(seconds)
        self._count += 1
        if self._count < needed:
            return
        if now - self._since >= WINDOW:
            self.seconds = self._window.quantile(share)
            self._window, self._count, self._since, self._whole = Histogram(), 0, now, True
        elif not self._whole and self._count % needed == 0:
            self.seconds = self._window.quantile(share)


@dataclass(frozen=True, slots=True)
class Hedging:
    """What hedges need; shared by all messages of a deliverer. Of one event loop; not for threads."""

    sender: Sender
    budget: RetryBudget
    lanes: Lanes[Job]
    shares: Shares
    counts: Counts
    latencies: dict[str, RecentLatency]
    """By pool."""

    async def attempt(self, run: Run, lease: Lease, number: int, settings: DeliverySettings) -> tuple[Made, ...]:
        """One attempt, and if need be another beside it; both have ended. Raises as :meth:`Sender.send`."""
        loop = asyncio.get_running_loop()
        delay = self._latency(lease.pool).seconds
        made: tuple[Made, ...]
        if delay is None or run.tried + 1 >= settings.max_attempts:
            note, limit = run.attempts.append, settings.attempt_timeout
            made = (await self.sender.send(run.job, lease, number, note, limit=limit),)
        else:
            delay = max(delay, _SHORTEST)
            made = await _Race(self, run, lease, number, settings, delay).run()
        first = made[0]
        if first.failure is None or first.failure is OUTRUN:
            latency = self._latency(first.pool)
            latency.record(first.elapsed, loop.time(), settings.hedge_share, settings.hedge_samples)
        return made

    def _latency(self, pool: str) -> RecentLatency:
        known = self.latencies.get(pool)
        if known is None:
            known = self.latencies[pool] = RecentLatency(asyncio.get_running_loop().time())
        return known

    def forget(self) -> None:
        """Forgets what was observed: the configuration is another."""
        self.latencies.clear()


class _Race(Leash):
    """An attempt, and the one that begins beside it if it waits for so long."""

    __slots__ = ("_delay", "_hedging", "_lease", "_number", "_other", "_run", "_settings", "_task", "_timer")

    def __init__(
        self, hedging: Hedging, run: Run, lease: Lease, number: int, settings: DeliverySettings, delay: float
    ) -> None:
        super().__init__()
        self._hedging, self._run, self._lease, self._number = hedging, run, lease, number
        self._settings, self._delay = settings, delay
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Made] | None = None
        self._other = Leash()

    async def run(self) -> tuple[Made, ...]:
        """Both attempts, or the one that there was."""
        run, limit = self._run, self._settings.attempt_timeout
        sender = self._hedging.sender
        try:
            first = await sender.send(run.job, self._lease, self._number, run.attempts.append, limit=limit, leash=self)
            task = self._task
            if task is None:
                return (first,)
            if first.decides:
                self._other.cut()
            if not task.done():
                await asyncio.wait((task,))
        except BaseException:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait((self._task,))
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return (first,) if task.cancelled() else (first, task.result())

    def waits(self) -> None:
        """See :meth:`Leash.waits`."""
        self._timer = asyncio.get_running_loop().call_later(self._delay, self._begin)

    def _begin(self) -> None:
        """Begins the hedge, if everything allows it."""
        hedging, run, number = self._hedging, self._run, self._number + 1
        now = asyncio.get_running_loop().time()
        if hedging.sender.limits.stopped or now >= run.job.deadline - TOO_SHORT or not hedging.budget.allows(now):
            return
        if not hedging.lanes.try_take():
            return
        lease = None
        try:
            lease = hedging.shares.acquire(run, (*run.exclude, self._lease.destination), number)
        except NoDestinationError:
            return
        finally:
            if lease is None:
                hedging.lanes.release()
        if lease is None:
            return
        hedging.budget.withdraw(now)
        hedging.counts.hedges += 1
        task = asyncio.create_task(self._send(lease, number))
        task.add_done_callback(functools.partial(self._ended, lease))
        self._task = task

    async def _send(self, lease: Lease, number: int) -> Made:
        run, limit = self._run, self._settings.attempt_timeout
        return await self._hedging.sender.send(
            run.job, lease, number, run.attempts.append, limit=limit, leash=self._other, hedge=True
        )

    def _ended(self, lease: Lease, task: asyncio.Task[Made]) -> None:
        lease.cancel()  # of one that was cancelled before it began; no effect otherwise
        self._hedging.lanes.release()
        if not task.cancelled() and task.exception() is None and task.result().decides:
            self.cut()
