"""The GitHub example over real deliveries: the router decides as the oracle does, rule for rule."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import turnout
from oracle import first_rule, rule_holds

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "examples" / "github" / "router.yaml"
DELIVERIES = ROOT.parent / "shared" / "data" / "github-webhooks.ndjson"

pytestmark = pytest.mark.skipif(
    not DELIVERIES.exists(), reason="the GitHub deliveries (../shared/data/github-webhooks.ndjson) are absent"
)


@pytest.fixture(scope="module")
def deliveries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in DELIVERIES.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["message_router"]["rules"]


@pytest.fixture(scope="module")
def router() -> turnout.Router:
    return turnout.Router.from_yaml(CONFIG)


def pools_of(rules: list[dict[str, Any]], rule: str | None) -> list[str]:
    """Where a rule sends; without a rule, the default."""
    to = next((known["to"] for known in rules if known["id"] == rule), "archive")
    return to if isinstance(to, list) else [to]


def test_every_delivery_meets_the_rule_the_oracle_finds(
    router: turnout.Router, rules: list[dict[str, Any]], deliveries: list[dict[str, Any]]
) -> None:
    assert len(deliveries) == 270
    for message in deliveries:
        expected = first_rule(rules, message)
        decision = router.route(message)
        assert decision.rule == expected, message["id"]
        assert decision.stage == ("default" if expected is None else "content_based"), message["id"]
        assert decision.pool in pools_of(rules, expected), message["id"]


def test_raw_json_and_batches_decide_as_objects_do(
    router: turnout.Router, rules: list[dict[str, Any]], deliveries: list[dict[str, Any]]
) -> None:
    expected = [first_rule(rules, message) for message in deliveries]
    assert [router.route_json(json.dumps(message).encode()).rule for message in deliveries] == expected
    assert [decision.rule for decision in router.route_many(deliveries)] == expected


def test_a_rule_for_all_sends_to_every_pool(
    router: turnout.Router, rules: list[dict[str, Any]], deliveries: list[dict[str, Any]]
) -> None:
    everywhere = {rule["id"] for rule in rules if rule.get("mode") == "all"}
    met = 0
    for message in deliveries:
        decision = router.route(message)
        if decision.rule in everywhere:
            assert [branch.pool for branch in decision.branches] == pools_of(rules, decision.rule), message["id"]
            met += 1
    assert met > 0


def test_the_rules_discriminate(rules: list[dict[str, Any]], deliveries: list[dict[str, Any]]) -> None:
    wins = Counter(first_rule(rules, message) for message in deliveries)
    holds = {rule["id"] for rule in rules if any(rule_holds(rule, message) for message in deliveries)}
    assert len(rules) == 30
    assert sum(rule is not None for rule in wins) >= 20
    assert len(holds) < len(rules), "some rules wait for what these deliveries do not have"
    assert wins[None] > 0
    assert max(wins.values()) < len(deliveries) / 2
