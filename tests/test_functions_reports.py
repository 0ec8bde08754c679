"""What a router reports about itself: labels, plain values, and the figures of a real one."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from turnout import Router
from turnout.reports import DestinationStats, Event, Stats

CORE: dict[str, Any] = {
    "id": "a", "admin": "enabled", "health": "healthy", "breaker": "closed", "ejected_for": None,
    "failed_over": False, "failed_over_for": None, "failed_over_to": None, "in_flight": 1, "picks": 9,
    "attempts": 9, "successes": 4, "failures": 2, "overloaded": 1, "cancelled": 1, "ejections": 0, "recoveries": 0,
    "success_rate": 0.6, "latency_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None, "failure_kinds": {"x": 2},
}  # fmt: skip


@pytest.mark.parametrize(
    ("admin", "health", "breaker", "label"),
    [
        ("enabled", "healthy", "closed", "healthy"),
        ("enabled", "degraded", "closed", "degraded"),
        ("enabled", "degraded", "ejected", "ejected"),
        ("enabled", "healthy", "probation", "probation"),
        ("enabled", "unhealthy", "ejected", "unhealthy"),
        ("draining", "unhealthy", "closed", "draining"),
        ("disabled", "healthy", "ejected", "disabled"),
    ],
)
def test_one_word_for_the_state_is_the_gravest(admin: str, health: str, breaker: str, label: str) -> None:
    assert DestinationStats(**{**CORE, "admin": admin, "health": health, "breaker": breaker}).state == label


def test_what_an_operator_failed_over_is_said_to_be_so_before_its_health() -> None:
    one = DestinationStats(**{**CORE, "failed_over": True, "health": "unhealthy"})
    assert (one.state, DestinationStats(**{**CORE, "failed_over": True, "admin": "disabled"}).state) == (
        "failed_over",
        "disabled",
    )


def test_outcomes_are_what_ended_with_credit_or_blame() -> None:
    assert DestinationStats(**CORE).outcomes == 7


def test_statistics_of_a_router_are_plain_and_frozen() -> None:
    router = Router({"destinations": {"a": {"max_in_flight": 2}, "b": {"tier": 1}}})
    router.acquire({}).success()
    router.route({})
    stats = router.stats()
    assert stats.decisions == 2
    assert stats.destinations["a"].successes == 1
    assert stats.pools["default"].policy == "round_robin"
    assert [(one.id, one.tier, one.max_in_flight) for one in stats.pools["default"].destinations] == [
        ("a", 0, 2),
        ("b", 1, None),
    ]
    assert stats.decision_ns.p50 is None or 0 < stats.decision_ns.p50 < 1e9
    assert pickle.loads(pickle.dumps(stats)) == stats  # noqa: S301
    assert json.loads(json.dumps(stats.as_dict()))["destinations"]["a"]["successes"] == 1
    with pytest.raises(FrozenInstanceError):
        stats.decisions = 3  # type: ignore[misc]
    assert isinstance(stats, Stats)


def test_events_of_a_router_say_what_happened() -> None:
    router = Router({"destinations": {"a": {}, "b": {}}})
    router.drain("a")
    router.enable("a")
    events = router.event_log()
    assert [(event.destination, event.kind) for event in events] == [("a", "admin"), ("a", "admin")]
    assert [event.seq for event in events] == [1, 2]
    assert [event.seq for event in router.event_log(since=1)] == [2]
    assert isinstance(events[0], Event)


def test_an_explanation_says_why_a_rule_did_not_match() -> None:
    pools = {"p": {"destinations": ["a"]}}
    rules = [
        {"id": "texts", "priority": 2, "when": 'message.channel == "sms"', "to": "p"},
        {"id": "mails", "priority": 1, "when": 'message.channel == "email"', "to": "p"},
    ]
    explanation = Router({"rules": rules, "pools": pools, "destinations": {"a": {}}}).explain({"channel": "email"})
    assert (explanation.winner, explanation.stage) == ("mails", "content_based")
    texts, mails = explanation.rules
    assert (texts.id, texts.matched, texts.field) == ("texts", False, "message.channel")
    assert texts.failed_predicate is not None
    assert "sms" in texts.failed_predicate
    assert texts.seen is not None
    assert "email" in texts.seen
    assert (mails.matched, mails.failed_predicate) == (True, None)
