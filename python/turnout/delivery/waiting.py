"""When a message may begin: it is due, and the messages before it of its ordering key have been settled.

Until then it rests (:mod:`.resting`), with no place in the lanes, and with an outbox no place in memory if others need
it. Whoever must wake it says so here: the clock, or the end of the message before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from .clock import OnLoop, clock
from .jobs import Job, Run
from .lanes import Lanes
from .ordering import Sequences
from .outbox import Outbox
from .outbox_file import Listed
from .resting import Resting
from .settings import DeliverySettings
from .unsettled import Unsettled

_NEVER: Final = float("inf")


class Waiting:
    """The messages of one deliverer that may not begin yet. Of one event loop; not for threads."""

    def __init__(
        self,
        settings: DeliverySettings,
        room: Lanes[Job],
        unsettled: Unsettled,
        outbox: Outbox | None,
        revive: Callable[[int, Job | int], None],
        begin: Callable[[Job], None],
        on: OnLoop,
    ) -> None:
        """``revive``: brings a message back to memory, where it begins. ``begin``: takes over one that is there."""
        self.settings = settings
        self.resting = Resting(self._woken)
        self.closing = False
        """Whether nothing rests any more: with an outbox it is for the next start."""
        self._sequences = Sequences()
        self._active: dict[int, Job] = {}
        self._room = room
        self._unsettled = unsettled
        self._outbox = outbox
        self._revive = revive
        self._begin = begin
        self._on = on

    def found(self, messages: Iterable[Listed], max_age: float) -> None:
        """Messages of earlier runs are on disk, in order of acceptance."""
        now = clock.now()
        for one in messages:
            if one.ordering is not None:
                self._sequences.enter(one.ordering, one.seq)
        for one in messages:
            ends = min(float("inf") if one.expires is None else one.expires, one.accepted + max_age)
            if one.not_before is not None and one.not_before > now:
                self.resting.add(one.seq, one.priority, min(one.not_before, ends), delayed=True)
            elif one.ordering is not None and not self._sequences.may_decide(one.ordering, one.seq):
                self.resting.add(one.seq, one.priority, ends, delayed=False)
            else:
                self._revive(one.seq, one.priority)

    def entered(self, job: Job) -> None:
        """A message was accepted."""
        if job.ordering is not None:
            self._sequences.enter(job.ordering, job.order)

    def began(self, job: Job) -> bool:
        """Whether the message may begin; else it rests, and is begun anew when it may. Its time to be delivered in
        runs from here."""
        loop = self._on.loop
        if job.not_before is None and job.ordering is None and job.ends == _NEVER:
            job.due = loop.time()
            job.deadline = job.due + self.settings.timeout
            return True
        now = clock.now()
        if job.not_before is not None and now < job.not_before and now < job.ends:
            self._rest(job, min(job.not_before, job.ends), delayed=True)
            return False
        if job.ordering is not None:
            if now < job.ends and not self._sequences.may_decide(job.ordering, job.order):
                self._rest(job, job.ends, delayed=False)
                return False
            self._active[job.order] = job
        job.due = loop.time()
        job.deadline = job.due + min(self.settings.timeout, job.ends - now)
        return True

    def decided(self, job: Job) -> None:
        """It is known where the message goes: the next of its key may be decided too."""
        if job.ordering is not None:
            pools = [pool for run in job.runs if run.status is None for pool in run.pools]
            for order in self._sequences.decided(job.ordering, job.order, pools):
                self._wake(order)

    def may_attempt(self, run: Run) -> bool:
        """Whether no message of its key stands before it in its pools."""
        job = run.job
        return job.ordering is None or self._sequences.may_attempt(job.ordering, job.order, run.pools)

    def ended(self, run: Run) -> None:
        """A branch is settled: the next of its key may go on."""
        job = run.job
        if job.ordering is not None:
            for order in self._sequences.ended(job.ordering, job.order, run.pools):
                self._wake(order)

    def stands(self, job: Job) -> None:
        """The message waits for those before it in the lines of its pools."""
        self._rest(job, job.ends, delayed=False)

    def again(self, job: Job) -> None:
        """The message waits for its next round; what there is to know of that is on disk, if there is an outbox."""
        self._rest(job, min(job.not_before or 0.0, job.ends), delayed=True)

    def left(self, job: Job) -> None:
        """A message was settled."""
        self.resting.take(job.order)
        if job.ordering is not None:
            self._active.pop(job.order, None)
            for order in self._sequences.left(job.ordering, job.order):
                self._wake(order)

    def close(self, drain: float) -> None:
        """Gives up what is not due within ``drain`` seconds; with an outbox all that rests, for the next start."""
        self.closing = True
        self._give_up(self.resting.take_all(None if self._outbox is not None else clock.now() + drain))
        self._unsettled.keep()

    def give_up(self) -> None:
        """Gives up all that rests."""
        self._give_up(self.resting.take_all(None))

    def forget(self) -> None:
        """Everything is settled or left to the next start."""
        self.closing = False
        self._sequences.clear()
        self._active.clear()

    def _give_up(self, items: Iterable[Job | int]) -> None:
        for item in items:
            if isinstance(item, Job):
                self._unsettled.give_up(item, "closed", "the router was closed before it was due")

    def _rest(self, job: Job, until: float, *, delayed: bool) -> None:
        """With an outbox the message leaves memory: at once if it waits for a time, and where room is short if it waits
        for others; but not one that a task waits for, which gives up its place alone."""
        if self.closing and self._outbox is not None:
            self._unsettled.give_up(job, "closed", "the router was closed before it was due")
            return
        item: Job | int = job
        self._active.pop(job.order, None)
        if self._outbox is not None:
            awaited = job.is_awaited
            if delayed or awaited or self._room.free < self._room.size // 2:
                if job.has_room:
                    job.has_room = False
                    self._room.release()
                if not awaited and not job.in_memory_only:
                    self._outbox.put_down(job)
                    self._unsettled.put_down(job)
                    item = job.priority
        self.resting.add(job.order, item, until, delayed=delayed)

    def _wake(self, order: int) -> None:
        """A message may go on, as far as those before it are concerned."""
        active = self._active.get(order)
        if active is not None:
            if active.changed is not None and not active.changed.done():
                active.changed.set_result(None)
            return
        if (item := self.resting.take(order)) is not None:
            self._woken(order, item)

    def _woken(self, order: int, item: Job | int) -> None:
        if isinstance(item, Job) and item.has_room:
            self._begin(item)
        else:
            self._revive(order, item)
