"""The four cases of error handling that the specification names for each of the four functions: sixteen in all."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from turnout import Router, balance_load, manage_failover, optimize_route, route_message
from turnout import functions as module
from turnout.errors import (
    ConfigError,
    FailoverError,
    LoadBalancingError,
    MessageError,
    NoDestinationError,
    NoRouteError,
    OptimizationError,
    TurnoutError,
)

POOLS: dict[str, Any] = {
    "default": "p",
    "pools": {"p": {"destinations": ["a", "b"]}, "q": {"destinations": ["c"]}},
    "destinations": {"a": {}, "b": {}, "c": {}},
}
CALM = {"panic_threshold": 0}
"""No panic: who is out stays out."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    module._routers.clear()
    yield
    module._routers.clear()


def known(router: Router | None) -> Router:
    assert router is not None
    return router


def fail(router: Router, destination: str, times: int = 5) -> None:
    for _ in range(times):
        router.acquire({"destination": destination}).failure("refused")


def words(degraded: tuple[str, ...]) -> set[str]:
    return {text.partition(":")[0] for text in degraded}


# route_message


async def test_routing_a_rule_that_does_not_compile_is_named() -> None:
    with pytest.raises(ConfigError, match="broken"):
        await route_message({}, {**POOLS, "rules": [{"id": "broken", "when": "message.a ==", "to": "p"}]})


async def test_routing_without_any_route_is_an_error() -> None:
    config = {**POOLS, "default": None, "rules": [{"id": "r", "when": "message.a == 1", "to": "p"}]}
    with pytest.raises(NoRouteError, match="no rule matched"):
        await route_message({"a": 2}, config)
    with pytest.raises(NoRouteError, match="dead letters"):
        await route_message({"a": 2}, {**config, "default": "dead_letter"})


async def test_routing_passes_over_a_custom_rule_that_raises() -> None:
    router = Router({**POOLS, "routing": {"routing_rules": ["custom_rules"]}})

    def bad(message: Any) -> str | None:
        raise ZeroDivisionError

    router.custom_rule("bad", bad)
    assert (await route_message({}, router=router)).route.stage == "default"
    assert router.custom_rule_failures == {"bad": 1}


async def test_routing_reports_a_pool_that_cannot_serve_though_the_quorum_is_met() -> None:
    rule = {"id": "both", "when": "true", "to": ["q", "p"], "mode": "all", "on_partial_failure": "any"}
    config = {**POOLS, "rules": [rule]}
    known((await route_message({}, config)).route.router).disable("c")
    result = await route_message({}, config)
    assert [one.pool for one in result.branches] == ["p"]
    assert "branch_failed: pool 'q'" in result.degraded[0]
    strict = {**config, "rules": [{**rule, "on_partial_failure": "all"}]}
    known((await route_message({}, strict)).route.router).disable("c")
    with pytest.raises(NoDestinationError):
        await route_message({}, strict)


async def test_routing_with_every_tier_out_says_when_to_try_again() -> None:
    config = {**POOLS, "failover": CALM}
    router = known((await route_message({}, config)).route.router)
    fail(router, "a")
    router.disable("b")
    with pytest.raises(NoDestinationError) as caught:
        await route_message({}, config)
    assert caught.value.pool == "p"
    assert caught.value.retry_at == pytest.approx(time.time() + 30, abs=10)


async def test_routing_reports_a_failover() -> None:
    config = {**POOLS, "pools": {"p": {"destinations": ["a", {"id": "b", "tier": 1}, {"id": "c", "tier": 1}]}}}
    known((await route_message({}, config)).route.router).disable("a")
    result = await route_message({}, config)
    assert result.failover.failover_status.state == "failed_over"
    assert (result.quality.tier, result.destination.tier) == (1, 1)


@pytest.mark.parametrize(
    ("message", "field"),
    [({"priority": 12}, "message.priority"), ({"priority": "high"}, "message.priority"), (3, "message"),
     ({1: 2}, "message"), (b"{", "message"), (None, "message")],
)  # fmt: skip
async def test_routing_refuses_a_message_that_is_none(message: object, field: str) -> None:
    with pytest.raises(MessageError) as caught:
        await route_message(message, POOLS)
    assert caught.value.field == field


async def test_routing_without_validation_checks_only_what_rules_read() -> None:
    assert (await route_message({"priority": 12}, {**POOLS, "validation": False})).destination.pool == "p"


async def test_routing_lists_every_problem_of_a_configuration() -> None:
    with pytest.raises(ConfigError) as caught:
        await route_message({}, {**POOLS, "default": "nowhere", "validation": "yes", "rutes": 1})
    assert len(caught.value.problems) >= 2


# balance_load


@pytest.mark.parametrize(
    ("destinations", "config", "error", "problem"),
    [
        (["a"], {"algorithm": "robin"}, ConfigError, "did you mean 'round_robin'"),
        ([], {}, LoadBalancingError, "no destinations"),
        ({}, {}, LoadBalancingError, "no destinations"),
        (["a", "a"], {}, LoadBalancingError, "listed twice"),
        ("ab", {}, LoadBalancingError, "not a str"),
        (None, {}, LoadBalancingError, "not a NoneType"),
        ([3], {}, LoadBalancingError, "not a int"),
        ([{"weight": 3}], {}, LoadBalancingError, "needs an id"),
        ([{"id": "a", "weight": -1}], {}, ConfigError, "destinations.a.weight"),
        ([{"id": "a", "tier": 1}], {}, ConfigError, "tier"),
        ([{"id": "a", "wieght": 1}], {}, ConfigError, "did you mean 'weight'"),
    ],
)
async def test_balancing_what_cannot_be_balanced_is_an_error(
    destinations: Any, config: Any, error: type[TurnoutError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        await balance_load(destinations, config)


async def test_balancing_on_a_router_needs_a_pool_of_it_and_its_algorithm() -> None:
    router = Router(POOLS)
    with pytest.raises(LoadBalancingError, match="no pool with all of: a, c"):
        await balance_load(["c", "a"], router=router)
    with pytest.raises(LoadBalancingError, match="balanced by round_robin, not random"):
        await balance_load(["a", "b"], {"algorithm": "random"}, router=router)


async def test_balancing_reports_unhealthy_destinations() -> None:
    router = known((await balance_load(["a", "b", "c"])).router)
    router._set_health("a", "unhealthy")
    router._set_health("b", "degraded")
    result = await balance_load(["a", "b", "c"])
    assert result.selected_destination.id == "c"
    assert "unhealthy: a is unhealthy, b is degraded" in result.degraded
    assert result.health_status.destinations == {"a": "unhealthy", "b": "degraded", "c": "healthy"}


async def test_balancing_reports_that_health_was_ignored() -> None:
    router = known((await balance_load(["a", "b", "c"])).router)
    for name in "abc":
        router._set_health(name, "unhealthy")
    result = await balance_load(["a", "b", "c"])
    assert "panic" in words(result.degraded)
    assert result.health_status.healthy_ratio == 0


async def test_balancing_reports_a_destination_that_fails_more_and_more() -> None:
    router = known((await balance_load(["a"])).router)
    for _ in range(20):
        router.acquire({}).success()
        router.acquire({}).failure()
    result = await balance_load(["a"])
    assert "performance_degradation" in words(result.degraded)
    assert result.performance.success_rate == 0.5


async def test_balancing_reports_a_destination_that_is_far_slower_than_the_others() -> None:
    router = known((await balance_load(["a", "b"])).router)
    for name, held in (("a", 0.05), ("b", 0.001)):
        leases = [router.acquire({"destination": name}) for _ in range(30)]
        await asyncio.sleep(held)
        for lease in leases:
            lease.success()
    results = [await balance_load(["a", "b"]) for _ in range(2)]
    by_name = {result.selected_destination.id: result for result in results}
    assert "a has a p95 of" in "".join(by_name["a"].degraded)
    assert "performance_degradation" not in words(by_name["b"].degraded)


async def test_balancing_reports_a_switch_that_has_no_effect_on_its_policy() -> None:
    result = await balance_load(["a"], {"dynamic_adjustment": True})
    assert result.degraded[0].startswith("without_effect: load_balancing.dynamic_adjustment: true has no effect")
    assert (await balance_load(["a"])).degraded == ()


async def test_balancing_reports_ejected_destinations() -> None:
    router = known((await balance_load(["a", "b"])).router)
    fail(router, "a")
    result = await balance_load(["a", "b"])
    assert "ejected: a is ejected" in result.degraded
    assert result.selected_destination.id == "b"


async def test_balancing_with_every_destination_out_is_an_error() -> None:
    router = known((await balance_load(["a", "b"])).router)
    router.disable("a")
    router.drain("b")
    with pytest.raises(NoDestinationError) as caught:
        await balance_load(["a", "b"])
    assert caught.value.retry_at is None


# manage_failover

PAIR = [{"id": "a"}, {"id": "b", "tier": 1}]


async def test_failover_that_is_not_automatic_is_held_for_an_operator() -> None:
    config = {"automatic": False}
    known((await manage_failover(PAIR, config)).router).disable("a")
    result = await manage_failover(PAIR, config)
    assert "failover_held: a is out and failover is not automatic; it could go to b" in result.degraded
    assert result.failover_status.state == "exhausted"
    assert result.active_destination is None


async def test_failover_with_nobody_to_take_over_is_exhausted() -> None:
    config = CALM
    router = known((await manage_failover(PAIR, config)).router)
    router.disable("a")
    router.disable("b")
    result = await manage_failover(PAIR, config)
    assert {"exhausted", "no_backup"} <= words(result.degraded)
    assert result.failover_status.state == "exhausted"
    assert not result.primary_destination.eligible


async def test_failover_says_that_the_last_destination_is_not_ejected() -> None:
    router = known((await manage_failover(["a"])).router)
    fail(router, "a", times=6)
    result = await manage_failover(["a"])
    assert "spared" in words(result.degraded)
    assert result.failover_status.state == "primary"


@pytest.mark.parametrize("destinations", [[], {}, "ab", [{}], ["a", "a"]])
async def test_failover_without_destinations_is_an_error(destinations: Any) -> None:
    with pytest.raises(FailoverError):
        await manage_failover(destinations)
    with pytest.raises(FailoverError, match="no pool with all of"):
        await manage_failover(["zzz"], router=Router(POOLS))


async def test_failover_reports_a_destination_that_does_not_recover() -> None:
    config = {"recovery_time": "30ms", "max_ejection_time": "30ms"}
    router = known((await manage_failover(["a", "b"], config)).router)
    fail(router, "a")
    deadline = time.monotonic() + 5
    while "recovery_failing" not in words((await manage_failover(["a", "b"], config)).degraded):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
        lease = router.acquire({})
        _ = lease.failure() if lease.destination == "a" else lease.success()
    result = await manage_failover(["a", "b"], config)
    assert result.recovery_metrics.ejections >= 2
    assert result.recovery_metrics.recoveries == 0


async def test_failover_says_what_monitoring_does_not_see() -> None:
    router = known((await manage_failover(PAIR)).router)
    assert (await manage_failover(PAIR)).degraded == ()
    for _ in range(20):
        router.acquire({}).success()
    assert "unobserved: no outcome yet of b" in (await manage_failover(PAIR)).degraded
    blind = await manage_failover(PAIR, {"health_monitoring": False})
    assert "unmonitored" in words(blind.degraded)


async def test_failover_says_that_redundancy_is_lost() -> None:
    router = known((await manage_failover(PAIR)).router)
    assert "no_backup" not in words((await manage_failover(PAIR)).degraded)
    router.disable("b")
    result = await manage_failover(PAIR)
    assert "no_backup" in words(result.degraded)
    assert result.failover_status.state == "primary"
    assert "no_backup" in words((await manage_failover(["only"])).degraded)
    assert "no_backup" not in words((await manage_failover(["only"], {"redundancy": False})).degraded)


# optimize_route

SPEED = {"optimize_performance": True}


async def test_optimizing_what_cannot_be_optimized_is_an_error() -> None:
    route = (await route_message({}, POOLS)).route
    with pytest.raises(OptimizationError, match="no objective"):
        await optimize_route(route, {"learning": True})
    with pytest.raises(OptimizationError, match="router="):
        await optimize_route(route.as_dict(), SPEED)
    with pytest.raises(OptimizationError, match="no pool 'p'"):
        await optimize_route(route, SPEED, router=Router({"destinations": {"x": {}}}))
    with pytest.raises(ConfigError, match="did you mean 'optimize_cost'"):
        await optimize_route(route, {"optimize_costs": True})
    for wrong in ({}, {"pools": "p"}, {"pools": ["p"], "poolz": 1}):
        with pytest.raises(OptimizationError, match="a route is"):
            await optimize_route(wrong, SPEED)
    for weight in (-1.0, math.nan, "1"):
        with pytest.raises(OptimizationError, match="weight of 'a'"):
            await optimize_route({"pools": ["p"], "weights": {"p": {"a": weight}}}, SPEED, router=Router(POOLS))


def observe(router: Router, name: str, successes: int, failures: int = 0) -> None:
    for number in range(successes + failures):
        lease = router.acquire({"destination": name})
        # Never five failures in a row, which would eject it.
        _ = lease.failure() if number % 3 == 0 and number // 3 < failures else lease.success()


async def test_optimizing_does_not_risk_failures_for_costs() -> None:
    config = {**POOLS, "destinations": {"a": {"cost": 0.1}, "b": {"cost": 1.0}, "c": {}}}
    route = (await route_message({}, config)).route
    observe(known(route.router), "a", 270, 30)
    observe(known(route.router), "b", 300)
    result = await optimize_route(route, {"optimize_cost": True})
    assert "performance_degradation" in words(result.degraded)
    assert result.optimization_metrics.moved["p"] < 0.1


async def test_optimizing_leaves_out_costs_that_are_unknown() -> None:
    route = (await route_message({}, POOLS)).route
    result = await optimize_route(route, {"optimize_cost": True})
    assert "cost_unknown" in words(result.degraded)
    assert result.recommendations[0].action == "price"
    assert result.optimized_route.weights == route.weights


async def test_learning_starts_anew_where_counters_went_backwards() -> None:
    route = (await route_message({}, POOLS)).route
    router = known(route.router)
    observe(router, "a", 150)
    await optimize_route(route, {**SPEED, "learning": True})
    router.reload({"destinations": {"b": {}}, "pools": {"p": {"destinations": ["b"]}}, "default": "p"})
    router.reload(POOLS)
    result = await optimize_route(route, {**SPEED, "learning": True})
    assert result.degraded == ("learning_restarted: the counters of a went backwards",)
    assert result.learning.state == "not enough data"
    assert result.learning.missing == {"a": 100, "b": 100}
