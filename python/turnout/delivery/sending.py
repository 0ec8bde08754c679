"""One attempt: a message sent on a lease, under a time limit, and what came of it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError, DeliveryError
from ..transports import Slot, Transports
from .clock import OnLoop
from .failures import OUTRUN, STOPPED, Failure, judged, text_of
from .jobs import Job
from .ledger import Counts
from .limits import Leash, Limits, TimeIsUpError
from .records import Attempt, Outcome

if TYPE_CHECKING:
    from .._core import Lease


class Made(NamedTuple):
    """An attempt that has ended."""

    pool: str
    destination: str
    failure: Failure | None
    value: object
    elapsed: float
    """Seconds."""

    @property
    def decides(self) -> bool:
        """Whether no other attempt is of any use: it succeeded, or the message was refused for good."""
        return self.failure is None or not self.failure.retryable


class Sender:
    """Makes single attempts, and counts those under way. Of one event loop; not for threads."""

    def __init__(self, transports: Transports, counts: Counts, on: OnLoop, ended: Callable[[str], None]) -> None:
        """``ended``: told the pool of each attempt that has ended, when nothing of it is held any more."""
        self.limits = Limits()
        """Stopped when the router closes and its time to drain is over: nothing goes on."""
        self.in_flight = 0
        self.held: dict[str, int] = {}
        """Attempts under way, by destination."""
        self.busy: dict[str, int] = {}
        """The same, by pool."""
        self._transports = transports
        self._counts = counts
        self._on = on
        self._ended = ended

    async def send(
        self,
        job: Job,
        lease: Lease,
        number: int,
        note: Callable[[Attempt], None],
        *,
        limit: float,
        leash: Leash | None = None,
        hedge: bool = False,
    ) -> Made:
        """Makes one attempt; the lease ends with it. ``note`` gets its record, also where an exception ends it.

        - ``limit``: seconds for it; the message's time bounds it too.
        - ``leash``: who may cut it short, because another attempt beside it was faster.

        Raises:
            BaseException: only what ends the task: its cancellation, KeyboardInterrupt, SystemExit.
        """
        loop = self._on.loop
        destination, pool = lease.destination, lease.pool
        self._counts.attempts += 1
        self.in_flight += 1
        self.held[destination] = self.held.get(destination, 0) + 1
        self.busy[pool] = self.busy.get(pool, 0) + 1
        started_at, started = time.time(), loop.time()
        deadline = min(job.deadline, started + limit)
        failure: Failure | None = STOPPED
        value: object = None
        slot: Slot | None = None
        try:
            slot = self._take(destination)
            sending = slot.transport.send(
                job.message,
                destination,
                message_id=job.id,
                attempt=job.tried + number,
                deadline=started_at + (deadline - started),
                expires=job.expires,
            )
            value = await self.limits.within(deadline, sending, leash)
            lease.success(_utilisation(value))
            failure = None
        except TimeIsUpError:
            failure = self._cut_short(leash, loop.time() - started)
            failure.end(lease)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises is a failed attempt
            failure = judged(error)
            failure.end(lease)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was cancelled, but something that the transport awaited.
            failure = Failure("failure", type(error).__name__, text_of(error))
            failure.end(lease)
        finally:
            lease.cancel()  # no effect if it has ended
            if slot is not None:
                self._transports.give_back(slot)
            self.in_flight -= 1
            self.held[destination] -= 1
            self.busy[pool] -= 1
            elapsed = loop.time() - started
            outcome: Outcome = "success"
            kind = text = None
            retryable = True
            if failure is not None:
                outcome, kind, text, retryable, _ = failure
            probe = lease.is_probe
            note(Attempt(number, destination, pool, outcome, kind, text, retryable, probe, started_at, elapsed, hedge))
            self._ended(pool)
        return Made(pool, destination, failure, value, elapsed)

    def _cut_short(self, leash: Leash | None, elapsed: float) -> Failure:
        """What it means that an attempt's time was up."""
        if leash is not None and leash.is_cut:
            return OUTRUN
        return STOPPED if self.limits.stopped else Failure("failure", "timeout", f"no answer after {elapsed:.3g} s")

    def _take(self, destination: str) -> Slot:
        try:
            return self._transports.take(destination)
        except ConfigError as error:
            raise DeliveryError("no_transport", str(error), retryable=False) from error


def _utilisation(answer: object) -> float | None:
    """The load that a destination's answer tells, if it does."""
    told: Any = getattr(answer, "utilisation", None)
    return told if type(told) in (float, int) and 0.0 <= told <= sys.float_info.max else None
