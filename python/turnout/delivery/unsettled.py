"""Messages accepted and not settled yet, and how one is settled: exactly once, whoever gives it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .clock import OnLoop, clock
from .dead_letters import DeadLetters
from .jobs import Job
from .lanes import Lanes
from .ledger import Counts
from .outbox import Outbox
from .records import DeadLetter, Delivery, Reason
from .settlement import delivery_of, letters_of


class Unsettled:
    """The unsettled messages of one deliverer. Of one event loop; not for threads."""

    def __init__(
        self, counts: Counts, dead_letters: DeadLetters, room: Lanes[Job], outbox: Outbox | None, on: OnLoop
    ) -> None:
        """``room``: of which a message in memory holds a place."""
        self.on_end: Callable[[Job], None] | None = None
        """Told of each settled message that may have waited for a time, or for others."""
        self.on_settled: Callable[[Delivery], None] | None = None
        """Told of each end, after everything else was."""
        self._counts = counts
        self._dead_letters = dead_letters
        self._room = room
        self._outbox = outbox
        self._on = on
        self._jobs: dict[int, Job] = {}
        self._on_disk = 0
        self._joining: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._jobs) + self._on_disk

    @property
    def in_memory(self) -> int:
        """Those that are not on disk only."""
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """The message was accepted."""
        self._counts.accepted += 1
        self._jobs[job.number] = job

    def found(self, count: int) -> None:
        """So many messages of earlier runs are on disk: they are accepted anew."""
        self._counts.accepted += count
        self._on_disk += count

    def put_down(self, job: Job) -> None:
        """The message is on disk only from now on."""
        del self._jobs[job.number]
        self._on_disk += 1

    def take_up(self, job: Job) -> None:
        """A message that was on disk only is in memory."""
        self._on_disk -= 1
        self._jobs[job.number] = job
        job.started = self._on.loop.time() - max(0.0, clock.now() - job.accepted)

    def vanished(self) -> None:
        """A message that was on disk only is not there any more: it counts as lost."""
        self._on_disk -= 1
        self._joined()

    def keep(self) -> None:
        """What is on disk only is for the next start."""
        self._counts.kept += self._on_disk
        self._on_disk = 0
        self._joined()

    def give_up(self, job: Job, reason: Reason, detail: str) -> None:
        """Settles the message as it stands; what has not ended of it has failed. No effect if it is settled, or has
        left memory: then it goes on without this job."""
        if job.delivery is None and self._jobs.get(job.number) is job:
            job.failed(reason, detail)
            self.settle(job)

    def give_up_all(self, reason: Reason, detail: str) -> None:
        """As :meth:`give_up`, of every message in memory."""
        for job in list(self._jobs.values()):
            self.give_up(job, reason, detail)

    def settle(self, job: Job) -> Delivery:
        """Accounts for a message whose delivery has ended, once; says how it ended."""
        if job.delivery is not None:  # given up at close, while an attempt went on
            return job.delivery
        now = self._on.loop.time()
        delivery = job.delivery = delivery_of(job, now - job.started, outbox=self._outbox is not None)
        letters = letters_of(job, delivery) if delivery.status != "delivered" or delivery.branches else []
        del self._jobs[job.number]
        if job.has_room:
            job.has_room = False
            self._room.release()
        counts = self._counts
        if delivery.status == "delivered":
            counts.delivered += 1
            counts.latency.record(now - job.due)
        elif delivery.status == "expired":
            counts.expired += 1
        elif delivery.status == "kept":
            counts.kept += 1
        else:
            counts.dead_lettered += 1
        self._keep(job, delivery, letters)
        if self.on_end is not None and (job.ordering is not None or job.not_before is not None):
            self.on_end(job)
        job.runs = ()  # runs know their job: a cycle, which the garbage collector would have to find
        if self.on_settled is not None:
            self.on_settled(delivery)
        if self._joining:
            self._joined()
        return delivery

    def _keep(self, job: Job, delivery: Delivery, letters: list[DeadLetter]) -> None:
        """Tells the end of a message to the outbox, the dead letters, and those who brought it a second time."""
        numbers = [0] * len(letters)
        if self._outbox is not None and delivery.status != "kept":
            kept = letters if self._dead_letters.max_kept else ()
            numbers = self._outbox.end(job, delivered=delivery.delivered, letters=kept) or numbers
        for letter, number in zip(letters, numbers, strict=True):
            self._counts.partial += letter.partial and delivery.delivered
            self._counts.reasons[letter.reason] = self._counts.reasons.get(letter.reason, 0) + 1
            self._dead_letters.add(letter, number)
        for waiter in job.waiters:
            if not waiter.done():
                waiter.set_result(delivery)

    async def join(self) -> None:
        """Returns when everything is settled."""
        while self:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._joining.append(done)
            await done

    def _joined(self) -> None:
        if not self:
            joining, self._joining = self._joining, []
            for done in joining:
                if not done.done():
                    done.set_result(None)
