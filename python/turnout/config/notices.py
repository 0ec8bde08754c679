"""What a valid configuration says in vain: keys taken for compatibility with the specification, lanes never used."""

from __future__ import annotations

from .root import RouterConfig
from .sections import ADJUSTABLE
from .topology import PoolConfig

_ON_CALL = "the router does not optimize by itself yet; optimize_route does so when it is called"

NOT_YET: dict[tuple[str, str], str] = {
    ("routing", "optimization"): "the optimizer's weights do not take part in balancing yet",
    ("optimization", "optimize_performance"): _ON_CALL,
    ("optimization", "optimize_cost"): _ON_CALL,
    ("optimization", "optimize_quality"): _ON_CALL,
    ("optimization", "learning"): _ON_CALL,
    ("performance", "optimization"): "routing does not tune itself yet",
    ("quality", "learning"): "nothing is learned from quality figures yet",
}
"""Switches whose `true` has no effect in this release, and why."""

ALWAYS_ON: dict[tuple[str, str], str] = {
    ("load_balancing", "performance_monitoring"): "latencies and outcomes are always measured",
    ("failover", "performance_tracking"): "failovers and recoveries are always counted",
    ("quality", "quality_metrics"): "quality is always measured",
}
"""Switches whose `false` has no effect, and why."""


def _adjusts(policy: str, pool: PoolConfig) -> bool:
    keyed = policy == "auto" and (pool.key is not None or pool.bounded_load is not None)
    return policy in ADJUSTABLE and not keyed


def _rounds(config: RouterConfig) -> list[str]:
    """What schedules of further rounds say in vain, or at a risk."""
    schedules = {"retries": config.retries.schedule}
    schedules |= {f"pools.{name}.retries": pool.retries.schedule for name, pool in config.pools.items() if pool.retries}
    longest = {place: sum(schedule) for place, schedule in schedules.items() if schedule}
    if longest and config.outbox is None:
        return [f"{place}.schedule: what waits for its next round is in memory only: no outbox" for place in longest]
    return [
        f"{place}.schedule: lasts longer than outbox.max_age, by which messages expire"
        for place, seconds in longest.items()
        if config.outbox is not None and seconds > config.outbox.max_age
    ]


def notices(config: RouterConfig) -> list[str]:
    """One sentence for everything in ``config`` that has no effect; empty if all of it has."""
    found = [
        f"{section}.{key}: {str(idle).lower()} has no effect: {reason}"
        for table, idle in ((NOT_YET, True), (ALWAYS_ON, False))
        for (section, key), reason in table.items()
        if getattr(getattr(config, section), key) is idle
    ]
    if config.load_balancing.dynamic_adjustment:
        found += [
            f"load_balancing.dynamic_adjustment: true has no effect on pool {pool!r}: "
            f"{policy} does not go by weights that change; {ADJUSTABLE[0]} does"
            for pool in config.pools
            if not _adjusts(policy := config.policy_of(pool), config.pools[pool])
        ]
    found += _rounds(config)
    stages = config.routing.routing_rules
    if config.rules and "content_based" not in stages:
        found.append("rules: never tried, for routing.routing_rules does not list content_based")
    if config.urgent is not None and "priority_based" not in stages:
        found.append("urgent: never tried, for routing.routing_rules does not list priority_based")
    return found
