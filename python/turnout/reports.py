"""What a router says about itself: statistics, events, explanations. A leaf: it knows no other module but its base.

Everything is frozen and made of plain values, so it may be kept, compared, pickled and, by ``as_dict``, printed as
JSON. Numbers are of the moment of the call: counters are read while other threads go on counting, so sums over
destinations may differ by what was in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

__all__ = [
    "CacheStats", "DecisionTimes", "DestinationStats", "Event", "Explanation", "PoolMember", "PoolStats", "Report",
    "RuleExplanation", "Stats", "Times",
]  # fmt: skip


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Report:
    """Base of every report and result."""

    def as_dict(self) -> dict[str, Any]:
        """The whole of it as plain dicts, lists, texts and numbers, for JSON."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True)
class Times(Report):
    """Lengths of time that were measured, in seconds; None before the first."""

    count: int = 0
    mean_s: float | None = None
    last_s: float | None = None
    longest_s: float | None = None


@dataclass(frozen=True)
class DestinationStats(Report):
    """One destination's live state and its counters since it was first configured; both survive a reload."""

    id: str
    admin: str
    """``enabled``, ``draining`` (nothing new, what is held finishes) or ``disabled``."""
    health: str
    """``healthy``, ``degraded`` or ``unhealthy``: as reported, not judged from outcomes."""
    breaker: str
    """``closed``, ``ejected`` or ``probation``: judged from outcomes."""
    ejected_for: float | None
    """Seconds until the ejection ends; None unless ejected."""
    failed_over: bool
    """Whether an operator took it out in favour of others (``Router.fail_over``)."""
    failed_over_for: float | None
    """Seconds until that ends by itself; None if it does not, or is not so."""
    failed_over_to: str | None
    """Id of the destination that receives its messages first; None for the next of its pools."""
    in_flight: int
    """Leases held now."""
    picks: int
    """Times it was picked: leases taken, and decisions without a lease."""
    attempts: int
    """Leases taken."""
    successes: int
    failures: int
    overloaded: int
    """Leases that ended with the destination asking for a pause."""
    cancelled: int
    """Leases that ended without credit or blame."""
    ejections: int
    recoveries: int
    success_rate: float
    """Recent share of successes, 0..1, weighted to the latest; 1.0 before any outcome."""
    latency_ms: float | None
    """Peak EWMA of the latency; like all latencies in milliseconds, of successes only, None before the first."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    failure_kinds: Mapping[str, int]
    """Failures by the kind they were reported with."""
    utilisation: float | None = None
    """Mean of the utilisation it reported of late, 1: all it can do; None if it did not for 3 minutes."""
    failovers: int = 0
    """Times it was picked, with a lease or without, because those before it could not serve."""
    trials: int = 0
    """Messages it was given on probation."""
    trials_passed: int = 0
    trials_failed: int = 0
    time_to_detect: Times = Times()
    """From the first failure of those that led to an ejection, to the ejection."""
    time_to_recover: Times = Times()
    """From an ejection to the return to use, further ejections on probation included."""
    since: float | None = None
    """Unix seconds of the last change of its state; None before the first."""
    reason: str | None = None
    """Why it changed then, as its event says."""

    @property
    def outcomes(self) -> int:
        """Leases that ended with credit or blame: successes, failures and overloaded."""
        return self.successes + self.failures + self.overloaded

    @property
    def state(self) -> str:
        """One word for all axes, the gravest: disabled, draining, failed_over, unhealthy, ejected, probation, degraded,
        healthy."""
        if self.admin != "enabled":
            return self.admin
        if self.failed_over:
            return "failed_over"
        if self.health == "unhealthy":
            return self.health
        return self.health if self.breaker == "closed" else self.breaker


@dataclass(frozen=True)
class PoolMember(Report):
    """A destination's place in a pool."""

    id: str
    weight: float
    """Relative to the other destinations of its tier; 0 receives nothing, unless all of the pool are 0."""
    effective_weight: float
    """The weight as it is used: 0.1 to 10 times ``weight`` where weights are adjusted, else the same."""
    tier: int
    """0 is primary, 1 and up are backups."""
    clearance: str | None
    """Highest classification it may receive; None for no bound."""
    max_in_flight: int | None
    """Most leases at once; None for no bound."""
    eligible: bool
    """Whether it may receive something now."""


@dataclass(frozen=True)
class PoolStats(Report):
    """A pool, and who of it may receive something now."""

    id: str
    policy: str
    """As configured."""
    in_force: str
    """The policy that picks now: ``policy``, or what ``auto`` has chosen."""
    destinations: tuple[PoolMember, ...]
    """In the order of the configuration."""
    healthy_ratio: float
    """Share of the destinations in use (enabled, with a weight) that are fit: not unhealthy, not ejected. 0..1."""
    standing: str = "primary"
    """Who serves, whoever is full for a moment: ``primary``, ``failed_over``, ``panic`` or ``exhausted``, as
    :class:`turnout.results.FailoverStatus` has them."""
    since: float | None = None
    """Unix seconds at which that began; None if it is so since the pool exists. Reloads do not move it."""


@dataclass(frozen=True)
class DecisionTimes(Report):
    """How long decisions took, in nanoseconds, by those that were timed (one in 32). None before the first."""

    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class CacheStats(Report):
    """The decision cache, since this generation of the configuration went live."""

    mode: str
    """``auto``, ``on`` or ``off``: as configured."""
    on: bool
    """Whether messages are looked up now."""
    reason: str
    """Why, in words, with what a lookup and a match took where they were timed."""
    hits: int
    """Lookups that gave the answer."""
    misses: int
    """Lookups that did not."""
    bypassed: int
    """Messages that could not be looked up while the cache was on: some field that a rule names cannot be read, or
    all of them together are too long."""
    entries: int
    """Answers remembered."""
    bytes: int
    """Of ``max_bytes``, what they are charged for."""

    @property
    def hit_rate(self) -> float | None:
        """Share of the lookups that gave the answer, 0..1; None before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


@dataclass(frozen=True)
class Stats(Report):
    """A router's counters since it was made, and the state of its pools and destinations."""

    decisions: int
    """Messages routed, with or without a lease; those without a route among them."""
    no_route: int
    """Messages that no stage and no default had a route for."""
    by_rule: Mapping[str, int]
    """Decisions by the id of the rule, of the rules there are now."""
    generation: int
    """Number of the live configuration, from 1."""
    decision_ns: DecisionTimes
    cache: CacheStats
    destinations: Mapping[str, DestinationStats]
    pools: Mapping[str, PoolStats]

    @classmethod
    def from_core(
        cls,
        destinations: Sequence[Mapping[str, Any]],
        pools: Sequence[Mapping[str, Any]],
        stats: Mapping[str, Any],
    ) -> Stats:
        """The report made from what the core's ``_destinations``, ``_pools`` and ``_stats`` return."""
        return cls(
            decisions=stats["decisions"],
            no_route=stats["no_route"],
            by_rule=dict(stats["by_rule"]),
            generation=stats["generation"],
            decision_ns=DecisionTimes(_nanoseconds(stats["decision_p50"]), _nanoseconds(stats["decision_p99"])),
            cache=CacheStats(**_known(CacheStats, stats["cache"])),
            destinations={one["id"]: _destination(one) for one in destinations},
            pools={one["id"]: _pool(one) for one in pools},
        )


def _nanoseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e9


def _pool(core: Mapping[str, Any]) -> PoolStats:
    members = tuple(PoolMember(**_known(PoolMember, one)) for one in core["destinations"])
    return PoolStats(
        core["id"], core["policy"], core["in_force"], members, core["healthy_ratio"], core["standing"], core["since"]
    )


def _destination(core: Mapping[str, Any]) -> DestinationStats:
    known = _known(DestinationStats, core)
    known["time_to_detect"], known["time_to_recover"] = (
        Times(**core["time_to_detect"]),
        Times(**core["time_to_recover"]),
    )
    return DestinationStats(**known)


def _known(kind: type[Report], core: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that ``kind`` has fields for: the core may count more than is reported."""
    return {name: core[name] for name in _FIELDS[kind]}


@dataclass(frozen=True)
class RuleExplanation(Report):
    """Why one rule matched the message, or why not. If it matched, all after ``found_by`` are None."""

    id: str
    matched: bool
    found_by: str | None = None
    """How the rule became a candidate: what it is filed under that the message has, such as ``message.tier == "gold"``;
    ``always tried``; or ``scanned (...)`` with the reason. None if it was no candidate; every rule that matches is one.
    """
    failed_predicate: str | None = None
    """Source of the first test that did not hold."""
    field: str | None = None
    """The field that test reads, such as ``message.channel``; None where it reads none, or several."""
    asked: str | None = None
    """What the test asks, in words: ``starts with "a"``, ``is not < 30``."""
    seen: str | None = None
    """What stood there instead, shortened."""
    note: str | None = None
    """What else is to be known: other alternatives that failed too, or an error that matching would raise."""


@dataclass(frozen=True)
class Explanation(Report):
    """What the matcher made of one message: the winner, the candidates, and why each matched or not."""

    winner: str | None
    """Id of the first rule that matches; None if none does."""
    stage: str | None
    """The rule family that decides, or ``default``; None if the message has no route."""
    rules: tuple[RuleExplanation, ...]
    """The candidates, and the rules asked for by id, in the order they are tried: the higher priority first, then the
    earlier in the file."""
    looked_at: int
    """How many conditions were asked until the winner was known."""
    total: int
    """How many rules there are."""

    @property
    def candidates(self) -> tuple[RuleExplanation, ...]:
        """The rules that the index found for the message, all that match among them."""
        return tuple(rule for rule in self.rules if rule.found_by is not None)

    def rule(self, id: str) -> RuleExplanation:
        """What is said of one rule.

        Raises:
            KeyError: it was no candidate, and not asked for.
        """
        for rule in self.rules:
            if rule.id == id:
                return rule
        raise KeyError(id)

    @classmethod
    def from_core(cls, core: Mapping[str, Any], stage: str | None = None) -> Explanation:
        """The explanation made from the core's plain dicts; the stage is known to the router."""
        rules = tuple(
            RuleExplanation(
                id=one["rule"],
                matched=one["matched"],
                found_by=one["found_by"],
                failed_predicate=one["predicate"],
                field=one["field"],
                asked=one["asked"],
                seen=one["seen"],
                note=one["note"],
            )
            for one in core["rules"]
        )
        return cls(core["winner"], stage, rules, core["looked_at"], core["total"])


@dataclass(frozen=True)
class Event(Report):
    """Something that changed who may receive messages."""

    seq: int
    """Number of the event, from 1, without gaps; older ones are dropped first."""
    at: float
    """Unix seconds."""
    destination: str
    """Id of the destination; for ``weights`` and ``policy`` of the pool."""
    kind: str
    """``ejected``; ``probation``: trials begin; ``recovered``; ``overloaded``: asked for a pause; ``spared``: should
    have been ejected, but it is the last or too many are; ``failed_over`` and ``failed_back``: an operator moved its
    messages elsewhere, and that is over; ``admin`` and ``health``: set from outside; ``weights``: adjusted to what was
    observed; ``policy``: by ``auto``, put on trial, kept or replaced."""
    reason: str
    """Why, in words."""

    @property
    def is_of_pool(self) -> bool:
        """Whether it concerns a pool as a whole."""
        return self.kind in ("weights", "policy")

    @classmethod
    def from_core(cls, core: Mapping[str, Any]) -> Event:
        """The event made from the core's plain dict."""
        return cls(**_known(cls, core))


# Looked up once: statistics are made of thousands of these.
_FIELDS: dict[type[Report], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (CacheStats, DestinationStats, PoolMember, Event)
}
