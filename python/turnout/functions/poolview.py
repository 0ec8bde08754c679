"""One pool as the four functions report it: made from a router's statistics and configuration, by the public API.

Nothing is decided here. Who may receive a message and who is picked is the core's; these are its figures, in the
words of :mod:`turnout.results`, with what is worth a warning put into words.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..config import FailoverConfig, RouterConfig
from ..errors import TurnoutError
from ..reports import DestinationStats, Event, PoolMember, PoolStats, Stats, Times
from ..results import (
    Destination,
    FailoverStatus,
    HealthStatus,
    LoadDistribution,
    PerformanceMetrics,
    RecoveryMetrics,
)

MIN_SAMPLES = 20
"""Outcomes below which performance is not judged, and that a destination was not observed is no news."""
FAILING = 0.9
"""Recent success rate below which a destination counts as degraded."""
SLOW = 3.0
"""Times the median p95 of the other destinations above which one counts as degraded: beyond what load alone
explains, below the tenfold of a destination in trouble."""
NOT_RECOVERING = 2
"""Ejections without a recovery since that count as failing to recover: one is an ejection under way."""


def reloaded(what: str) -> TurnoutError:
    """The error for what was there when a decision was made and is no longer."""
    return TurnoutError(f"the router was reloaded meanwhile and has no {what} any more; call again")


@dataclass(frozen=True)
class PoolView:
    """One pool at one moment, or those of its destinations that were asked for."""

    config: RouterConfig
    stats: Stats
    pool: PoolStats
    only: frozenset[str] | None = None
    """Ids asked for; None for all of the pool."""

    @cached_property
    def _by_id(self) -> dict[str, PoolMember]:
        return {one.id: one for one in self.pool.destinations}

    @cached_property
    def members(self) -> list[PoolMember]:
        """The destinations asked for, in the order of the configuration."""
        return [one for one in self.pool.destinations if self.only is None or one.id in self.only]

    def state(self, name: str) -> DestinationStats:
        """The live state of a destination. Raises TurnoutError if a reload took it away meanwhile."""
        if name not in self.stats.destinations:
            raise reloaded(f"destination {name!r}")
        return self.stats.destinations[name]

    def destination(self, name: str) -> Destination:
        """A destination of the pool as results show it. Raises TurnoutError if a reload took it away meanwhile."""
        member = self._by_id.get(name)
        config = self.config.destinations.get(name)
        if member is None or config is None:
            raise reloaded(f"destination {name!r}")
        url = config.resolved_url()
        state = self.state(name)
        return Destination(
            id=name,
            pool=self.pool.id,
            tier=member.tier,
            scheme=None if url is None else url.partition(":")[0],
            weight=float(member.weight),
            # 0 where it was not configured would pass for free of charge.
            cost=config.cost if "cost" in config.model_fields_set else None,
            clearance=member.clearance,
            max_in_flight=member.max_in_flight,
            eligible=member.eligible,
            state=state.state,
            since=state.since,
            reason=state.reason,
        )

    def load_distribution(self) -> LoadDistribution:
        """How the load is spread over the destinations."""
        picks = {one.id: self.state(one.id).picks for one in self.members}
        total = sum(picks.values())
        return LoadDistribution(
            picks=picks,
            shares={name: count / total if total else 0.0 for name, count in picks.items()},
            in_flight={one.id: self.state(one.id).in_flight for one in self.members},
        )

    def health_status(self) -> HealthStatus:
        """The health of the destinations."""
        return HealthStatus(
            destinations={one.id: self.state(one.id).state for one in self.members},
            eligible=tuple(one.id for one in self.members if one.eligible),
            healthy_ratio=self.pool.healthy_ratio,
            checked=self.config.load_balancing.health_checking,
        )

    def performance(self, name: str) -> PerformanceMetrics:
        """What was observed of one destination."""
        state = self.state(name)
        rate = state.successes / state.outcomes if state.outcomes else None
        quantiles = (state.latency_ms, state.p50_ms, state.p95_ms, state.p99_ms)
        return PerformanceMetrics(name, state.outcomes, rate, *quantiles)

    def ranked(self) -> list[PoolMember]:
        """The destinations by tier, eligible ones first, healthy before degraded, then in the order given."""

        def rank(member: PoolMember) -> tuple[int, bool, bool]:
            return member.tier, not member.eligible, self.state(member.id).state != "healthy"

        return sorted(self.members, key=rank)

    def primary(self) -> PoolMember:
        """The best of the lowest tier: eligible, healthy, then of the highest recent success rate and the lowest
        latency; where nobody is eligible, the first in the order given. Raises IndexError without destinations."""
        ranked = self.ranked()
        best = [one for one in ranked if one.eligible and one.tier == ranked[0].tier]

        def rank(member: PoolMember) -> tuple[bool, float, float]:
            state = self.state(member.id)
            return state.state != "healthy", -round(state.success_rate, 2), state.latency_ms or 0.0

        return min(best, key=rank) if best else ranked[0]

    # What is worth a warning

    def health_warnings(self) -> list[str]:
        """Destinations that are out, one text for each way of being out."""
        states = self.health_status().destinations
        warnings = []
        for word, ways in (("unhealthy", ("unhealthy", "degraded")), ("ejected", ("ejected", "probation"))):
            found = [f"{name} is {state}" for name, state in states.items() if state in ways]
            if found:
                warnings.append(f"{word}: {', '.join(found)}")
        return warnings

    def performance_warning(self, name: str) -> str | None:
        """Why the performance of a destination is worth a warning; None if it is not, or too little was observed."""
        state = self.state(name)
        if state.outcomes < MIN_SAMPLES:
            return None
        if state.success_rate < FAILING:
            return f"performance_degradation: {name} succeeds in {state.success_rate:.0%} of recent attempts"
        others = [
            other.p95_ms
            for other in (self.state(one.id) for one in self.members if one.id != name)
            if other.p95_ms is not None and other.outcomes >= MIN_SAMPLES
        ]
        if state.p95_ms is None or not others:
            return None
        usual = sorted(others)[len(others) // 2]
        if state.p95_ms <= SLOW * usual:
            return None
        slow = f"{name} has a p95 of {state.p95_ms:.3g} ms, where the others' median is {usual:.3g} ms"
        return f"performance_degradation: {slow}"

    def trigger_warnings(self, events: Collection[Event]) -> list[str]:
        """Destinations that failed enough to be ejected and were not, for lack of others."""
        latest = {event.destination: event for event in events if event.kind in ("spared", "ejected", "recovered")}
        spared = [one.id for one in self.members if one.id in latest and latest[one.id].kind == "spared"]
        return [f"spared: {name} should be ejected and is not: {latest[name].reason}" for name in spared]

    def recovery_warnings(self) -> list[str]:
        """Destinations that are ejected again and again."""
        found = []
        for one in self.members:
            state = self.state(one.id)
            if state.breaker != "closed" and state.ejections - state.recoveries >= NOT_RECOVERING:
                found.append(f"{one.id} was ejected {state.ejections} times and recovered {state.recoveries} times")
        return [f"recovery_failing: {', '.join(found)}"] if found else []

    def monitoring_warnings(self, failover: FailoverConfig) -> list[str]:
        """What health monitoring does not see, once there is enough to see."""
        if not failover.health_monitoring:
            return ["unmonitored: health_monitoring is off, so failures eject nobody"]
        unseen = [one.id for one in self.members if not self.state(one.id).outcomes]
        if not unseen or sum(self.state(one.id).outcomes for one in self.members) < MIN_SAMPLES:
            return []
        return [f"unobserved: no outcome yet of {', '.join(unseen)}"]

    # Failover and recovery

    def recovery_metrics(self, failover: FailoverConfig) -> RecoveryMetrics:
        """How the destinations fail and recover."""
        states = [self.state(one.id) for one in self.members]
        waits = [state.ejected_for for state in states if state.ejected_for is not None]
        return RecoveryMetrics(
            ejections=sum(state.ejections for state in states),
            recoveries=sum(state.recoveries for state in states),
            failed_over=sum(state.failovers for state in states),
            trials_passed=sum(state.trials_passed for state in states),
            trials_failed=sum(state.trials_failed for state in states),
            time_to_detect_s=_mean([state.time_to_detect for state in states]),
            time_to_recover_s=_mean([state.time_to_recover for state in states]),
            recovering=tuple(state.id for state in states if state.breaker != "closed"),
            recovery_time_s=failover.recovery_time,
            recovery_in_s=min(waits, default=None),
        )

    def failover_status(
        self,
        state: Literal["primary", "failed_over", "panic", "exhausted"],
        retry_at: float | None = None,
    ) -> FailoverStatus:
        """The status in words, and since when."""
        lowest = min(one.tier for one in self.members)
        first = {one.id for one in self.members if one.tier == lowest}
        out = [f"{name} is {self.state(name).state}" for name in sorted(first) if self.state(name).state != "healthy"]
        reason = {
            "primary": "the first tier serves",
            "failed_over": "a backup serves",
            "panic": "too few destinations are healthy, so health is ignored",
            "exhausted": "no destination may receive anything now",
        }[state]
        if out:
            reason += f": {', '.join(out)}"
        return FailoverStatus(state, reason, self.pool.since, retry_at)


def _mean(times: Iterable[Times]) -> float | None:
    """The mean of all that were measured."""
    measured = [(one.count, one.mean_s) for one in times if one.mean_s is not None]
    count = sum(count for count, _ in measured)
    return math.fsum(count * mean for count, mean in measured) / count if count else None
