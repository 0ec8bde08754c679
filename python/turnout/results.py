"""What the specification's four functions return, field for field. A leaf, as :mod:`turnout.reports` is.

All results are frozen. None holds a secret: of a destination's URL only the scheme is kept. Where something was not
observed yet the field is None, never a made-up number. ``degraded`` names what did not go as asked but was worked
around, one text each, starting with a stable word and a colon (:mod:`turnout.functions` has the table).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from .reports import (
    DecisionTimes,
    DestinationStats,
    Event,
    Explanation,
    PoolMember,
    PoolStats,
    Report,
    RuleExplanation,
    Stats,
    Times,
)

if TYPE_CHECKING:
    from .router import Router

__all__ = [
    "Decided", "DecisionTimes", "Destination", "DestinationScore", "DestinationStats", "Estimate", "Event",
    "Explanation", "FailoverResult", "FailoverStatus", "HealthStatus", "LearningResult", "LoadBalancingResult",
    "LoadDistribution", "MessageRoutingResult", "OptimizationMetrics", "OptimizationRecommendation",
    "PerformanceMetrics", "PoolMember", "PoolStats", "RecoveryMetrics", "Report", "Route",
    "RouteOptimizationResult", "RoutingQuality", "RuleExplanation", "Stats", "Times",
]  # fmt: skip


@dataclass(frozen=True)
class Decided(Report):
    """Base of what remembers the router that decided. That is no field: not compared, shown, copied or pickled."""

    _router: ClassVar[Router | None] = None

    @property
    def router(self) -> Router | None:
        """The router that decided: leases taken from it and messages it delivers are what later calls decide by."""
        return self._router

    def with_router(self, router: Router) -> Self:
        """The same, remembering ``router``."""
        found = copy(self)
        object.__setattr__(found, "_router", router)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_router"}


@dataclass(frozen=True)
class Destination(Report):
    """A destination as it is configured, and whether it may receive something now."""

    id: str
    pool: str
    tier: int
    """0 is primary, 1 and up are backups."""
    scheme: str | None
    """What stands before the colon of its URL, such as ``https``; None if it has none."""
    weight: float
    """Relative to the other destinations of its tier in this pool."""
    cost: float | None
    """Of one attempt, in the configuration's own unit; None if it is not configured."""
    clearance: str | None
    """Highest classification it may receive; None for no bound."""
    max_in_flight: int | None
    """Most leases at once; None for no bound."""
    eligible: bool
    """Whether it may receive something now."""
    state: str
    """In one word: healthy, degraded, unhealthy, ejected, probation, failed_over, draining or disabled."""
    since: float | None = None
    """Unix seconds of the last change of its state; None before the first."""
    reason: str | None = None
    """Why it changed then, as its event says."""


@dataclass(frozen=True)
class Route(Decided):
    """Where a message goes: one or more pools, how they are used, and with which weights."""

    rule: str | None
    """Id of the rule that matched; None for the other stages and the default."""
    stage: str
    """The rule family that decided: content_based, priority_based, destination_based, custom_rules or default."""
    pools: tuple[str, ...]
    """In order of preference (mode ``first``), or all that receive the message (``all``)."""
    mode: Literal["first", "all"]
    weights: Mapping[str, Mapping[str, float]]
    """Of each pool, of each destination: 0 or more, relative to the others of its tier in that pool."""


@dataclass(frozen=True)
class LoadDistribution(Report):
    """How the pool's load is spread, by destination id."""

    picks: Mapping[str, int]
    """Times picked: decisions and leases."""
    shares: Mapping[str, float]
    """Picks over the pool's picks, 0..1; all 0 before the first."""
    in_flight: Mapping[str, int]
    """Leases held now."""


@dataclass(frozen=True)
class HealthStatus(Report):
    """The health of a pool's destinations."""

    destinations: Mapping[str, str]
    """By id: healthy, degraded, unhealthy, ejected, probation, failed_over, draining or disabled."""
    eligible: tuple[str, ...]
    """Ids of those that may receive something now."""
    healthy_ratio: float
    """Share of the pool's destinations in use that are fit, 0..1."""
    checked: bool
    """Whether health decides who is eligible (``health_checking``, ``health_monitoring``)."""


@dataclass(frozen=True)
class PerformanceMetrics(Report):
    """What was observed of one destination; None where nothing was."""

    destination: str
    samples: int
    """Outcomes: successes, failures and overloaded."""
    success_rate: float | None
    """Successes over outcomes, 0..1."""
    latency_ms: float | None
    """Peak EWMA of the latency, in milliseconds; like the quantiles, of successes only."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class LoadBalancingResult(Decided):
    """Of ``balance_load``: the destination chosen, and the state it was chosen from."""

    selected_destination: Destination
    load_distribution: LoadDistribution
    health_status: HealthStatus
    performance: PerformanceMetrics
    """Of the selected destination."""
    algorithm: str
    """The policy that chose; where ``auto`` is configured, the one in force."""
    reason: str
    """Why this destination, in the words of ``Decision.reason``."""
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailoverStatus(Report):
    """Which destinations serve, and since when."""

    state: Literal["primary", "failed_over", "panic", "exhausted"]
    """``primary``: the first tier serves. ``failed_over``: a backup serves. ``panic``: too few are healthy, so health
    is ignored. ``exhausted``: none may receive anything now."""
    reason: str
    """Why, with the ids and states of the destinations that are out."""
    since: float | None
    """Unix seconds at which the pool last began or ceased to be served as it should be, by its first tier; None if
    neither has happened. A tier that is only full counts as serving."""
    retry_at: float | None = None
    """When the earliest ejection ends, in Unix seconds; None if nothing is ejected."""


@dataclass(frozen=True)
class RecoveryMetrics(Report):
    """How the destinations fail and recover, summed over the pool."""

    ejections: int
    recoveries: int
    failed_over: int
    """Decisions, with a lease or without, that went to a destination because those before it could not serve. Reports
    such as this one decide nothing and are not counted."""
    trials_passed: int
    """Trials on probation that went well, and below those that did not: each sends the destination back for longer."""
    trials_failed: int
    time_to_detect_s: float | None
    """Mean of all, from the first failure that led to an ejection, to the ejection, in seconds; None without any."""
    time_to_recover_s: float | None
    """Mean of all, from an ejection to the return to use, in seconds; None without any."""
    recovering: tuple[str, ...]
    """Ids that are ejected or on probation now."""
    recovery_time_s: float
    """Configured length of the first ejection, in seconds."""
    recovery_in_s: float | None
    """Until the earliest ejection ends, in seconds; None if nothing is ejected."""


@dataclass(frozen=True)
class FailoverResult(Decided):
    """Of ``manage_failover``: who serves, who stands by, and how recovery goes."""

    primary_destination: Destination
    """The best eligible destination of tier 0; where none is eligible, the first of tier 0."""
    backup_destinations: tuple[Destination, ...]
    """All others, by tier, eligible ones first, then in the order given. Empty without ``redundancy``."""
    failover_status: FailoverStatus
    recovery_metrics: RecoveryMetrics
    health_status: HealthStatus
    active_destination: Destination | None = None
    """Who serves now: the primary, or the backup failed over to; None if exhausted, or held for an operator."""
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoutingQuality(Report):
    """How much a decision can be trusted to end in a delivery."""

    score: float
    """``success_rate`` x ``healthy_ratio``, 0..1."""
    success_rate: float
    """Recent success rate of the chosen destination, 0..1; 1.0 before any outcome."""
    healthy_ratio: float
    """Share of the pool's destinations in use that are fit, 0..1."""
    samples: int
    """Outcomes behind ``success_rate``."""
    tier: int
    panic: bool
    """Whether health was ignored because too few destinations are healthy."""


@dataclass(frozen=True)
class MessageRoutingResult(Decided):
    """Of ``route_message``: a decision, with the state of the pool it came from. Nothing was delivered."""

    route: Route
    destination: Destination
    load_balancing: LoadBalancingResult
    failover: FailoverResult
    quality: RoutingQuality
    branches: tuple[Destination, ...] = ()
    """Mode ``all``: the destination in every pool, ``destination`` first. Mode ``first``: empty."""
    generation: int = 1
    """Number of the configuration that decided."""
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate(Report):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DestinationScore(Report):
    """How one destination does on each objective, against the best of its tier. None: cannot be told yet."""

    destination: str
    samples: int
    """Outcomes counted, fewer than observed if learning lets old ones fade."""
    success: Estimate | None
    """Success rate, 0..1, with its Wilson interval."""
    p95_ms: Estimate | None
    """95th percentile of the latency of successes, in milliseconds, with its asymptotic interval."""
    cost: Estimate | None
    """Cost of one delivered message: cost of an attempt over the success rate."""
    performance_score: float | None
    """Lowest p95 of the tier over this one's, 0..1."""
    cost_score: float | None
    """Lowest cost of a delivered message in the tier over this one's, 0..1."""
    quality_score: float | None
    """Lower end of this one's success interval over the best such end in the tier, 0..1."""
    score: float | None
    """Geometric mean of the scores asked for, 0..1."""


@dataclass(frozen=True)
class OptimizationMetrics(Report):
    """The scores, and what the optimized weights are expected to change. None: cannot be told, or nothing moves."""

    scores: Mapping[str, tuple[DestinationScore, ...]]
    """Of each pool, in the order of the configuration."""
    moved: Mapping[str, float]
    """Of each pool: the largest share of a tier's messages that goes elsewhere than before, 0..1."""
    success_change: Mapping[str, Estimate | None]
    """Of each pool: change of the success rate, as a difference (0.01 is one point)."""
    p95_change_ms: Mapping[str, Estimate | None]
    """Of each pool: change of the share-weighted mean of the destinations' p95."""
    cost_change: Mapping[str, Estimate | None]
    """Of each pool: relative change of the cost of a delivered message (-0.13 is 13 % cheaper)."""


@dataclass(frozen=True)
class OptimizationRecommendation(Report):
    """One thing to do about a pool, with the figures it rests on."""

    pool: str
    action: Literal["move", "keep", "collect", "price"]
    """``move``: take the new weights. ``keep``: leave them. ``collect``: observe more. ``price``: configure costs."""
    text: str
    """For people, with figures."""
    samples: int = 0
    """Outcomes it rests on."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """``move``: the new weights of the pool. Else empty."""


@dataclass(frozen=True)
class LearningResult(Report):
    """What the optimizer had to learn from."""

    state: Literal["learning", "not enough data", "off"]
    """``off``: every outcome since the start counts the same. Else old ones fade."""
    samples: int
    """Outcomes counted, over all destinations of the route."""
    needed: int
    """Least outcomes a destination must have before its weight is moved."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Destinations below that: how many outcomes more they need."""


@dataclass(frozen=True)
class RouteOptimizationResult(Report):
    """Of ``optimize_route``: the route with better weights, or with the same where nothing better is sure."""

    optimized_route: Route
    optimization_metrics: OptimizationMetrics
    recommendations: tuple[OptimizationRecommendation, ...]
    learning: LearningResult
    degraded: tuple[str, ...] = ()
