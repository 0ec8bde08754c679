"""The engine against the oracle: the same rules and messages, the same answers, by every way in.

`HYPOTHESIS_PROFILE=thorough` runs 20,000 examples a test instead of 400.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

import turnout
from oracle import all_rules, first_rule
from oracle.strategies import Rule, as_json, catalogue, messages, profile, rule_sets

Message = dict[str, Any]


def assert_agree(engine: turnout.RuleSet, rules: list[Rule], message: Message) -> None:
    """Every question the engine answers about one message, against the oracle's answer."""
    expected = all_rules(rules, message)
    found = list(engine.all(message))
    wrong = {rule["id"] for rule in rules if (rule["id"] in found) != (rule["id"] in expected)}
    assert not wrong, [("found" if rule["id"] in found else "not found", rule) for rule in rules if rule["id"] in wrong]
    assert found == expected
    best = expected[0] if expected else None
    assert engine.first(message) == best
    raw = as_json(message)
    if raw is not None:
        assert list(engine.all_json(raw)) == expected
        assert engine.first_json(raw) == best
    assert_explained(engine, rules, message, expected)


def assert_explained(engine: turnout.RuleSet, rules: list[Rule], message: Message, expected: list[str]) -> None:
    named = [rule["id"] for rule in rules[::7]]
    explained = engine.explain(message, rules=named)
    told = {one["rule"]: one for one in explained["rules"]}
    assert explained["winner"] == (expected[0] if expected else None)
    assert explained["total"] == len(rules)
    assert set(expected) | set(named) <= set(told)
    assert [id for id, one in told.items() if one["matched"]] == expected
    assert all(one["found_by"] or not one["matched"] for one in told.values())
    assert explained["looked_at"] >= (1 if expected else 0)


@profile
@given(rules=rule_sets(), message=messages)
def test_engine_and_oracle_find_the_same_rules(rules: list[Rule], message: Message) -> None:
    assert_agree(turnout.RuleSet(rules), rules, message)


@profile
@given(rules=rule_sets(min_size=2), batch=st.lists(messages, max_size=4))
def test_a_batch_answers_as_its_messages_do(rules: list[Rule], batch: list[Message]) -> None:
    assert list(turnout.RuleSet(rules).first_many(batch)) == [first_rule(rules, message) for message in batch]


@profile
@given(rules=rule_sets(), more=rule_sets(prefix="s"), batch=st.lists(messages, min_size=1, max_size=3), data=st.data())
def test_rules_added_and_removed_count_at_once(
    rules: list[Rule], more: list[Rule], batch: list[Message], data: st.DataObject
) -> None:
    engine = turnout.RuleSet(rules)
    alive = list(rules)
    for rule in more:
        engine.add(rule)
        alive.append(rule)
        if data.draw(st.booleans(), label="remove one"):
            gone = data.draw(st.sampled_from(alive), label="which")
            engine.remove(gone["id"])
            alive.remove(gone)
        for message in batch:
            assert_agree(engine, alive, message)


@profile
@given(rules=rule_sets(), message=messages)
def test_a_removed_rule_may_return_and_then_comes_last_among_equals(rules: list[Rule], message: Message) -> None:
    engine = turnout.RuleSet(rules)
    engine.remove(rules[0]["id"])
    engine.add(rules[0])
    assert_agree(engine, [*rules[1:], rules[0]], message)


@profile
@given(rules=rule_sets())
def test_an_empty_message_is_a_message(rules: list[Rule]) -> None:
    assert_agree(turnout.RuleSet(rules), rules, {})


CATALOGUE = catalogue()
# Each example evaluates thousands of rules naively: fewer of them, and no shrinking, for the failure names the rule.
fewer = settings(profile, max_examples=profile.max_examples // 8, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.fixture(scope="module")
def large() -> turnout.RuleSet:
    return turnout.RuleSet(CATALOGUE)


@fewer
@given(message=messages)
@example(message={"b": "x", "o": [7.5, "sms", {"v": 1}], "items": [7, {"k": "x"}]})  # scalars beside objects in a list
@example(message={"a": "Order-17", "n": 7, "flag": True, "tags": ["x", [1, None]], "items": [[{"k": "sms"}], {"k": 1}]})
def test_a_large_rule_set_agrees(large: turnout.RuleSet, message: Message) -> None:
    assert_agree(large, CATALOGUE, message)


@fewer
@given(extra=rule_sets(prefix="x"), gone=st.sets(st.sampled_from(range(len(CATALOGUE))), max_size=5), message=messages)
def test_a_large_rule_set_agrees_after_changes(extra: list[Rule], gone: set[int], message: Message) -> None:
    engine = turnout.RuleSet(CATALOGUE)
    for at in gone:
        engine.remove(CATALOGUE[at]["id"])
    for rule in extra:
        engine.add(rule)
    alive = [rule for at, rule in enumerate(CATALOGUE) if at not in gone]
    assert_agree(engine, alive + extra, message)
