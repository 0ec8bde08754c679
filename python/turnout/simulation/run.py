"""From a configuration and a scenario to what the core simulates, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core
from ..config import Member, RouterConfig, core_spec
from ..config.names import suggestion
from ..errors import ConfigError
from .report import PolicyOutcome, Simulated
from .scenario import UNLIMITED, KeysConfig, Scenario, TroubleConfig


def simulate(
    config: RouterConfig, scenario: Scenario, *, pool: str | None = None, policies: Sequence[str] = ()
) -> Simulated:
    """Runs a pool of ``config`` through ``scenario``, once for each policy, without the GIL.

    - ``pool``: its id; may be left out where there is but one.
    - ``policies``: names of policies; none: the one the pool is configured with.

    Ctrl-C ends it with KeyboardInterrupt. A second of computing covers about half a million messages.

    Raises:
        ConfigError: an unknown pool, policy or destination, or a scenario that cannot be simulated; says the remedy.
    """
    pool = _pool(config, pool)
    members = config.members_of(pool)
    rate = _rate(scenario, members)
    core = core_spec(config)
    spec = next(one for one in core["pools"] if one["id"] == pool)
    timeout = scenario.timeout or config.retries.attempt_timeout or config.performance.timeout
    world = {
        "arrivals": _arrivals(scenario, rate),
        "servers": _servers(scenario, members),
        "duration": scenario.duration,
        "warmup": scenario.warmup,
        "routers": scenario.routers,
        "shared": scenario.shared,
        "timeout": timeout,
        "attempts": scenario.attempts,
        "backoff": scenario.backoff,
        "points": scenario.points,
        "keys": _keys(scenario.keys),
        "seed": scenario.seed,
    }
    settings = {"failover": core["failover"], "admin": core["admin"]}
    outcomes = [
        PolicyOutcome.of(_core.simulate({**spec, "policy": policy}, world, **settings))
        for policy in policies or [spec["policy"]]
    ]
    return Simulated(
        pool=pool,
        scenario=scenario.name,
        rate=rate,
        duration=scenario.duration,
        routers=scenario.routers,
        shared=scenario.shared,
        seed=scenario.seed,
        bounded_load=spec["bounded_load"],
        outcomes=outcomes,
    )


def _pool(config: RouterConfig, pool: str | None) -> str:
    if pool is None and len(config.pools) == 1:
        return next(iter(config.pools))
    if pool is None:
        names = ", ".join(map(repr, config.pools)) or "none"
        raise ConfigError(f"say which pool to simulate; there are: {names}")
    if pool not in config.pools:
        raise ConfigError(f"no pool {pool!r}{suggestion(pool, config.pools, 'pools')}")
    return pool


def _rate(scenario: Scenario, members: Sequence[Member]) -> float | None:
    """Messages a second: as given, or the share ``load`` of what the primary destinations can serve."""
    if scenario.clients is not None:
        return None
    if scenario.rate is not None:
        return scenario.rate
    first = min(member.tier for member in members)
    capacity = 0.0
    for member in members:
        service, places = scenario.server_of(member.id)
        if member.tier == first and member.admin == "enabled" and member.weight > 0:
            if places == "unlimited":
                raise ConfigError(
                    scenario.problems(("load",), f"destination {member.id!r} has unlimited concurrency; give a rate")
                )
            capacity += places / service.mean
    if not capacity:
        raise ConfigError(scenario.problems(("load",), "no primary destination is in use; give a rate"))
    return scenario.load * capacity


def _arrivals(scenario: Scenario, rate: float | None) -> dict[str, Any]:
    if scenario.clients is not None:
        return {"kind": "closed", "clients": scenario.clients}
    if scenario.bursts is not None:
        return {"kind": "bursts", "rate": rate, **dict(scenario.bursts)}
    return {"kind": scenario.arrivals, "rate": rate}


def _keys(keys: KeysConfig) -> dict[str, Any]:
    return {"count": keys.count, "exponent": 0.0 if keys.distribution == "uniform" else keys.exponent}


def _servers(scenario: Scenario, members: Sequence[Member]) -> list[dict[str, Any]]:
    ids = [member.id for member in members]
    for name in scenario.destinations:
        if name not in ids:
            message = f"the pool has no destination {name!r}{suggestion(name, ids, 'destinations')}"
            raise ConfigError(scenario.problems(("destinations", name), message))
    first = min(members, key=lambda member: member.tier).id
    troubles: dict[str, list[dict[str, Any]]] = {name: [] for name in ids}
    for number, trouble in enumerate(scenario.troubles):
        name = trouble.destination or first
        if name not in troubles:
            message = f"the pool has no destination {name!r}{suggestion(name, ids, 'destinations')}"
            raise ConfigError(scenario.problems(("troubles", number, "destination"), message))
        troubles[name].append(_trouble(trouble))
    return [_server(scenario, name, troubles[name]) for name in ids]


def _server(scenario: Scenario, name: str, troubles: list[dict[str, Any]]) -> dict[str, Any]:
    service, places = scenario.server_of(name)
    return {**dict(service), "concurrency": None if places == UNLIMITED else places, "troubles": troubles}


def _trouble(trouble: TroubleConfig) -> dict[str, Any]:
    return {key: value for key, value in dict(trouble).items() if key != "destination"}
