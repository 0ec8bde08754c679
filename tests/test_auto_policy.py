"""Policy ``auto`` from configuration to decisions, statistics, events and simulations."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli_support import run
from turnout import Pool, Router, balance_load
from turnout.config import load_dict, notices
from turnout.errors import LoadBalancingError
from turnout.simulation import Scenario, preset, simulate

YAML = """\
message_router:
  default: main
  failover: {automatic: false}
  pools: {main: {policy: auto, destinations: [a, b, c, d]}}
  destinations: {a: {}, b: {}, c: {}, d: {}}
"""


def config(pool: dict[str, Any] | None = None, **destinations: dict[str, Any]) -> dict[str, Any]:
    members = {"a": {}, "b": {}, **destinations}
    return {
        "default": "main",
        "pools": {"main": {"policy": "auto", "destinations": list(members), **(pool or {})}},
        "destinations": members,
    }


@pytest.mark.parametrize(
    ("given", "in_force"),
    [
        (config(), "round_robin"),
        (config(a={"weight": 3}), "weighted_round_robin"),
        (config(a={"max_in_flight": 5}), "least_connections"),
        (config(a={"max_in_flight": 5, "weight": 2}), "weighted_least_connections"),
        (config({"key": "message.content.user"}), "rendezvous"),
        (config({"bounded_load": 1.25}, **{f"d{number}": {} for number in range(20)}), "maglev"),
        ({**config(), "load_balancing": {"dynamic_adjustment": True}}, "weighted_round_robin"),
    ],
)
def test_the_start_follows_from_the_pool_and_decisions_say_it(given: dict[str, Any], in_force: str) -> None:
    router = Router(given)
    stats = router.stats().pools["main"]
    assert (stats.policy, stats.in_force) == ("auto", in_force)
    message = {"key": "k", "content": {"user": "u"}}
    decisions = [router.route(message) for _ in range(4)]
    assert {one.reason for one in decisions} == {in_force}
    if in_force in ("rendezvous", "maglev"):
        assert len({one.destination for one in decisions}) == 1


def test_weights_that_come_to_differ_are_an_event_and_survive_a_reload() -> None:
    router = Router(config())
    router.set_weights("main", {"a": 3})
    (event,) = [one for one in router.event_log() if one.kind == "policy"]
    assert (event.destination, event.is_of_pool) == ("main", True)
    assert event.reason == "round_robin -> weighted_round_robin: weights differ"
    router.reload(config(c={}))
    assert router.stats().pools["main"].in_force == "weighted_round_robin"
    router.reload({**config(), "pools": {"main": {"policy": "random", "destinations": ["a", "b"]}}})
    assert router.stats().pools["main"].in_force == "random"


def test_balance_load_takes_auto_and_says_what_it_came_to() -> None:
    result = asyncio.run(balance_load(["a", "b"], {"algorithm": "auto"}))
    assert (result.algorithm, result.reason) == ("round_robin", "round_robin")
    router = Router(config())
    assert asyncio.run(balance_load(["a", "b"], {"algorithm": "auto"}, router=router)).algorithm == "round_robin"
    with pytest.raises(LoadBalancingError, match="balanced by auto"):
        asyncio.run(balance_load(["a", "b"], {"algorithm": "random"}, router=router))


def test_a_bare_pool_says_its_policy() -> None:
    assert Pool(["a", "b"], policy="auto").policy == "round_robin"
    assert Pool(["a", "b"], policy="auto", bounded_load=1.25).policy == "rendezvous"
    assert "by auto" in repr(Pool(["a"], policy="auto"))


@pytest.mark.parametrize(("pool", "idle"), [({}, False), ({"key": "message.key"}, True), ({"bounded_load": 2}, True)])
def test_adjusted_weights_are_of_no_use_to_auto_by_key(pool: dict[str, Any], idle: bool) -> None:
    given = {**config(pool), "load_balancing": {"dynamic_adjustment": True}}
    assert any("dynamic_adjustment" in one for one in notices(load_dict(given))) is idle


def test_the_simulation_shows_what_auto_did_and_when(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(YAML)
    status, out, _ = run("simulate", str(path), "--scenario", "slow", "--rate", "150", "--duration", "5m")
    assert status == 0
    lines = [line for line in out.splitlines() if line.startswith("auto, main at ")]
    assert len(lines) == 2
    assert "s: round_robin -> response_time on trial: p99 " in lines[0]
    assert "s: response_time kept: p99 " in lines[1]


def test_keys_are_even_or_as_zipf_has_them() -> None:
    pools = {"main": {"policy": "maglev", "destinations": list("abcde")}}
    loaded = load_dict({"pools": pools, "destinations": {name: {} for name in "abcde"}})
    shares = {}
    for keys in ({}, {"distribution": "zipf", "exponent": 1.5}, {"count": 1}):
        scenario = Scenario.model_validate({"rate": 50, "duration": 60, "keys": keys})
        (outcome,) = simulate(loaded, scenario).outcomes
        shares[str(keys)] = max(one.share for one in outcome.destinations)
    even, zipf, one = shares.values()
    assert even < 0.28 < 0.4 < zipf < one == 1
    assert preset("steady").keys.count == 1_000
