"""The specification's four functions on a real router."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from turnout import Router, balance_load, manage_failover, optimize_route, route_message
from turnout import functions as module
from turnout.config import DestinationConfig, FailoverConfig, LoadBalancingConfig
from turnout.config.functions import MessageRoutingConfig, RouteOptimizationConfig
from turnout.errors import ConfigError
from turnout.functions.sharing import SharedRouters
from turnout.results import Route

CONFIG: dict[str, Any] = {
    "routing_rules": [
        "content_based",
        "destination_based",
        {"id": "texts", "priority": 5, "when": 'message.channel == "sms"', "to": ["sms", "rest"]},
        {"id": "orders", "match": {"total": [{"numeric": [">", 1000]}]}, "to": ["sms", "audit"], "mode": "all"},
    ],
    "load_balancing": {"algorithm": "round_robin", "health_checking": True},
    "failover": {"automatic": True, "redundancy": True, "recovery_time": "30s", "health_monitoring": True},
    "validation": True,
    "default": "rest",
    "pools": {
        "sms": {"destinations": ["a", "b", {"id": "backup", "tier": 1}]},
        "audit": {"destinations": ["log"]},
        "rest": {"destinations": ["inbox"]},
    },
    "destinations": {
        "a": {"url": "callable:send", "cost": 1.0, "weight": 2, "secret": "hunter2"},
        "b": {"cost": 2, "clearance": "internal", "max_in_flight": 10},
        "backup": {},
        "log": {"url": "spool:/tmp/hunter2"},
        "inbox": {},
    },
}
FAST = {"optimize_performance": True, "optimize_cost": False, "optimize_quality": False, "learning": False}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    module._routers.clear()
    yield
    module._routers.clear()


def outcomes(router: Router, destination: str, successes: int, failures: int = 0, held: float = 0.0) -> None:
    """Lets a destination have outcomes, all of them after ``held`` seconds."""
    good = [router.acquire({"destination": destination}) for _ in range(successes)]
    time.sleep(held)
    for lease in good:
        lease.success()
    for _ in range(failures):
        router.acquire({"destination": destination}).failure("refused")


async def test_route_message_fills_every_field_of_the_specification() -> None:
    result = await route_message({"channel": "sms"}, CONFIG)
    assert (result.route.rule, result.route.stage, result.route.mode) == ("texts", "content_based", "first")
    assert result.route.pools == ("sms", "rest")
    assert result.route.weights == {"sms": {"a": 2.0, "b": 1.0, "backup": 1.0}, "rest": {"inbox": 1.0}}
    assert result.destination.id in {"a", "b"}
    assert result.destination == result.load_balancing.selected_destination
    assert result.load_balancing.algorithm == "round_robin"
    assert result.load_balancing.load_distribution.in_flight == {"a": 0, "b": 0, "backup": 0}
    assert result.load_balancing.health_status.destinations == {"a": "healthy", "b": "healthy", "backup": "healthy"}
    assert result.load_balancing.health_status.healthy_ratio == 1.0
    assert result.load_balancing.performance.samples == 0
    assert result.load_balancing.performance.success_rate is None
    assert result.failover.primary_destination.id in {"a", "b"}
    assert [one.id for one in result.failover.backup_destinations][-1] == "backup"
    assert result.failover.failover_status.state == "primary"
    assert result.failover.recovery_metrics.recovery_time_s == 30.0
    assert result.failover.active_destination == result.destination
    assert (result.quality.score, result.quality.samples, result.quality.panic) == (1.0, 0, False)
    assert (result.branches, result.generation) == ((), 1)


async def test_a_destination_is_shown_without_its_secrets() -> None:
    for _ in range(2):
        result = await route_message({"channel": "sms"}, CONFIG)
        if result.destination.id == "a":
            assert (result.destination.scheme, result.destination.cost) == ("callable", 1.0)
        else:
            assert (result.destination.clearance, result.destination.max_in_flight) == ("internal", 10)
        assert "hunter2" not in repr(result)
        assert "hunter2" not in json.dumps(result.as_dict())
    log = (await route_message({"destination": "log"}, CONFIG)).destination
    assert (log.scheme, log.cost) == ("spool", None)


async def test_a_route_to_all_pools_has_a_branch_in_each() -> None:
    result = await route_message({"total": 2000}, CONFIG)
    assert result.route.mode == "all"
    assert [one.pool for one in result.branches] == ["sms", "audit"]
    assert result.branches[0] == result.destination


@pytest.mark.parametrize(
    ("message", "stage", "destination"),
    [({"channel": "fax"}, "default", "inbox"), ({"destination": "log"}, "destination_based", "log")],
)
async def test_the_other_stages_decide_too(message: dict[str, str], stage: str, destination: str) -> None:
    result = await route_message(message, CONFIG)
    assert (result.route.rule, result.route.stage, result.destination.id) == (None, stage, destination)


async def test_calls_with_an_equal_configuration_share_a_router() -> None:
    first = await route_message({"channel": "sms"}, CONFIG)
    second = await route_message({"channel": "sms"}, MessageRoutingConfig.model_validate(CONFIG))
    other = await route_message({"channel": "sms"}, {**CONFIG, "validation": False})
    assert first.route.router is second.route.router
    assert other.route.router is not first.route.router
    assert {first.destination.id, second.destination.id} == {"a", "b"}  # the rotation goes on


async def test_configurations_that_differ_in_a_secret_alone_are_not_equal() -> None:
    changed = {**CONFIG["destinations"], "a": {**CONFIG["destinations"]["a"], "secret": "hunter3"}}
    first = await route_message({"channel": "sms"}, CONFIG)
    second = await route_message({"channel": "sms"}, {**CONFIG, "destinations": changed})
    assert first.route.router is not second.route.router


async def test_concurrent_first_calls_build_one_router() -> None:
    results = await asyncio.gather(*(route_message({"channel": "sms"}, CONFIG) for _ in range(20)))
    assert len({id(result.route.router) for result in results}) == 1
    assert Counter(result.destination.id for result in results) == {"a": 10, "b": 10}


async def test_the_router_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_routers", SharedRouters(limit=2))
    first = (await balance_load(["a"])).router
    second = (await balance_load(["b"])).router
    assert (await balance_load(["a"])).router is first
    await balance_load(["c"])
    assert len(module._routers) == 2
    assert (await balance_load(["a"])).router is first
    assert (await balance_load(["b"])).router is not second


async def test_a_router_of_the_callers_is_used_instead() -> None:
    router = Router({"destinations": {"x": {}, "y": {}}})
    result = await route_message({}, router=router)
    assert result.router is result.route.router is result.load_balancing.router is result.failover.router is router
    assert result.destination.pool == "default"
    with pytest.raises(ConfigError, match="not both"):
        await route_message({}, CONFIG, router=router)
    with pytest.raises(ConfigError, match="give a configuration"):
        await route_message({})


async def test_an_async_custom_rule_is_awaited() -> None:
    async def ask(message: dict[str, Any]) -> str | None:
        await asyncio.sleep(0)
        return "y" if message.get("vip") else None

    router = Router({"destinations": {"x": {}, "y": {}}, "routing": {"routing_rules": ["custom_rules"]}})
    router.custom_rule("ask", ask)
    vip = await route_message({"vip": True}, router=router)
    assert (vip.route.rule, vip.route.stage, vip.destination.id) == ("ask", "custom_rules", "y")
    assert (await route_message({}, router=router)).route.stage == "default"


async def test_decisions_hold_nothing() -> None:
    for _ in range(10):
        result = await route_message({"channel": "sms"}, CONFIG)
    router = result.route.router
    assert router is not None
    stats = router.stats()
    assert all(one.in_flight == 0 for one in stats.destinations.values())
    assert sum(one.outcomes for one in stats.destinations.values()) == 0


async def test_quality_follows_the_outcomes() -> None:
    before = await route_message({"destination": "log"}, CONFIG)
    assert before.route.router is not None
    outcomes(before.route.router, "log", successes=10, failures=2)
    after = await route_message({"destination": "log"}, CONFIG)
    assert after.quality.samples == 12
    assert after.quality.score < 1.0
    assert after.load_balancing.performance.success_rate == pytest.approx(10 / 12)
    assert after.load_balancing.performance.p95_ms is not None


@pytest.mark.parametrize(
    "destinations",
    [
        ["a", "b", "c"],
        [{"id": "a"}, {"id": "b", "weight": 1}, "c"],
        {"a": {}, "b": DestinationConfig(), "c": {"tier": 0}},
    ],
    ids=["ids", "mappings", "by id"],
)
@pytest.mark.parametrize("config", [None, {"algorithm": "round_robin"}, LoadBalancingConfig()])
async def test_balance_load_rotates_over_the_destinations(destinations: Any, config: Any) -> None:
    results = [await balance_load(destinations, config) for _ in range(9)]
    assert Counter(result.selected_destination.id for result in results) == {"a": 3, "b": 3, "c": 3}
    last = results[-1].load_distribution
    assert last.picks == {"a": 3, "b": 3, "c": 3}
    assert last.shares == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


async def test_weighted_round_robin_follows_the_weights() -> None:
    destinations = [{"id": "a", "weight": 5}, {"id": "b", "weight": 1}, {"id": "c", "weight": 1}]
    results = [await balance_load(destinations, {"algorithm": "weighted_round_robin"}) for _ in range(14)]
    assert Counter(result.selected_destination.id for result in results) == {"a": 10, "b": 2, "c": 2}


@pytest.mark.parametrize("algorithm", ["round_robin", "weighted_round_robin", "weighted_least_connections"])
async def test_with_all_weights_0_all_are_equal(algorithm: str) -> None:
    destinations = [{"id": "a", "weight": 0}, {"id": "b", "weight": 0}]
    results = [await balance_load(destinations, {"algorithm": algorithm}) for _ in range(40)]
    assert {result.selected_destination.id for result in results} == {"a", "b"}


async def test_least_connections_sees_the_leases_held_on_the_shared_router() -> None:
    config = {"algorithm": "least_connections"}
    router = (await balance_load(["a", "b"], config)).router
    assert router is not None
    with router.acquire({"destination": "a"}):
        result = await balance_load(["a", "b"], config)
        assert result.selected_destination.id == "b"
        assert result.load_distribution.in_flight == {"a": 1, "b": 0}


async def test_balance_load_without_failover_stays_with_the_first_tier() -> None:
    config = {"algorithm": "round_robin", "failover": False}
    results = [await balance_load([{"id": "a"}, {"id": "b", "tier": 1}], config) for _ in range(3)]
    assert {result.selected_destination.id for result in results} == {"a"}


async def test_balance_load_on_a_router_keeps_to_the_destinations_given() -> None:
    router = Router({"destinations": {name: {} for name in "abcd"}})
    results = [await balance_load(["b", "d"], router=router) for _ in range(4)]
    assert {result.selected_destination.id for result in results} <= {"b", "d"}
    assert set(results[0].health_status.destinations) == {"b", "d"}


async def test_only_destinations_with_clearance_are_picked_for_a_message() -> None:
    destinations = [{"id": "a"}, {"id": "b", "clearance": "restricted"}]
    message = {"classification": "confidential"}
    results = [await balance_load(destinations, message=message) for _ in range(3)]
    assert {result.selected_destination.id for result in results} == {"b"}


TIERS = [{"id": "a"}, {"id": "b"}, {"id": "c", "tier": 1}, {"id": "d", "tier": 2}]


async def test_manage_failover_ranks_primary_and_backups() -> None:
    result = await manage_failover(TIERS, {"automatic": True, "redundancy": True, "recovery_time": 30})
    assert result.primary_destination.id == "a"
    assert [one.id for one in result.backup_destinations] == ["b", "c", "d"]
    assert result.failover_status.state == "primary"
    assert result.active_destination == result.primary_destination
    assert result.recovery_metrics.recovery_time_s == 30.0
    assert result.recovery_metrics.time_to_recover_s is None


async def test_the_better_of_the_first_tier_is_primary() -> None:
    router = (await manage_failover(TIERS)).router
    assert router is not None
    outcomes(router, "a", successes=10, failures=2)
    outcomes(router, "b", successes=10)
    assert (await manage_failover(TIERS)).primary_destination.id == "b"


async def test_backups_take_over_when_the_first_tier_is_out() -> None:
    router = (await manage_failover(TIERS)).router
    assert router is not None
    router.disable("a")
    router.drain("b")
    result = await manage_failover(TIERS)
    assert result.failover_status.state == "failed_over"
    assert "a is disabled, b is draining" in result.failover_status.reason
    assert result.failover_status.since == pytest.approx(time.time(), abs=10)
    assert result.active_destination is not None
    assert result.active_destination.id == "c"
    assert result.primary_destination.id == "a"
    assert not result.primary_destination.eligible
    router.enable("a")
    assert (await manage_failover(TIERS)).failover_status.state == "primary"


async def test_without_redundancy_there_are_no_backups() -> None:
    assert (await manage_failover(TIERS, FailoverConfig(redundancy=False))).backup_destinations == ()


async def test_recovery_is_timed_from_ejection_to_recovery() -> None:
    config = {"recovery_time": "50ms", "max_ejection_time": "50ms", "probation_successes": 1}
    router = (await manage_failover(["a", "b"], config)).router
    assert router is not None
    outcomes(router, "a", successes=0, failures=5)
    ejected = await manage_failover(["a", "b"], config)
    assert ejected.recovery_metrics.ejections == 1
    assert ejected.recovery_metrics.recovering == ("a",)
    assert ejected.recovery_metrics.recovery_in_s == pytest.approx(0.05, abs=0.05)
    assert ejected.primary_destination.id == "b"
    deadline = time.monotonic() + 5
    while (await manage_failover(["a", "b"], config)).recovery_metrics.recoveries == 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
        router.acquire({}).success()
    recovered = (await manage_failover(["a", "b"], config)).recovery_metrics
    assert recovered.recovering == ()
    assert recovered.time_to_recover_s is not None
    assert 0.02 < recovered.time_to_recover_s < 5
    assert recovered.time_to_detect_s is not None
    assert 0 <= recovered.time_to_detect_s < 5
    assert (recovered.trials_passed, recovered.trials_failed) == (1, 0)


async def test_manage_failover_takes_a_router_and_its_settings() -> None:
    router = Router({"destinations": {"a": {}, "b": {"tier": 1}}, "failover": {"recovery_time": "7s"}})
    result = await manage_failover(["a", "b"], router=router)
    assert result.recovery_metrics.recovery_time_s == 7.0
    assert result.router is router


def optimizable() -> dict[str, Any]:
    return {
        "default": "p",
        "pools": {"p": {"destinations": ["fast", "slow"]}},
        "destinations": {"fast": {"cost": 2.0}, "slow": {"cost": 1.0}},
    }


async def test_optimize_route_moves_weight_to_the_faster_destination() -> None:
    route = (await route_message({}, optimizable())).route
    assert route.router is not None
    outcomes(route.router, "fast", successes=150, held=0.002)
    outcomes(route.router, "slow", successes=150, held=0.06)
    result = await optimize_route(route, FAST)
    weights = result.optimized_route.weights["p"]
    assert weights["fast"] > weights["slow"] > 0
    assert result.learning.state == "off"
    assert result.learning.samples == 300
    (advice,) = result.recommendations
    assert advice.action == "move"
    assert advice.text.startswith("pool p: move 20.0% of messages from slow (-20.0) to fast (+20.0).")
    fast, slow = result.optimization_metrics.scores["p"]
    assert fast.performance_score == 1.0
    assert slow.performance_score is not None
    assert slow.performance_score < 0.5
    # The new weights can go live as they are.
    members = [{"id": name, "weight": int(weight)} for name, weight in weights.items()]
    route.router.reload({**optimizable(), "pools": {"p": {"destinations": members}}})
    assert route.router.stats().pools["p"].destinations[0].weight == weights["fast"]


async def test_optimize_route_moves_weight_to_the_more_reliable_destination() -> None:
    route = (await route_message({}, optimizable())).route
    assert route.router is not None
    for _ in range(100):
        outcomes(route.router, "fast", successes=2, failures=1)
        outcomes(route.router, "slow", successes=3)
    result = await optimize_route(route, {"optimize_quality": True})
    assert result.optimized_route.weights["p"]["slow"] > result.optimized_route.weights["p"]["fast"]
    change = result.optimization_metrics.success_change["p"]
    assert change is not None
    assert change.low > 0


async def test_learning_says_that_there_is_not_enough_data() -> None:
    route = (await route_message({}, optimizable())).route
    assert route.router is not None
    outcomes(route.router, "fast", successes=30)
    result = await optimize_route(route, RouteOptimizationConfig(optimize_performance=True, learning=True))
    assert result.learning.state == "not enough data"
    assert (result.learning.samples, result.learning.needed) == (30, 100)
    assert result.learning.missing == {"fast": 70, "slow": 100}
    assert result.optimized_route.weights == route.weights
    assert [one.action for one in result.recommendations] == ["collect"]


async def test_learning_lets_old_outcomes_fade() -> None:
    route = (await route_message({}, optimizable())).route
    assert route.router is not None
    wanted = {"optimize_quality": True, "learning": True}
    outcomes(route.router, "fast", successes=200)
    outcomes(route.router, "slow", successes=200)
    first = await optimize_route(route, wanted)
    assert (first.learning.state, first.learning.samples) == ("learning", 400)
    outcomes(route.router, "fast", successes=600)
    second = await optimize_route(route, wanted)
    assert 960 < second.learning.samples < 1000
    assert (await optimize_route(route, {**wanted, "learning": False})).learning.samples == 1000


async def test_a_route_as_a_plain_mapping_needs_its_router() -> None:
    route = (await route_message({}, optimizable())).route
    result = await optimize_route(route.as_dict(), FAST, router=route.router)
    assert result.optimized_route == route


async def test_results_survive_pickling_without_their_router() -> None:
    result = await route_message({"channel": "sms"}, CONFIG)
    again = pickle.loads(pickle.dumps(result))  # noqa: S301
    assert again == result
    assert again.router is again.route.router is None
    assert replace(result.route) == result.route
    assert "Router" not in repr(result)
    assert json.loads(json.dumps(result.as_dict()))["route"]["rule"] == "texts"
    assert isinstance(again.route, Route)
