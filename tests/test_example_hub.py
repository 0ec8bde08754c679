"""examples/hub: what `make demo` promises: every rule has messages, an outage is survived, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cli_support import run
from turnout import config as configuration

HUB = Path(__file__).parent.parent / "examples" / "hub"
RECEIPTS = """\
import atexit, json, sys
sys.path.insert(0, {hub!r})
import app

def setup(router):
    providers = {{provider.name: provider for provider in app.providers()}}
    app.providers = lambda: list(providers.values())
    app.setup(router)
    setup.received = lambda: {{name: provider.received for name, provider in providers.items()}}
    atexit.register(lambda: json.dump(setup.received(), open({receipts!r}, "w")))
"""


def generated(folder: Path, *arguments: str) -> Path:
    path = folder / "messages.ndjson"
    subprocess.run([sys.executable, str(HUB / "generate.py"), str(path), *arguments], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 2,000 messages of the demo."""
    return generated(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def outcome(messages: Path) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
    """The summary of the demo's command, and what every provider says it received, by message id."""
    receipts = messages.with_name("receipts.json")
    wrapper = messages.with_name("wrapper.py")
    wrapper.write_text(RECEIPTS.format(hub=str(HUB), receipts=str(receipts)))
    command = [sys.executable, "-m", "turnout", "run", str(HUB / "router.yaml"), "--app", str(wrapper)]
    done = subprocess.run(
        [*command, "--input", str(messages), "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), json.loads(receipts.read_text())


def test_hub_is_of_a_realistic_size_and_wholly_in_effect() -> None:
    hub = configuration.load_file(HUB / "router.yaml")
    assert configuration.notices(hub) == []
    assert len(hub.rules) >= 20
    assert (len(hub.pools), len(hub.destinations)) == (5, 12)
    assert min(sum(rule.when is not None for rule in hub.rules), sum(rule.match is not None for rule in hub.rules)) >= 8
    assert any(rule.mode == "all" for rule in hub.rules)
    assert len({hub.policy_of(pool) for pool in hub.pools}) == 5
    assert len({member.tier for pool in hub.pools for member in hub.members_of(pool)}) == 2


def test_hub_passes_check_strictly() -> None:
    code, _, err = run("check", "--strict", str(HUB / "router.yaml"))
    assert (code, err) == (0, "")


def test_generator_repeats_with_its_seed(tmp_path: Path, messages: Path) -> None:
    assert generated(tmp_path, "--seed", "7").read_bytes() == messages.read_bytes()
    assert generated(tmp_path, "--seed", "8").read_bytes() != messages.read_bytes()
    assert len(generated(tmp_path, "--count", "3").read_bytes().splitlines()) == 3
    ids = [json.loads(line)["id"] for line in messages.read_bytes().splitlines()]
    assert len(set(ids)) == len(ids) == 2000


def test_everything_is_delivered_and_the_ledger_balances(outcome: tuple[dict[str, Any], Any]) -> None:
    summary, _ = outcome
    ledger = summary["ledger"]
    assert (ledger["accepted"], ledger["delivered"], ledger["lost"]) == (2000, 2000, 0)
    assert (ledger["dead_lettered"], ledger["expired"], ledger["waiting"], ledger["balanced"]) == (0, 0, 0, True)
    assert summary["rejected"] == 0


def test_the_providers_themselves_received_every_message(outcome: tuple[Any, dict[str, Any]], messages: Path) -> None:
    summary, received = outcome
    ids = {json.loads(line)["id"] for line in messages.read_bytes().splitlines()}
    assert set().union(*received.values()) == ids
    for name, counts in received.items():
        assert summary["stats"]["destinations"][name]["successes"] == sum(counts.values()), name


def test_every_rule_and_every_stage_has_messages(outcome: tuple[dict[str, Any], Any]) -> None:
    summary, _ = outcome
    routed: Counter[str] = Counter()
    for row in summary["routed"]:
        routed[row["rule"] or row["stage"]] += row["messages"]
    rules = {rule.id for rule in configuration.load_file(HUB / "router.yaml").rules}
    expected = rules | {"priority_based", "destination_based", "preferred-channel", "default"}
    assert {name for name, count in routed.items() if count} == expected
    assert sum(routed.values()) == 2000


def test_the_outage_ejects_fails_over_and_recovers(outcome: tuple[dict[str, Any], Any]) -> None:
    summary, _ = outcome
    told = [event["kind"] for event in summary["events"] if event["destination"] == "mail-north"]
    assert told == ["ejected", "probation", "recovered"]
    north, reserve = (summary["stats"]["destinations"][name] for name in ("mail-north", "mail-reserve"))
    assert (north["ejections"], north["recoveries"], north["breaker"]) == (1, 1, "closed")
    assert north["failures"] >= 5
    assert north["failure_kinds"] == {"unavailable": north["failures"]}
    assert summary["failovers"] == summary["ledger"]["retries"] == north["failures"]
    assert reserve["successes"] > 0
    others = [one for name, one in summary["stats"]["destinations"].items() if name != "mail-north"]
    assert all(one["failures"] == one["ejections"] == 0 for one in others)
    # It served before the outage (250 calls) and again after the recovery.
    assert north["successes"] > 250


def test_commands_of_the_readme_are_those_of_the_makefile() -> None:
    makefile = (HUB.parent.parent / "Makefile").read_text()
    readme = (HUB / "README.md").read_text()
    for command in (
        "examples/hub/generate.py demo-output/messages.ndjson",
        "turnout run examples/hub/router.yaml --app examples/hub/app.py --input demo-output/messages.ndjson",
    ):
        assert command in makefile
        assert command in readme
