"""Messages under way: what delivery keeps of one between its acceptance and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from .outbox_schema import BranchRow
from .records import Attempt, Branch, Delivery, Reason, Status

if TYPE_CHECKING:
    from .._core import Plan


class Redrive(NamedTuple):
    """What a message carries that was a dead letter before."""

    times: int
    """How often it was redriven, this time included."""
    target: str | None = None
    """The pool or destination it goes to; None: routing says."""
    branch: str | None = None
    """Of a letter that was partial: its pool, the only one that does not have the message."""


# Shared by all messages that have none of it: an empty one of its own would cost each of them 50 to 200 bytes.
_NEVER: Final = float("inf")
_NO_POOLS: Final[frozenset[str]] = frozenset()
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Waiter(Protocol):
    """Who waits for the end of a message: a future, or what does the same for many messages at once."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, delivery: Delivery, /) -> None:
        """It has ended; called once, unless :meth:`done`."""


class Turn:
    """A place in the lanes, held or not, and the order in which it is waited for."""

    __slots__ = ("held", "number", "priority")

    def __init__(self, priority: int, number: int) -> None:
        self.priority = priority
        self.number = number
        """Of the message, counted from acceptance: earlier ones go first among equals."""
        self.held = False


class Job(Turn):
    """A message from its acceptance to its end. Its turn is that of the branch which its own task attends to."""

    __slots__ = (
        "accepted",
        "body_crc",
        "changed",
        "deadline",
        "delivery",
        "detail",
        "due",
        "ends",
        "entering",
        "expires",
        "has_room",
        "id",
        "in_memory_only",
        "known",
        "letter",
        "message",
        "not_before",
        "noted",
        "ordering",
        "past",
        "plan",
        "reason",
        "redrive",
        "resumed",
        "round",
        "runs",
        "seq",
        "size",
        "started",
        "took",
        "tried",
        "waiters",
        "wanted",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        message: object,
        priority: int,
        number: int,
        expires: float | None = None,
        not_before: float | None = None,
        ordering: str | None = None,
    ) -> None:
        super().__init__(priority, number)
        self.id = name
        self.message = message
        self.expires = expires
        """The message's own deadline, in Unix seconds."""
        self.ends = _NEVER if expires is None else expires
        """When it expires, by its own deadline or by its age."""
        self.not_before = not_before
        """When it is due, or its next round of attempts is, in Unix seconds; None: at once."""
        self.ordering = ordering
        """Its ordering key, if it has one."""
        self.round = 0
        """Rounds of attempts that it has behind it."""
        self.past: Mapping[str, Branch] = _NOTHING
        """What became of its branches in earlier rounds, by their keys."""
        self.has_room = False
        """Whether it holds a place in memory."""
        self.in_memory_only = False
        """Whether the disk would not take what happened to it, so that it must not leave memory."""
        self.changed: asyncio.Future[None] | None = None
        """Set while its task waits for branches to end or to begin."""
        self.seq = 0
        """Its number in the outbox; 0 without one."""
        self.body_crc = 0
        """Of it in the outbox."""
        self.accepted = 0.0
        """When it was accepted, in Unix seconds."""
        self.tried = 0
        """Attempts made before it was redriven."""
        self.took: frozenset[str] = _NO_POOLS
        """Pools that had it before it was redriven, where the route's mode is ``all``."""
        self.size = 0
        """Bytes of it in the outbox."""
        self.resumed = False
        """Whether an earlier run of the process accepted it."""
        self.noted = False
        """Whether the outbox has notes on its branches."""
        self.known: Mapping[str, BranchRow] = _NOTHING
        """What the outbox knows of its branches from earlier runs, by pool; empty for the one of mode ``first``."""
        self.redrive: Redrive | None = None
        """Set if it was a dead letter before."""
        self.letter = 0
        """The number of that letter in the outbox, which forgets it when the message is on disk; 0 if there is none."""
        self.entering: tuple[asyncio.Future[None], ...] | None = ()
        """Those who brought a message of the same id while this one was being accepted; None once it is."""
        self.waiters: tuple[Waiter, ...] = ()
        """Those who brought a message of the same id meanwhile, and wait for its end."""
        self.wanted = False
        """Whether somebody brought it meanwhile who does not wait: nobody's cancellation gives it up."""
        self.started = 0.0
        """When it was accepted, in the loop's time; 0 until then."""
        self.due = 0.0
        """When it could first be attempted, in the loop's time: its latency counts from here."""
        self.deadline = 0.0
        """When its time is up, in the loop's time."""
        self.plan: Plan | None = None
        self.runs: Sequence[Run] = ()
        """One a branch with mode ``all``, one in all with mode ``first``; none before there is a plan with pools."""
        self.reason: Reason | None = None
        """Why it was given up before there was any run."""
        self.detail = ""
        self.delivery: Delivery | None = None
        """Set once, when it is settled."""

    def begin(self, plan: Plan) -> None:
        """Makes the runs of a plan. A pool of a route with mode ``all`` that took the message before has it."""
        self.plan = plan
        if plan.mode != "all":
            self.runs = (Run(self, plan, plan.pools, None),)
            return
        runs = []
        for index, pool in enumerate(plan.pools):
            run = Run(self, plan, (pool,), index)
            if pool in self.took:
                run.status, run.pool = "delivered", pool
            runs.append(run)
        self.runs = runs

    def missing(self, *, parallel: bool) -> list[Run]:
        """The runs that have not ended, the first of them in the job's turn, the others each in its own if they are
        to be made at once."""
        missing = [run for run in self.runs if run.status is None]
        for run in missing:
            run.turn = self if run is missing[0] or not parallel else Turn(self.priority, self.number)
        return missing

    @property
    def order(self) -> int:
        """Grows with acceptance."""
        return self.seq or self.number

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for its end."""
        return any(not waiter.done() for waiter in self.waiters)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody else than the task that attends to it relies on it."""
        return self.wanted or self.is_awaited

    def put_by(self) -> None:
        """Ends a round: what became of its branches is the past, and the next round plans anew."""
        for run in self.runs:
            run.status = run.status or "kept"  # one that did not begin
        self.past = {**self.past, **{run.branch_key: run.branch() for run in self.runs}}
        self.known = {**self.known, **{run.branch_key: run.numbers() for run in self.runs}}
        self.runs = ()
        self.plan, self.reason, self.detail = None, None, ""

    def reopen(self) -> None:
        """What was cancelled of it may be made again."""
        for run in self.runs:
            if run.reason == "cancelled":
                run.reopen()
        self.reason, self.detail = None, ""

    def failed(self, reason: Reason, detail: str) -> None:
        """Ends what has not ended of it."""
        for run in self.runs:
            run.failed(reason, detail)
        if self.reason is None:
            self.reason, self.detail = reason, detail


class Run:
    """The attempts at a message in one branch, as they go on."""

    __slots__ = (
        "attempts", "crashed", "destination", "detail", "earlier", "exclude", "index", "job", "plan", "pool", "pools",
        "reason", "status", "tried", "turn", "value",
    )  # fmt: skip

    def __init__(self, job: Job, plan: Plan, pools: tuple[str, ...], index: int | None) -> None:
        self.job = job
        self.plan = plan
        self.pools = pools
        """Pools it may use, in order of preference."""
        self.index = index
        """Number of the branch; None with mode ``first``."""
        self.turn: Turn = job
        self.exclude: tuple[str, ...] = ()
        """Destinations that the next attempt must not use."""
        self.attempts: list[Attempt] = []
        self.tried = 0
        """Attempts that failed, those of earlier runs of the process included. These are bounded."""
        self.earlier = 0
        """Attempts besides, that count for the number of the next one alone."""
        self.crashed = False
        """Whether its last attempt was under way when an earlier run of the process ended."""
        self.status: Status | None = None
        self.pool: str | None = None
        self.destination: str | None = None
        self.reason: Reason | None = None
        self.detail: str | None = None
        self.value: Any = None
        if job.known and (known := job.known.get(self.branch_key) or job.known.get("")) is not None:
            self.tried, self.earlier, self.crashed = known.tried + known.begun, known.earlier, known.begun > 0
            if known.took:
                self.status, self.pool = "delivered", self.pools[0]
        if job.past and (past := job.past.get(self.branch_key)) is not None:
            self.attempts = list(past.attempts)
            if past.status != "kept":  # it has ended; the others of the message have not
                self.status, self.reason, self.detail, self.value = past.status, past.reason, past.detail, past.value
                self.pool, self.destination = past.pool, past.destination

    @property
    def branch_key(self) -> str:
        """What the branch is called in the outbox: its pool, empty with mode ``first``."""
        return "" if self.index is None else self.pools[0]

    def numbers(self) -> BranchRow:
        """What the outbox notes of its attempts."""
        job = self.job
        took = int(self.status == "delivered")
        return BranchRow(job.seq, self.branch_key, 0, self.tried, self.earlier, 0, took, None)

    def later(self) -> None:
        """It failed in this round, and is made again in the next."""
        self.status, self.reason, self.detail, self.exclude = "kept", None, None, ()
        self.earlier, self.tried = self.earlier + self.tried, 0

    def delivered(self, pool: str, destination: str, value: object) -> None:
        """Ends it: the destination took the message."""
        self.status, self.pool, self.destination, self.value = "delivered", pool, destination, value

    def failed(self, reason: Reason, detail: str) -> None:
        """Ends it, unless it has ended."""
        if self.status is None:
            self.status = "expired" if reason == "deadline" else "dead_lettered"
            self.reason, self.detail = reason, detail

    def reopen(self) -> None:
        """It has not ended after all."""
        self.status = self.reason = self.detail = None
        self.exclude = ()
        # One that was cancelled was made, and counts for the number of the next.
        self.earlier += max(0, (self.attempts[-1].number if self.attempts else 0) - self.earlier - self.tried)

    def branch(self) -> Branch:
        """The record of it."""
        return Branch(
            pool=self.pool or self.pools[0],
            status=self.status or "dead_lettered",
            destination=self.destination,
            attempts=tuple(self.attempts),
            reason=self.reason,
            detail=self.detail,
            value=self.value,
        )
