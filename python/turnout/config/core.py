"""A configuration as the core takes it: plain dicts, every default filled in."""

from __future__ import annotations

from typing import Any

from .root import RouterConfig
from .rules import condition
from .topology import Quorum, RuleConfig


def core_spec(config: RouterConfig) -> dict[str, Any]:
    """What ``turnout._core.Router`` is made from. Rules that are not enabled are left out; references hold."""
    urgent = config.urgent
    return {
        "stages": list(config.routing.routing_rules),
        "rules": [_rule(rule) for rule in config.rules if rule.enabled],
        "urgent": None if urgent is None else {"min_priority": urgent.min_priority, "pools": list(urgent.to)},
        "default": config.default_pool,
        "dead_letter": config.default_is_dead_letter,
        "pools": [_pool(config, pool) for pool in config.pools],
        "admin": {name: destination.admin for name, destination in config.destinations.items()},
        "failover": _failover(config),
        "caching": config.performance.caching.model_dump(),
        "shared": _shared(config),
    }


def _shared(config: RouterConfig) -> dict[str, Any] | None:
    state = config.state
    return None if state.shared is None else {"path": state.shared, "destinations": state.destinations}


def _rule(rule: RuleConfig) -> dict[str, Any]:
    return {
        **condition(rule),
        "pools": list(rule.to),
        "mode": rule.mode,
        "quorum": _quorum(rule),
    }


def _quorum(rule: RuleConfig) -> int:
    """How many of the rule's pools must deliver."""
    if isinstance(rule.on_partial_failure, Quorum):
        return rule.on_partial_failure.quorum
    return len(rule.to) if rule.on_partial_failure == "all" else 1


def _pool(config: RouterConfig, pool: str) -> dict[str, Any]:
    members = [
        {
            "id": member.id,
            "weight": member.weight,
            "tier": member.tier,
            "max_in_flight": member.max_in_flight,
            "rate_limit": None if member.rate_limit is None else member.rate_limit.model_dump(),
            "clearance": member.clearance,
        }
        for member in config.members_of(pool)
    ]
    own = config.pools[pool]
    return {
        "id": pool,
        "policy": config.policy_of(pool),
        "key": own.key,
        "bounded_load": own.bounded_load,
        "dynamic_adjustment": config.load_balancing.dynamic_adjustment,
        "destinations": members,
    }


def _failover(config: RouterConfig) -> dict[str, Any]:
    """Without failover nothing is ejected and backups do not take over: the message's first destination is all."""
    failover, automatic = config.failover, config.failover_mode == "automatic"
    return {
        "eject": automatic and failover.health_monitoring and config.load_balancing.health_checking,
        "spill": automatic and failover.redundancy,
        "health": config.load_balancing.health_checking,
        "streak": failover.streak,
        "rate_window": failover.rate_window,
        "failure_percent": failover.failure_percent,
        "min_requests": failover.min_requests,
        "outlier_stdev": failover.outlier_stdev,
        "outlier_min_requests": failover.outlier_min_requests,
        "recovery_time": failover.recovery_time,
        "max_ejection_time": failover.max_ejection_time,
        "max_ejected_percent": failover.max_ejected_percent,
        "slow_start": failover.slow_start,
        "probation_successes": failover.probation_successes,
        "panic_threshold": failover.panic_threshold,
        "on_exhausted": failover.on_exhausted,
    }
