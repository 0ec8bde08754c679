"""The specification's four functions: ``route_message``, ``balance_load``, ``manage_failover``, ``optimize_route``.

They decide and report; nothing is delivered. Calls with an equal configuration share a router, of which the 64 used
last are kept, so that positions in a rotation, latencies and ejections live on between calls; ``result.router`` gives
it, to take leases from and to deliver with. ``router=`` uses a router of the caller's instead; the configuration is
then that router's, and destinations are named by their ids in it. Decisions hold nothing and are counted as picks;
``manage_failover`` only reports, and counts nothing. A call reads the statistics of the whole router, so it costs in
proportion to its destinations: about 0.2 ms for ten, 15 ms for a thousand. To decide in a microsecond there is
``Router.route``.

What the specification calls error handling, function by function. An exception ends the call; a text in
``result.degraded`` starts with the word given here and says what was worked around. (``without_effect``: a switch was
set that does nothing under this configuration, such as ``dynamic_adjustment`` where the policy does not go by weights.)

================  ===========================  ======================================================================
function          case                         what happens
================  ===========================  ======================================================================
route_message     routing rule failures        ``ConfigError`` names a rule that does not compile; ``NoRouteError``
                                               where no rule matches and there is no default; a custom rule that
                                               raises is logged, counted in ``Router.custom_rule_failures``, passed over
route_message     load balancing errors        all of ``balance_load``'s, below; ``branch_failed``: a pool of a route
                                               with mode ``all`` cannot serve, and the quorum is met without it
route_message     failover failures            ``NoDestinationError`` with ``retry_at`` where no tier of any pool of
                                               the route can serve; all of ``manage_failover``'s, below
route_message     validation errors            ``MessageError`` names the field; ``ConfigError`` lists all problems
balance_load      algorithm failures           ``ConfigError`` for an unknown algorithm; ``LoadBalancingError`` where
                                               there is nothing to balance; with all weights 0 all are equal
balance_load      health check errors          ``unhealthy``: reported unhealthy or degraded; ``panic``: too few are
                                               healthy, so health was ignored
balance_load      performance degradation      ``performance_degradation``: the one selected fails, or is far slower
                                               than the others
balance_load      destination failures         ``ejected``: taken out by their failures; ``NoDestinationError`` with
                                               ``retry_at`` where none is left
manage_failover   failover trigger failures    ``failover_held``: the primary is out, and failover is not automatic;
                                               ``exhausted``: nobody can take over; ``spared``: nobody is left to eject
                                               in favour of; ``FailoverError``: no destinations
manage_failover   recovery failures            ``recovery_failing``: ejected again and again without a recovery
manage_failover   health monitoring errors     ``unobserved``: no outcome yet; ``unmonitored``: monitoring is off
manage_failover   redundancy issues            ``no_backup``: redundancy is asked for, and no backup can serve
optimize_route    algorithm failures           ``OptimizationError``: no objective, a route that is not the router's,
                                               figures that cannot be
optimize_route    performance degradation      ``performance_degradation``: the move is held back, for it would risk
                                               failures or latency
optimize_route    cost calculation errors      ``cost_unknown``: cost is left out of a pool where one is not
                                               configured; ``OptimizationError`` for one that cannot be
optimize_route    learning failures            ``learning_restarted``: counters went backwards; the state
                                               ``not enough data``, with what is missing; weights stay as they are
================  ===========================  ======================================================================
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

from ..config import FailoverConfig, LoadBalancingConfig, PoolMember, RouterConfig
from ..config.functions import MessageRoutingConfig, RouteOptimizationConfig, checked, pool_config, router_config
from ..delivery.admission import read_envelope
from ..errors import ConfigError, FailoverError, LoadBalancingError, NoRouteError, OptimizationError, TurnoutError
from ..optimizer import MIN_OUTCOMES, FadingOutcomes, Objectives, Observed, Optimized, optimize
from ..reports import Stats
from ..results import (
    Destination,
    FailoverResult,
    LearningResult,
    LoadBalancingResult,
    MessageRoutingResult,
    Route,
    RouteOptimizationResult,
    RoutingQuality,
)
from ..router import Router
from .picking import balancing_result, choose, failover_result, given, pick
from .poolview import PoolView, reloaded
from .sharing import SharedRouters

Destinations: TypeAlias = Mapping[str, Any] | Sequence[Any]
"""By id, as in a configuration; or a list of ids, mappings with an ``id``, or :class:`~turnout.results.Destination`."""

_routers = SharedRouters()
_learned: WeakKeyDictionary[Router, FadingOutcomes] = WeakKeyDictionary()
_learning = threading.Lock()
"""Held while an entry of ``_learned`` is looked up or made."""


async def route_message(
    message: Any,
    config: MessageRoutingConfig | Mapping[str, Any] | None = None,
    *,
    router: Router | None = None,
) -> MessageRoutingResult:
    """Decides where a message goes, and reports the state of the pool that it goes to.

    ``config``: rules, pools and destinations; or ``router``, which has them.

    Raises:
        ConfigError: the configuration is not valid, or none was given.
        MessageError: the message cannot be read.
        NoRouteError: no stage has a route for it and there is no default, or it is for dead letters.
        NoDestinationError: no destination of its route may receive it now.
    """
    if router is None:
        router = await _router_for(config)
    elif config is not None:
        raise ConfigError("give a configuration or a router, not both: the router has its own")
    if router.config.routing.validation:
        read_envelope(message, strict=True)
    plan = await router._decide(message)
    if not plan.pools:
        raise NoRouteError("the message is for dead letters: delivering it would keep it there")
    decisions, degraded = choose(plan)
    decision = decisions[0]
    stats = router.stats()
    chosen = _view(router, stats, given(decision.pool))
    balance = balancing_result(router, chosen, decision)
    failed = failover_result(router, chosen, router.config.failover, decision)
    weights = {
        name: {one.id: float(one.weight) for one in stats.pools[name].destinations}
        for name in plan.pools
        if name in stats.pools
    }
    state = chosen.state(given(decision.destination))
    return MessageRoutingResult(
        route=Route(plan.rule, plan.stage, plan.pools, plan.mode, weights).with_router(router),
        destination=balance.selected_destination,
        load_balancing=balance,
        failover=failed,
        quality=RoutingQuality(
            score=decision.quality * chosen.pool.healthy_ratio,
            success_rate=decision.quality,
            healthy_ratio=chosen.pool.healthy_ratio,
            samples=state.outcomes,
            tier=decision.tier,
            panic=decision.panic,
        ),
        branches=tuple(
            _view(router, stats, given(one.pool)).destination(given(one.destination))
            for one in decisions
            if plan.mode == "all"
        ),
        generation=decision.generation,
        degraded=tuple(dict.fromkeys([*degraded, *balance.degraded, *failed.degraded])),
    ).with_router(router)


async def balance_load(
    destinations: Destinations,
    config: LoadBalancingConfig | Mapping[str, Any] | None = None,
    *,
    message: Any = None,
    router: Router | None = None,
) -> LoadBalancingResult:
    """Picks one of the destinations by the algorithm of ``config``, and reports their state.

    - ``config``: None for the defaults; with ``router``, its ``algorithm`` is the pool's or None.
    - ``message``: what is to be sent, if only destinations with its clearance may be picked.

    Raises:
        ConfigError: the configuration is not valid, such as an unknown algorithm.
        LoadBalancingError: there is nothing to balance, or ``router`` balances them by another algorithm.
        NoDestinationError: none may receive anything now; ``retry_at`` says when one might.
    """
    settings = checked(LoadBalancingConfig, {} if config is None else config, ("load_balancing",))
    named = _named(destinations, LoadBalancingError)
    if router is None:
        router = await _pool_router(named, load_balancing=settings)
    view = _pool_of(router, named, LoadBalancingError)
    if settings.algorithm not in (None, view.pool.policy):
        problem = f"pool {view.pool.id!r} of the router is balanced by {view.pool.policy}, not {settings.algorithm}"
        raise LoadBalancingError(problem)
    decision = pick(router, view, message)
    return balancing_result(router, _view(router, router.stats(), view.pool.id, view.only), decision)


async def manage_failover(
    destinations: Destinations,
    config: FailoverConfig | Mapping[str, Any] | None = None,
    *,
    router: Router | None = None,
) -> FailoverResult:
    """Reports which destination serves, which stand by, and how recovery goes.

    - ``destinations``: tier 0 is primary, 1 and up are backups.
    - ``config``: None for the defaults, or those of ``router``.

    Raises:
        ConfigError: the configuration is not valid.
        FailoverError: there are no destinations, or ``router`` has no pool with all of them.
    """
    default: FailoverConfig | Mapping[str, Any] = {} if router is None else router.config.failover
    settings = checked(FailoverConfig, default if config is None else config, ("failover",))
    named = _named(destinations, FailoverError)
    if router is None:
        router = await _pool_router(named, failover=settings)
    view = _pool_of(router, named, FailoverError)
    return failover_result(router, view, settings, None)


async def optimize_route(
    route: Route | Mapping[str, Any],
    config: RouteOptimizationConfig | Mapping[str, Any],
    *,
    router: Router | None = None,
) -> RouteOptimizationResult:
    """Better weights for the pools of a route, from the outcomes its router observed, and what to say about them.

    Weights move only between destinations of the tier that serves with at least 100 outcomes each, by at most 20 %
    of its messages a call, and only if an objective gains beyond chance; none falls below a tenth of an equal share.
    They are returned, not applied: put them into the pools of a configuration and ``router.reload`` it.

    - ``config``: with ``learning``, outcomes fade from call to call; without, all since the start count the same.
    - ``router``: whose outcomes; by default the one that made the route.

    Raises:
        ConfigError: the configuration is not valid.
        OptimizationError: no objective, no router, or figures that cannot be computed with.
    """
    wanted = checked(RouteOptimizationConfig, config, ("optimization",))
    objectives = Objectives(wanted.optimize_performance, wanted.optimize_cost, wanted.optimize_quality)
    if not objectives:
        raise OptimizationError("no objective: set optimize_performance, optimize_cost or optimize_quality to true")
    route = route if isinstance(route, Route) else _route_from(route)
    router = router if router is not None else route.router
    if router is None:
        raise OptimizationError("the route does not know its router; give the one whose outcomes are meant: router=")
    stats, degraded = router.stats(), []
    if unknown := [name for name in route.pools if name not in stats.pools]:
        raise OptimizationError(f"the router has no pool {unknown[0]!r}; route the message again")
    outcomes: Mapping[str, tuple[float, float]] = {
        name: (one.successes, one.outcomes) for name, one in stats.destinations.items()
    }
    if wanted.learning:
        with _learning:
            fading = _learned.setdefault(router, FadingOutcomes())
        outcomes, restarted = fading.update(stats.destinations)
        degraded = [f"learning_restarted: the counters of {name} went backwards" for name in restarted]
    observed = {name: _observed(_view(router, stats, name), route, outcomes) for name in route.pools}
    # Large pools take milliseconds, which the event loop has not to spare.
    found = await asyncio.to_thread(optimize, observed, objectives)
    optimized = Route(route.rule, route.stage, route.pools, route.mode, found.weights).with_router(router)
    return RouteOptimizationResult(
        optimized_route=optimized,
        optimization_metrics=found.metrics,
        recommendations=found.recommendations,
        learning=LearningResult(
            state=_learning_state(wanted, found),
            samples=found.samples,
            needed=MIN_OUTCOMES,
            missing=found.missing,
        ),
        degraded=(*degraded, *found.degraded),
    )


# Routers and their pools


async def _router_for(config: MessageRoutingConfig | Mapping[str, Any] | None) -> Router:
    if config is None:
        raise ConfigError("give a configuration, or the router that has one: router=")
    wanted = checked(MessageRoutingConfig, config)
    if wanted is config and (known := _routers.given(config)) is not None:
        return known
    return await _shared(router_config(wanted), wanted)


async def _pool_router(named: Mapping[str, object], **sections: Any) -> Router:
    return await _shared(pool_config(named, **sections), None)


async def _shared(config: RouterConfig, source: object) -> Router:
    known = _routers.equal(config)
    # Compiling many rules takes a while, which the event loop has not to spare.
    return known if known is not None else await asyncio.to_thread(_routers.build, config, source)


def _named(destinations: Destinations, error: type[TurnoutError]) -> dict[str, object]:
    """The destinations by id, as a configuration has them."""
    if isinstance(destinations, Mapping):
        named = dict(destinations)
    elif isinstance(destinations, (str, bytes)) or not isinstance(destinations, Sequence):
        raise error(f"destinations are a list or a mapping by id, not a {type(destinations).__name__}")
    else:
        named = {}
        for one in destinations:
            name, settings = _one(one, error)
            if name in named:
                raise error(f"destination {name!r} is listed twice")
            named[name] = settings
    if not named:
        raise error("there are no destinations; give one at least")
    return named


def _one(destination: object, error: type[TurnoutError]) -> tuple[str, object]:
    """The id of a destination and its settings."""
    if isinstance(destination, str):
        return destination, {}
    if isinstance(destination, Mapping):
        settings = dict(destination)
    elif isinstance(destination, PoolMember):
        settings = destination.model_dump(exclude_none=True)
    elif isinstance(destination, Destination):
        kept = ("id", "tier", "cost", "clearance", "max_in_flight")
        settings = {name: getattr(destination, name) for name in kept if getattr(destination, name) is not None}
        settings["weight"] = round(destination.weight)
    else:
        raise error(f"a destination is an id or a mapping with one, not a {type(destination).__name__}")
    name = settings.pop("id", None)
    if not isinstance(name, str):
        raise error("a destination needs an id: {id: ..., weight: ..., tier: ...}")
    return name, settings


def _view(router: Router, stats: Stats, pool: str, only: frozenset[str] | None = None) -> PoolView:
    if pool not in stats.pools:
        raise reloaded(f"pool {pool!r}")
    return PoolView(router.config, stats, stats.pools[pool], only)


def _pool_of(router: Router, named: Mapping[str, object], error: type[TurnoutError]) -> PoolView:
    """The smallest pool of the router that holds all of these destinations."""
    stats, names = router.stats(), frozenset(named)
    holding = [pool for pool in stats.pools.values() if names <= {one.id for one in pool.destinations}]
    if not holding:
        raise error(f"the router has no pool with all of: {', '.join(sorted(names))}")
    pool = min(holding, key=lambda one: len(one.destinations))
    return _view(router, stats, pool.id, names)


# Optimization


def _learning_state(config: RouteOptimizationConfig, found: Optimized) -> Literal["learning", "not enough data", "off"]:
    if not config.learning:
        return "off"
    return "learning" if found.judged or not found.missing else "not enough data"


def _observed(view: PoolView, route: Route, outcomes: Mapping[str, tuple[float, float]]) -> list[Observed]:
    """The destinations of a pool as the optimizer takes them, with the weights that the route has."""
    weights = route.weights.get(view.pool.id, {})
    rows = []
    for member in view.members:
        state, (successes, total) = view.state(member.id), outcomes.get(member.id, (0.0, 0.0))
        weight = weights.get(member.id, member.weight)
        if not 0 <= weight < math.inf:
            raise OptimizationError(f"the weight of {member.id!r} is {weight!r}; give a number, 0 or more")
        rows.append(
            Observed(
                id=member.id,
                tier=member.tier,
                weight=float(weight),
                eligible=member.eligible,
                successes=successes,
                outcomes=total,
                p50_ms=state.p50_ms,
                p95_ms=state.p95_ms,
                p99_ms=state.p99_ms,
                cost=view.destination(member.id).cost,
            )
        )
    return rows


def _route_from(route: object) -> Route:
    """A route given as a plain mapping, as ``Route.as_dict`` makes it."""
    known = {field.name for field in fields(Route)}
    if not isinstance(route, Mapping) or not set(route) <= known or not isinstance(route.get("pools"), (list, tuple)):
        raise OptimizationError(f"a route is a Route or a mapping with the keys {', '.join(sorted(known))}")
    weights = route.get("weights", {})
    if not isinstance(weights, Mapping) or not all(isinstance(pool, Mapping) for pool in weights.values()):
        raise OptimizationError("a route's weights are a mapping of pools to mappings of destinations to numbers")
    for name, weight in (item for pool in weights.values() for item in pool.items()):
        if not isinstance(weight, (int, float)):
            raise OptimizationError(f"the weight of {name!r} is a {type(weight).__name__}; give a number, 0 or more")
    return Route(
        rule=route.get("rule"),
        stage=route.get("stage", "default"),
        pools=tuple(route["pools"]),
        mode=route.get("mode", "first"),
        weights=weights,
    )
