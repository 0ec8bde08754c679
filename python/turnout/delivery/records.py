"""What delivery reports of a message: its attempts, its end, its dead letter. Plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DeliveryError
from ..reports import Report

Status = Literal["delivered", "dead_lettered", "expired", "kept"]
"""How a message ended. ``expired``: its time ran out. ``dead_lettered``: given up on for any other reason. ``kept``:
the router was closed first, and the next start goes on with it; only with an outbox."""

Reason = Literal[
    "access_denied",
    "attempts",
    "branches",
    "budget",
    "cancelled",
    "closed",
    "dead_letter",
    "deadline",
    "internal",
    "no_destination",
    "no_route",
    "overloaded",
    "poison",
    "queue_full",
    "rejected",
    "unreadable",
]
"""Why a message was not delivered:

- ``access_denied``: its principal or classification may not go where the rules send it.
- ``attempts``: every attempt that ``retries.max_attempts`` allows has failed.
- ``branches``: too few pools of a route with mode ``all`` delivered, for different reasons.
- ``budget``: an attempt failed and the retry budget allowed no further one.
- ``cancelled``: the task that awaited ``dispatch`` was cancelled.
- ``closed``: the router was closed before the message was settled.
- ``dead_letter``: the route says ``dead_letter``.
- ``deadline``: its time ran out, or left none for another attempt (status ``expired``).
- ``internal``: deciding failed with an error that is not the message's.
- ``no_destination``: no destination may receive it, now or before its deadline.
- ``no_route``: no stage gave it a route, and there is no default.
- ``overloaded``: those that may receive it asked to be left alone until its time is up, or are at their rate limits.
- ``poison``: its attempts were under way as often as ``retries.max_attempts`` allows when the process died.
- ``queue_full``: so many messages were waiting for its pool that more would have taken the room of other pools.
- ``rejected``: a destination refused it for good, or wants no further attempt.
- ``unreadable``: a field that a rule names holds no value of the message model.
"""


Outcome = Literal["success", "failure", "overloaded", "cancelled"]
"""How an attempt ended, as its lease does; but one refused for good is a failure here, while its lease is cancelled."""


@dataclass(frozen=True, init=False)
class Attempt(Report):
    """One try at delivering a message."""

    number: int
    """From 1; counted for each branch by itself."""
    destination: str
    pool: str
    outcome: Outcome
    kind: str | None
    """How it failed: ``timeout``, ``cancelled``, ``outrun``, a transport's word, or the exception's class; None for a
    success."""
    error: str | None
    """The exception's text, shortened; None for a success."""
    retryable: bool
    """Whether another attempt could have helped."""
    probe: bool
    """Whether it was the trial of a destination on probation."""
    started: float
    """Unix seconds."""
    elapsed: float
    """Seconds."""
    hedge: bool = False
    """Whether it began beside another that took long. Of the two, the one that came second has the kind ``outrun``,
    and nobody is blamed."""

    def __init__(
        self,
        number: int,
        destination: str,
        pool: str,
        outcome: Outcome,
        kind: str | None,
        error: str | None,
        retryable: bool,
        probe: bool,
        started: float,
        elapsed: float,
        hedge: bool = False,
    ) -> None:
        # One is made for each message. That of a frozen dataclass calls object.__setattr__ for each field, which takes
        # more than twice as long.
        fields = self.__dict__
        fields["number"] = number
        fields["destination"] = destination
        fields["pool"] = pool
        fields["outcome"] = outcome
        fields["kind"] = kind
        fields["error"] = error
        fields["retryable"] = retryable
        fields["probe"] = probe
        fields["started"] = started
        fields["elapsed"] = elapsed
        fields["hedge"] = hedge


@dataclass(frozen=True)
class Branch(Report):
    """What became of a message in one pool of a route with mode ``all``."""

    pool: str
    status: Status
    destination: str | None
    """The destination that took it; None if none did."""
    attempts: tuple[Attempt, ...]
    reason: Reason | None
    detail: str | None
    value: Any
    """What the transport answered; None if it was not delivered."""


@dataclass(frozen=True, init=False)
class Delivery(Report):
    """What became of one message."""

    id: str
    status: Status
    rule: str | None
    """Id of the rule that matched, if one did."""
    stage: str | None
    """The stage that decided; ``redrive`` where a redrive named the target; None if none did."""
    pool: str | None
    """The pool that took it (mode ``all``: the first that did); None if none did."""
    destination: str | None
    """The destination that took it, in the same way."""
    attempts: tuple[Attempt, ...]
    """In the order they ended; mode ``all``: of all branches, pool after pool."""
    reason: Reason | None
    """Why it was not delivered; None if it was."""
    detail: str | None
    """The reason in words."""
    value: Any
    """What the transport answered, such as the function's return value."""
    elapsed: float
    """Seconds from acceptance to the end."""
    branches: tuple[Branch, ...] = ()
    """Mode ``all``: one for each pool, in the order of the route. A delivered message may have branches that failed;
    each of those is among the dead letters."""

    def __init__(
        self,
        id: str,
        status: Status,
        rule: str | None,
        stage: str | None,
        pool: str | None,
        destination: str | None,
        attempts: tuple[Attempt, ...],
        reason: Reason | None,
        detail: str | None,
        value: Any,
        elapsed: float,
        branches: tuple[Branch, ...] = (),
    ) -> None:
        fields = self.__dict__  # as for an attempt
        fields["id"] = id
        fields["status"] = status
        fields["rule"] = rule
        fields["stage"] = stage
        fields["pool"] = pool
        fields["destination"] = destination
        fields["attempts"] = attempts
        fields["reason"] = reason
        fields["detail"] = detail
        fields["value"] = value
        fields["elapsed"] = elapsed
        fields["branches"] = branches

    @property
    def delivered(self) -> bool:
        """Whether the message was delivered."""
        return self.status == "delivered"

    def check(self) -> Delivery:
        """Itself if the message was delivered.

        Raises:
            DeliveryError: it was not; ``kind`` is the reason.
        """
        if not self.delivered:
            raise DeliveryError(str(self.reason), f"message {self.id!r}: {self.detail}", retryable=False)
        return self


@dataclass(frozen=True)
class DeadLetter(Report):
    """A message that was not delivered, kept with why; or the failed branch of one that was."""

    id: str
    message: Any
    """The message as it was given."""
    status: Literal["dead_lettered", "expired"]
    reason: Reason
    detail: str
    """The reason in words."""
    rule: str | None
    stage: str | None
    pool: str | None
    """The one pool that it was meant for; None if it has no route, or several pools."""
    attempts: tuple[Attempt, ...]
    branches: tuple[Branch, ...]
    """Mode ``all``: what became of it in each pool; some may have delivered it."""
    partial: bool
    """Whether the message counts as delivered, and only its branch to :attr:`pool` failed; now, or before a redrive."""
    priority: int
    at: float
    """When it was given up on, in Unix seconds."""
    elapsed: float
    """Seconds from acceptance until then."""
    number: int = 0
    """Of the letter, counted from 1 by its store; 0 until it is kept there."""
    tried: int = 0
    """Attempts in all, those before restarts and redrives included; of the branch that had most."""
    redriven: int = 0
    """How often it was redriven before, and failed again."""
