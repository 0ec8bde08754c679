"""Weights that follow what is observed, and utilisation that destinations report, as Python sees them."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from turnout import ConfigError, Pool, Router
from turnout.config import load_dict, load_text, notices
from turnout.simulation import preset, simulate


def config(**pool: Any) -> dict[str, Any]:
    return {
        "default": "main",
        "load_balancing": {"dynamic_adjustment": True},
        "pools": {"main": {"policy": "weighted_round_robin", "destinations": ["a", "b"], **pool}},
        "destinations": {"a": {"health_check": {"heartbeat": "10s"}}, "b": {}},
    }


def test_a_lease_and_a_heartbeat_report_utilisation() -> None:
    router = Router(config())
    assert router.stats().destinations["a"].utilisation is None
    router.heartbeat("a", utilisation=0.5)
    assert router.stats().destinations["a"].utilisation == 0.5
    for _ in range(2):
        lease = router.acquire({})
        assert lease.success(utilisation=1.5 if lease.destination == "a" else 0)
        assert lease.success(utilisation=9) is False, "it had ended"
    stats = router.stats().destinations
    assert stats["a"].utilisation == pytest.approx(0.6)
    assert stats["b"].utilisation == 0
    assert (stats["a"].successes, stats["b"].successes) == (1, 1)


@pytest.mark.parametrize("load", [-0.1, math.nan, math.inf])
def test_what_is_no_load_is_refused_and_changes_nothing(load: float) -> None:
    router = Router(config())
    with pytest.raises(ConfigError, match="utilisation: "):
        router.heartbeat("a", utilisation=load)
    lease = router.acquire({})
    with pytest.raises(ConfigError, match="utilisation: "):
        lease.success(utilisation=load)
    assert not lease.ended
    assert {one.utilisation for one in router.stats().destinations.values()} == {None}
    with pytest.raises(ConfigError, match="no pool has a destination"):
        router.heartbeat("z", utilisation=0.5)


def test_statistics_have_the_weight_as_set_and_as_used() -> None:
    router = Router(config())
    assert [(one.weight, one.effective_weight) for one in router.stats().pools["main"].destinations] == [(1, 1)] * 2
    router.set_weights("main", {"a": 2.5})
    assert [(one.weight, one.effective_weight) for one in router.stats().pools["main"].destinations] == [
        (2.5, 2.5),
        (1, 1),
    ]
    assert Pool(["a", "b"], policy="adaptive", dynamic_adjustment=True).select() in {"a", "b"}


@pytest.mark.parametrize(
    ("policy", "idle"),
    [("round_robin", True), ("least_connections", True), ("maglev", True), ("weighted_random", False)],
)
def test_a_policy_that_does_not_go_by_weights_is_named(policy: str, idle: bool) -> None:
    found = [one for one in notices(load_dict(config(policy=policy))) if "dynamic_adjustment" in one]
    assert len(found) == idle
    for one in found:
        assert f"no effect on pool 'main': {policy}" in one


YAML = """\
message_router:
  default: main
  load_balancing: {{algorithm: weighted_round_robin, dynamic_adjustment: {switch}}}
  failover: {{automatic: false}}
  pools: {{main: {{destinations: [a, b, c, d]}}}}
  destinations: {{a: {{}}, b: {{}}, c: {{}}, d: {{}}}}
"""


def test_the_switch_of_a_file_moves_weights_of_a_router_in_use(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(YAML.format(switch="true"))
    router = Router.from_yaml(path)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        lease = router.acquire({})
        time.sleep(0.01 if lease.destination == "a" else 0.001)
        lease.success()
        weights = {one.id: one.effective_weight for one in router.stats().pools["main"].destinations}
        if weights["a"] < 0.5:
            break
    # The others differ by how the machine runs the threads, so only their sum is sure: what `a` lost is theirs.
    assert weights["a"] < 0.5
    assert weights["b"] + weights["c"] + weights["d"] > 3
    event = next(one for one in router.event_log() if one.kind == "weights")
    assert (event.destination, event.is_of_pool) == ("main", True)
    assert " ms, 0.0 % failed" in event.reason


def test_the_switch_of_a_file_takes_load_off_a_slow_destination() -> None:
    shares = {}
    for switch in ("true", "false"):
        loaded = load_text(YAML.format(switch=switch))
        outcome = simulate(loaded, preset("slow").changed(load=0.25)).outcomes[0]
        shares[switch] = outcome.destinations[0].share
    assert shares["false"] == pytest.approx(0.25, abs=0.01)
    assert shares["true"] < 0.2
