"""Limits on rules: each refused when the rule is added, by name, and what is just within is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turnout import Router, RuleError, RuleSet

Rule = dict[str, Any]


def when(text: str) -> Rule:
    return {"when": text}


def match(pattern: Any) -> Rule:
    return {"match": pattern}


def nested(levels: int) -> dict[str, Any]:
    pattern: dict[str, Any] = {"a": [1]}
    for _ in range(levels):
        pattern = {"a": pattern}
    return pattern


def ored(levels: int) -> dict[str, Any]:
    """`$or` in `$or`: each is an object and a list deep."""
    pattern: dict[str, Any] = {"a": [1]}
    for _ in range(levels):
        pattern = {"$or": [pattern, {"b": [2]}]}
    return pattern


def mixed(levels: int) -> str:
    """`or` in `and` in `not`, in turn."""
    text = "message.a == 1"
    for level in range(levels):
        text = [f"!({text})", f"(message.b && {text})", f"(message.c || {text})"][level % 3]
    return text


# The limit, what is beyond it, and the like of it that is within.
LIMITS: list[tuple[str, Rule, Rule]] = [
    ("source_bytes", when('message.a == "' + "x" * 262_144 + '"'), when('message.a == "' + "x" * 262_000 + '"')),
    ("source_bytes", when('message.a == "x' + "é" * 131_072 + '"'), when('message.a == "x' + "é" * 131_000 + '"')),
    ("source_bytes", match({"a": ["x" * 262_144]}), match({"a": ["x" * 262_000]})),
    ("nesting", when("(" * 1_000 + "true" + ")" * 1_000), when("(" * 60 + "true" + ")" * 60)),
    ("nesting", when("(" * 100_000), when("true")),
    ("nesting", when("message" + "[0]" * 80_000), when("message[0][0] == 1")),
    ("nesting", when("!(" * 1_000 + "message.a" + ")" * 1_000), when("!" * 100_001 + "message.a")),
    ("nesting", when(mixed(64)), when(mixed(20))),
    ("nesting", match(nested(64)), match(nested(60))),
    ("nesting", match(ored(32)), match(ored(30))),
    ("literals", when(f"message.a in {list(range(25_001))}"), when(f"message.a in {list(range(25_000))}")),
    ("literals", match({"a": list(range(25_001))}), match({"a": list(range(25_000))})),
    ("nodes", when("message.a == [" + "[]," * 50_001 + "[]]"), when("message.a == [" + "[]," * 20_000 + "[]]")),
    ("nodes", match({"a": [{}] * 50_001}), match({"a": [{"exists": True}] * 10_000})),
    ("regex_bytes", when('message.a.matches("(\\\\w{500}){500}")'), when('message.a.matches("\\\\w{10}")')),
]


@pytest.mark.parametrize(("limit", "beyond", "within"), LIMITS, ids=[f"{at}-{row[0]}" for at, row in enumerate(LIMITS)])
def test_a_rule_beyond_a_limit_is_refused_by_rule_and_limit(limit: str, beyond: Rule, within: Rule) -> None:
    rules = RuleSet([{"id": "fine", **within}])
    for attempt in (lambda: rules.add({"id": "big", **beyond}), lambda: RuleSet([{"id": "big", **beyond}])):
        with pytest.raises(RuleError) as caught:
            attempt()
        assert caught.value.rule == "big"
        assert limit in str(caught.value)
        assert len(str(caught.value)) < 1_000
    assert rules.ids == ["fine"]


@pytest.mark.parametrize(("limit", "beyond"), [row[:2] for row in LIMITS], ids=range(len(LIMITS)))
def test_a_router_refuses_it_too(limit: str, beyond: Rule) -> None:
    settings = {
        "rules": [{"id": "big", **beyond, "to": "all"}],
        "pools": {"all": {"destinations": ["d"]}},
        "destinations": {"d": {"url": "callable:d"}},
    }
    with pytest.raises(Exception, match=limit) as caught:
        Router.from_dict({"message_router": settings})
    assert "big" in str(caught.value)


def test_a_message_of_any_depth_is_matched_or_refused_in_words() -> None:
    rules = RuleSet([{"id": "deep", "when": mixed(20)}, {"id": "same", "match": ored(20)}])
    raw = json.dumps({"a": 1, "b": True, "c": False}).encode()
    assert rules.all_json(raw) == rules.all({"a": 1, "b": True, "c": False})
