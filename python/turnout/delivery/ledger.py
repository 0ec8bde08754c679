"""The account of every message: what was accepted is delivered, dead-lettered, expired, or still waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .._core import Histogram
from ..reports import Report


@dataclass(frozen=True)
class Ledger(Report):
    """Counts since the router was made. ``accepted = delivered + dead_lettered + expired + kept + waiting``, always.

    They are counted where they happen, and ``waiting`` is the size of the set of unsettled messages, so that the
    equation is a check and not a definition.
    """

    accepted: int
    """With an outbox, messages left over from earlier runs included: they are accepted anew."""
    delivered: int
    dead_lettered: int
    expired: int
    """Their time ran out; kept among the dead letters all the same."""
    waiting: int
    """Accepted and not settled yet: waiting for their turn, for a destination, or under way."""
    delayed: int
    """Those of them that wait for a time: they are not due yet, or their next round of attempts is not."""
    kept: int
    """Left in the outbox when the router was closed, for the next start."""
    repeated: int
    """Of an id that was accepted or delivered before, and so not accepted; only with an outbox."""
    in_flight: int
    """Attempts under way now."""
    refused: int
    """Not accepted: ``dispatch`` or ``accept`` raised."""
    attempts: int
    """Attempts begun, of all branches."""
    retries: int
    """Those of them that were further ones, after one that failed."""
    hedges: int
    """Those of them that began beside one that took long."""
    partial: int
    """Branches that failed of messages that were delivered; each is a dead letter, besides those counted above."""
    reasons: Mapping[str, int]
    """Dead letters (expired and partial ones included) by reason."""
    p50_ms: float | None
    """Time from acceptance to delivery, in milliseconds, of delivered messages; None before the first."""
    p95_ms: float | None
    p99_ms: float | None

    @property
    def lost(self) -> int:
        """Messages accepted that nothing is known of. 0, or there is a bug."""
        return self.accepted - self.delivered - self.dead_lettered - self.expired - self.kept - self.waiting

    @property
    def balanced(self) -> bool:
        """Whether every accepted message is accounted for exactly once."""
        return self.lost == 0


class Counts:
    """The running counts behind :class:`Ledger`."""

    __slots__ = (
        "accepted", "attempts", "dead_lettered", "delivered", "expired", "hedges", "kept", "latency", "partial",
        "reasons", "refused", "repeated", "retries",
    )  # fmt: skip

    def __init__(self, latency: Histogram) -> None:
        self.accepted = self.delivered = self.dead_lettered = self.expired = 0
        self.kept = self.repeated = 0
        self.refused = self.attempts = self.retries = self.hedges = self.partial = 0
        self.reasons: dict[str, int] = {}
        self.latency = latency

    def ledger(self, waiting: int, delayed: int, in_flight: int) -> Ledger:
        """The account as of now."""
        p50, p95, p99 = (self._milliseconds(q) for q in (0.5, 0.95, 0.99))
        return Ledger(
            accepted=self.accepted,
            delivered=self.delivered,
            dead_lettered=self.dead_lettered,
            expired=self.expired,
            waiting=waiting,
            delayed=delayed,
            kept=self.kept,
            repeated=self.repeated,
            in_flight=in_flight,
            refused=self.refused,
            attempts=self.attempts,
            retries=self.retries,
            hedges=self.hedges,
            partial=self.partial,
            reasons=dict(self.reasons),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
        )

    def _milliseconds(self, q: float) -> float | None:
        seconds = self.latency.quantile(q) if self.delivered else None
        return None if seconds is None else seconds * 1000.0
