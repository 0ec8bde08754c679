"""Rules and messages made to hurt: the answers are the oracle's, or that of asking each rule by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oracle import all_rules
from oracle.strategies import Rule
from turnout import RuleSet

Message = dict[str, Any]


def by_itself(rules: list[Rule], message: Message) -> list[str]:
    """Each rule in a set of its own, which has no index."""
    return [rule["id"] for rule in rules if RuleSet([rule]).first(message) is not None]


def assert_same(rules: list[Rule], message: Message, expected: list[str]) -> None:
    engine = RuleSet(rules)
    raw = json.dumps(message).encode()
    assert engine.all(message) == engine.all_json(raw) == engine.all_json(raw, strict=True) == expected
    best = expected[0] if expected else None
    assert engine.first(message) == engine.first_json(raw) == best


WILDCARDS = ["*", "?", "a*", "*a", "*a*", "*a*a*a*a*a*a*a*a*", "a*a*a*a*b", "*b", "\\*", "\\\\", "*b*"]


@pytest.mark.parametrize("text", ["", "a", "b", "*", "\\", "?", "a" * 2_000, "a" * 2_000 + "b", "ab" * 1_000])
def test_single_characters_between_wildcards(text: str) -> None:
    rules = [{"id": f"w{at}", "match": {"t": [{"wildcard": wildcard}]}} for at, wildcard in enumerate(WILDCARDS)]
    rules += [
        {"id": f"l{letter}", "match": {"t": [{"wildcard": f"*{letter}*"}]}} for letter in "abcdefghijklmnopqrstuvwxyz"
    ]
    # Python's regular expressions, which the oracle uses, take exponential time on the long ones.
    expected = all_rules(rules, {"t": text}) if len(text) < 10 else by_itself(rules, {"t": text})
    assert_same(rules, {"t": text}, expected)


def test_a_list_of_ten_thousand_objects() -> None:
    rules = [{"id": f"k{at}", "match": {"items": {"k": [f"k{at}"], "v": [{"numeric": [">", at]}]}}} for at in range(60)]
    rules.append({"id": "last", "when": "message.items.exists(i, i.v == 9999)"})
    items = [{"k": f"k{at % 50}", "v": at // 50} for at in range(9_999)] + [{"k": "z", "v": 9_999}]
    # Objects of key k{n} have every value from 0 to 199, so those above n are among them; k50 and up are in none.
    assert_same(rules, {"items": items}, [f"k{at}" for at in range(50)] + ["last"])


def test_ranges_that_all_overlap() -> None:
    rules = [{"id": f"r{at}", "match": {"n": [{"numeric": [">=", -at, "<=", at]}]}} for at in range(2_000)]
    for number in [0, 1, -1_999, 1_000.5, 2_000]:
        assert_same(rules, {"n": number}, [f"r{at}" for at in range(2_000) if at >= abs(number)])


def test_a_hundred_thousand_keys_in_one_message() -> None:
    rules = [{"id": f"r{at}", "match": {f"key{at}": [at]}} for at in range(0, 100, 2)]
    message = {f"key{at}": at for at in range(100_000)}
    assert_same(rules, message, [f"r{at}" for at in range(0, 100, 2)])


def test_ten_thousand_rules_with_one_literal() -> None:
    rules = [
        {"id": f"r{at}", "when": f'message.t.contains("refund") && message.n == {at}', "priority": at % 3}
        for at in range(10_000)
    ]
    assert_same(rules, {"t": "a refund, please", "n": 77}, ["r77"])
    assert_same(rules, {"t": "no", "n": 77}, [])
    plain = [{"id": f"r{at}", "when": 'message.t.contains("refund")', "priority": -at} for at in range(10_000)]
    assert_same(plain, {"t": "refund"}, [f"r{at}" for at in range(10_000)])


@pytest.mark.parametrize("levels", [10, 20, 30])
def test_deep_and_or_and_not(levels: int) -> None:
    rules = []
    for start in range(4):
        text = f"message.a == {start}"
        for level in range(levels):
            text = [f"!({text})", f"message.b && ({text})", f"message.c || ({text})"][(level + start) % 3]
        rules.append({"id": f"d{start}", "when": text})
    for message in [
        {"a": 1, "b": True, "c": False},
        {"a": 2, "b": True, "c": True},
        {"b": False},
        {"a": 0, "c": False},
    ]:
        assert_same(rules, message, by_itself(rules, message))
        assert by_itself(rules, message) == all_rules(rules, message)
