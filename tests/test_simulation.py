"""Simulation from Python and the command line. What policies do is tested in Rust: tests/simulation.rs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli_support import process, run
from turnout.config import POLICIES, load_dict
from turnout.errors import ConfigError
from turnout.simulation import PRESETS, Scenario, Simulated, load_scenario, preset, simulate

CONFIG = """\
message_router:
  pools:
    web: {policy: weighted_round_robin, destinations: [a, b, {id: reserve, tier: 1}]}
    mail: {destinations: [a]}
  destinations:
    a: {url: "callable:send", weight: 3}
    b: {url: "callable:send"}
    reserve: {url: "callable:send"}
  failover: {recovery_time: 1s, slow_start: 2s}
"""


def config(**more: Any) -> Any:
    pools = {"web": {"destinations": ["a", "b", "c"]}}
    return load_dict({"pools": pools, "destinations": {name: {} for name in "abc"}, **more})


def write(path: Path, text: str = CONFIG) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs_under_every_policy_and_repeats(name: str) -> None:
    scenario = preset(name, duration=20).changed(rate=200.0, routers=2)
    simulated = simulate(config(), scenario, policies=POLICIES)
    assert [one.policy for one in simulated.outcomes] == list(POLICIES)
    for one in simulated.outcomes:
        assert one.messages == one.delivered + one.failed + one.unrouted
        assert one.messages == simulated.outcomes[0].messages > 3_500
        assert len(one.series) == scenario.points
        assert all(sum(states) == 2 for point in one.series for states in point.states)
        assert one.latency is not None
        assert one.latency.p50_ms <= one.latency.p99_ms <= one.latency.max_ms
    assert simulate(config(), scenario, policies=POLICIES) == simulated
    json.dumps(simulated.as_dict())


def test_weights_tiers_and_failover_are_those_of_the_configuration(tmp_path: Path) -> None:
    status, out, _ = run("simulate", write(tmp_path / "r.yaml"), "--pool", "web", "--duration", "20s", "--json")
    assert status == 0
    outcome = json.loads(out)["outcomes"][0]
    assert outcome["policy"] == "weighted_round_robin"
    assert [round(one["share"], 2) for one in outcome["destinations"]] == [0.75, 0.25, 0]
    arguments = ("--pool", "web", "--scenario", "recovering", "--duration", "20s", "--json", "--rate", "40")
    _, out, _ = run("simulate", str(tmp_path / "r.yaml"), *arguments)
    first, _, reserve = json.loads(out)["outcomes"][0]["destinations"]
    assert first["ejections"] > 0 < first["recoveries"]
    assert reserve["attempts"] > 0


def test_unlimited_concurrency_and_own_service_times_hold() -> None:
    service = {"mean": 0.02, "distribution": "constant"}
    given = {
        "rate": 500.0,
        "duration": 5,
        "concurrency": "unlimited",
        "service": service,
        "destinations": {"b": {"service": {**service, "mean": "5ms"}}},
    }
    outcome = simulate(config(), Scenario.model_validate(given)).outcomes[0]
    means = [one.latency.mean_ms for one in outcome.destinations if one.latency]
    assert means == pytest.approx([20, 5, 20])


PROBLEMS = {
    "troubles: [{kind: sloow}]": ("s.yaml:1:19", "did you mean 'slow'"),
    "duration: 5 parsecs": ("s.yaml:1:11", "not a duration"),
    "troubles:\n- {kind: slow, destination: bb}": ("s.yaml:2:", "did you mean 'b'"),
    "destinations: {z: {}}": ("s.yaml:1:", "no destination 'z'"),
    "load: 0.5\nrate: 10": ("s.yaml:2:", "exclude each other"),
    "warmup: 3m": ("s.yaml:1:", "shorter than duration"),
    "concurrency: unlimited": ("load", "give a rate"),
    "speed: 3": ("s.yaml:1:1", "unknown key"),
    "troubles: [{kind: dead, every: 5s}]": ("s.yaml:1:", "go together"),
    "troubles: [{kind: dead, after: 5s, until: 5s}]": ("s.yaml:1:", "later than"),
    "[1, 2]": ("s.yaml", "expected a mapping"),
    "bursts: {every: 1s, lasting: 2s}": ("s.yaml:1:", "shorter than"),
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_what_is_wrong_with_a_scenario_is_named_with_its_place_and_remedy(text: str, tmp_path: Path) -> None:
    place, remedy = PROBLEMS[text]
    scenario = write(tmp_path / "s.yaml", text)
    status, out, err = run("simulate", write(tmp_path / "r.yaml"), "--pool", "web", "--scenario", scenario)
    assert (status, out) == (2, "")
    assert place in err
    assert remedy in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say which pool"),
        (["--pool", "wep"], "did you mean 'web'"),
        (["--pool", "web", "--policy", "rond_robin"], "did you mean 'round_robin'"),
        (["--pool", "web", "--scenario", "slo"], "did you mean 'slow'"),
        (["--pool", "web", "--scenario", "missing.yaml"], "no such file"),
        (["--pool", "web", "--duration", "long"], "--duration: not a duration"),
        (["--pool", "web", "--plot", "x.gif"], ".png or .svg"),
        (["--pool", "web", "--duration", "0"], "above 0"),
    ],
)
def test_wrong_arguments_end_with_a_remedy(arguments: list[str], said: str, tmp_path: Path) -> None:
    status, _, err = run("simulate", write(tmp_path / "r.yaml"), *arguments)
    assert status == 2
    assert said in err


def test_the_table_has_a_row_for_every_policy(tmp_path: Path) -> None:
    arguments = ("--pool", "web", "--policy", "random,response_time", "--scenario", "slow", "--duration", "5s")
    status, out, _ = run("simulate", write(tmp_path / "r.yaml"), *arguments)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("random", "response"))] == [
        "random", "response_time", "random", "response_time",
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_drawn_the_same_each_time(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from turnout.simulation.plot import draw

    made = simulate(config(), preset("fast-failing", duration=10), policies=POLICIES[:3])
    pictures = [tmp_path / f"{number}.{ending}" for number in range(2)]
    for picture in pictures:
        draw(made, picture)
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first.startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_without_matplotlib_a_plot_names_the_remedy_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "turnout.simulation.plot", None)
    monkeypatch.delitem(sys.modules, "turnout.simulation.plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = run("simulate", write(tmp_path / "r.yaml"), "--pool", "web", "--plot", str(tmp_path / "x.png"))
    assert (status, out) == (2, "")
    assert "pip install 'turnout[plot]'" in err


def test_an_overload_ends_early_and_says_so() -> None:
    outcome = simulate(config(), Scenario(rate=1e6, duration=10.0)).outcomes[0]
    assert outcome.ended_early is not None
    assert "more come than" in outcome.ended_early


def test_ctrl_c_ends_a_long_run(tmp_path: Path) -> None:
    arguments = ("simulate", write(tmp_path / "r.yaml"), "--pool", "web", "--duration", "30d")
    with process(*arguments, stderr=subprocess.DEVNULL) as running:
        time.sleep(1.5)
        running.send_signal(signal.SIGINT)
        assert running.wait(20) != 0


def test_a_scenario_is_read_from_json_and_yaml(tmp_path: Path) -> None:
    path = write(tmp_path / "s.json", '{"rate": 5, "troubles": [{"kind": "slow", "factor": 3}]}')
    assert load_scenario(path).troubles[0].factor == 3
    with pytest.raises(ConfigError, match="empty; a scenario"):
        load_scenario(write(tmp_path / "empty.yaml", " \n"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_scenario(_bytes(tmp_path / "b.yaml", b"\xff"))


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_simulation_of_nothing_but_names_is_a_report() -> None:
    assert Simulated("p", "s", None, 1.0, 1, False, 1, None, []).as_dict()["outcomes"] == []


def test_destinations_out_of_use_get_nothing() -> None:
    given = {name: {"admin": admin} for name, admin in (("a", "disabled"), ("b", "draining"), ("c", "enabled"))}
    outcome = simulate(config(destinations=given), Scenario(rate=50.0, duration=10.0)).outcomes[0]
    assert [one.share for one in outcome.destinations] == [0, 0, 1]


def test_policies_without_keys_run_without_the_bound_of_load_and_it_is_said(tmp_path: Path) -> None:
    pools = {"web": {"destinations": ["a", "b", "c"], "policy": "maglev", "bounded_load": 1.25}}
    made = simulate(config(pools=pools), Scenario(rate=50.0, duration=5.0), policies=POLICIES)
    bounded = {one.policy for one in made.outcomes if one.bounded_load == 1.25}
    assert bounded == {"maglev", "rendezvous", "auto"}
    assert set(made.unbounded) == set(POLICIES) - bounded
    text = CONFIG.replace("policy: weighted_round_robin", "policy: rendezvous, bounded_load: 1.5")
    arguments = ("--pool", "web", "--policy", "random,maglev", "--duration", "5s")
    status, out, _ = run("simulate", write(tmp_path / "r.yaml", text), *arguments)
    assert status == 0
    assert "Without bounded_load, which is for policies by key: random\n" in out


def test_more_routers_than_share_a_file_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 64 share"):
        simulate(config(), Scenario(rate=50.0, duration=5.0, routers=65, shared=True))
