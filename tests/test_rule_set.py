"""RuleSet: which rule matches, changing the set, and the kinds of messages it reads."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import threading
import types
from collections.abc import Mapping
from typing import Any

import pydantic
import pytest

from turnout import ConfigError, MessageError, RuleError, RuleSet


def rule(id: str, when: str, priority: int = 0) -> dict[str, Any]:
    return {"id": id, "when": when, "priority": priority}


def test_higher_priority_wins_and_ties_go_to_the_earlier_rule() -> None:
    rules = RuleSet([rule("low", "true", 1), rule("first", "true", 5), rule("second", "true", 5)])
    assert rules.first({}) == "first"
    assert rules.all({}) == ["first", "second", "low"]
    assert rules.ids == ["first", "second", "low"]


def test_when_and_match_must_both_hold() -> None:
    rules = RuleSet([{"id": "both", "when": "message.priority > 5", "match": {"channel": ["sms"]}}])
    assert rules.first({"channel": "sms", "priority": 6}) == "both"
    assert rules.first({"channel": "sms", "priority": 5}) is None
    assert rules.first({"channel": "fax", "priority": 6}) is None


def test_rules_come_and_go() -> None:
    rules = RuleSet([rule("a", 'message.kind == "a"')])
    rules.add(rule("any", "true"))
    rules.add(rule("urgent", "message.level > 3", 9))
    assert (len(rules), "any" in rules, "b" in rules) == (3, True, False)
    assert rules.all({"kind": "a", "level": 4}) == ["urgent", "a", "any"]
    assert rules.remove("any")
    assert not rules.remove("any")
    assert rules.all({"kind": "b", "level": 4}) == ["urgent"]


def test_a_rule_that_cannot_be_added_leaves_the_set_as_it_was() -> None:
    rules = RuleSet([rule("a", "true")])
    with pytest.raises(RuleError, match="another rule has this id"):
        rules.add(rule("a", "false"))
    with pytest.raises(RuleError, match="b"):
        rules.add(rule("b", "message.x =="))
    assert rules.ids == ["a"]


def test_all_rules_that_do_not_compile_are_reported() -> None:
    with pytest.raises(RuleError) as caught:
        RuleSet([rule("a", "1 +"), rule("b", "true"), {"id": "c", "match": {"x": [{"sufix": "y"}]}}])
    assert caught.value.rule == "a"
    assert caught.value.line == 1
    (other,) = caught.value.others
    assert other.rule == "c"
    assert "suffix" in str(other)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"id": "a"}, "no condition"),
        ({"when": "true"}, "id is missing"),
        ({"id": "a", "when": "true", "prio": 1}, "unknown key"),
        ({"id": "a", "when": "true", "priority": "high"}, "priority"),
        ("a", "give a mapping"),
    ],
)
def test_a_rule_that_is_none_is_an_error_that_says_so(given: Any, problem: str) -> None:
    with pytest.raises((RuleError, ConfigError), match=problem):
        RuleSet([given])


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    total: float
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Note:
    channel: str
    order: Order


class Model(pydantic.BaseModel):
    channel: str
    order: dict[str, Any]


class Lazy(Mapping[str, Any]):
    """A Mapping that is no dict, and counts what is looked up."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data, self.asked = data, []  # type: ignore[var-annotated]

    def __getitem__(self, key: str) -> Any:
        self.asked.append(key)
        return self.data[key]

    def __iter__(self) -> Any:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


CONTENT = {"channel": "sms", "order": {"total": 12.5, "tags": ["new"]}}


@pytest.mark.parametrize(
    "message",
    [
        CONTENT,
        types.MappingProxyType(CONTENT),
        Lazy(CONTENT),
        Note("sms", Order(12.5, ("new",))),
        Model.model_validate(CONTENT),
        json.dumps(CONTENT).encode(),
    ],
    ids=["dict", "mapping proxy", "Mapping", "dataclass", "pydantic", "JSON"],
)
def test_every_kind_of_message_is_read_alike(message: Any) -> None:
    rules = RuleSet(
        [
            rule("cel", 'message.channel == "sms" && message.order.total > 12 && "new" in message.order.tags'),
            {
                "id": "pattern",
                "match": {"channel": ["sms"], "order": {"total": [{"numeric": ["<", 13]}], "tags": ["new"]}},
            },
            rule("whole", "message.order.size() == 2"),
            rule("missing", "has(message.order.discount)"),
            rule("nothing", "message.customer.name == 'x'"),
        ]
    )
    assert rules.all(message) == ["cel", "pattern", "whole"]


def test_only_fields_that_rules_name_are_looked_up() -> None:
    message = Lazy({"a": 1, "b": {"c": 2}, "d": object()})
    assert RuleSet([rule("r", "message.a == 1 && message.b.c == 2")]).first(message) == "r"
    assert message.asked == ["a", "b"]


class Level(enum.StrEnum):
    HIGH = "high"


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        (None, "message.x == null"),
        (True, "message.x == true"),
        (2**63 - 1, "message.x == 9223372036854775807"),
        (2**64 - 1, "message.x == 18446744073709551615u"),
        (-(2**63), "message.x == -9223372036854775808"),
        (1.5, "message.x == 1.5"),
        (float("nan"), "message.x != message.x"),
        (float("inf"), "message.x > 1e308"),
        (b"\xff\x00", 'message.x == b"\\xff\\x00"'),
        ("nul \0 inside", 'message.x.contains("\\u0000")'),
        (Level.HIGH, 'message.x == "high"'),
        ((1, 2), "message.x == [1, 2]"),
        ({1: "one", False: "no"}, 'message.x[1] == "one" && message.x[false] == "no"'),
        (
            datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            'message.x == timestamp("2026-01-02T01:04:05.678901Z")',
        ),
        (datetime.timedelta(days=-1, microseconds=1), 'message.x == duration("-86399.999999s")'),
    ],
)
def test_python_values_have_their_meaning_in_cel(value: object, condition: str) -> None:
    assert RuleSet([rule("r", condition)]).first({"x": value}) == "r"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**64, "beyond 64 bits"),
        (-(2**63) - 1, "beyond 64 bits"),
        ("\ud800", "surrogate"),
        ({"deep": "\ud800"}, "surrogate"),
        (datetime.datetime(2026, 1, 1), "without a time zone"),
        ({1, 2}, "a set"),
        (object(), "object"),
        ({None: 1}, "a key of type NoneType"),
    ],
)
def test_a_value_that_rules_cannot_read_is_an_error_that_names_the_field(value: object, problem: str) -> None:
    rules = RuleSet([rule("r", "message.x == 1")])
    with pytest.raises(MessageError, match=problem) as caught:
        rules.first({"x": value})
    assert caught.value.field == "message.x"


def test_a_field_no_rule_names_may_hold_anything() -> None:
    assert RuleSet([rule("r", "message.x == 1")]).first({"x": 1, "y": object(), 3: 2**99}) == "r"


@pytest.mark.parametrize("message", [1, "text", None, [1], {1}, object()])
def test_what_is_no_message_is_refused(message: object) -> None:
    with pytest.raises(MessageError, match="is no message"):
        RuleSet([rule("r", "true")]).first(message)


def test_an_error_in_the_middle_of_a_batch_stands_in_its_place() -> None:
    rules = RuleSet([rule("r", "message.x == 1")])
    first, bad, last = rules.first_many([{"x": 1}, {"x": 2**70}, {"x": 2}])
    assert (first, last) == ("r", None)
    assert isinstance(bad, MessageError)


def test_a_mapping_whose_lookup_raises_is_an_error_of_the_message() -> None:
    class Broken(Lazy):
        def __getitem__(self, key: str) -> Any:
            raise RuntimeError("no connection")

    with pytest.raises(MessageError, match="no connection"):
        RuleSet([rule("r", "message.x == 1")]).first(Broken({}))


def test_explain_names_the_predicate_that_failed_and_the_value_seen() -> None:
    rules = RuleSet([rule("sms", 'message.channel == "sms" && message.priority >= 7', 1), rule("any", "true")])
    explained = rules.explain({"channel": "sms", "priority": 3})
    assert explained["winner"] == "any"
    failed, matched = explained["rules"]
    assert (failed["rule"], failed["matched"], failed["field"], failed["seen"]) == (
        "sms",
        False,
        "message.priority",
        "3",
    )
    assert "message.priority >= 7" in failed["predicate"]
    assert (matched["rule"], matched["matched"]) == ("any", True)


def test_explain_tells_the_candidates_by_what_they_were_found_and_any_rule_asked_for() -> None:
    rules = RuleSet(rule(f"r{n}", f'message.tier == "t{n}" && message.size == {n % 2 + 2}') for n in range(1000))
    explained = rules.explain({"tier": "t7", "size": 1}, rules=["r8"])
    assert (explained["winner"], explained["looked_at"], explained["total"]) == (None, 2, 1000)
    zero, seven, eight = explained["rules"]
    assert (zero["rule"], zero["found_by"]) == ("r0", "tried first, before anything is looked up")
    assert (seven["rule"], seven["found_by"], seven["field"]) == ("r7", 'message.tier == "t7"', "message.size")
    assert (eight["rule"], eight["found_by"], eight["field"], eight["seen"]) == ("r8", None, "message.tier", '"t7"')
    assert [one["rule"] for one in rules.explain({}, rules="all")["rules"]] == rules.ids


@pytest.mark.parametrize(
    ("asked", "said"), [(["none"], 'no rule "none"'), ("r", "write ids as a list"), (["r", "s"], 'no rule "s"')]
)
def test_explaining_a_rule_that_is_not_there_is_an_error(asked: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RuleSet([rule("r", "true")]).explain({}, rules=asked)


@pytest.mark.parametrize("way", ["first", "first_json", "first_many", "first_ndjson"])
def test_witnesses_follow_the_messages_seen_when_rules_change(way: str) -> None:
    # By the rules, a kind is rarer than a region; but every message is of one kind.
    source = ({"id": f"r{n}", "match": {"kind": [n // 12], "region": [n % 150]}} for n in range(3000))
    rules = RuleSet(source)
    message = {"kind": 200, "region": 7}
    raw = json.dumps(message).encode()
    before = len(rules.explain(message)["rules"])
    for _ in range(10_000 if way in ("first", "first_json") else 100):
        match way:
            case "first":
                rules.first(message)
            case "first_json":
                rules.first_json(raw)
            case "first_many":
                rules.first_many([raw] * 100)
            case _:
                rules.first_ndjson((raw + b"\n") * 100)
    assert len(rules.explain(message)["rules"]) == before >= 10
    for n in range(750):
        rules.remove(f"r{n}")
    assert len(rules.explain(message)["rules"]) <= 2
    assert (rules.first(message), rules.first({"kind": 200, "region": 2405 % 150})) == ("r2407", "r2405")


def test_readers_see_whole_changes_while_rules_come_and_go() -> None:
    rules = RuleSet([rule("base", "true")])
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            found = rules.all({"x": 1})
            if found not in (["base"], ["extra", "base"]):
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(300):
        rules.add(rule("extra", "message.x == 1", 5))
        rules.remove("extra")
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_rules_that_no_index_finds_are_named_in_the_order_they_are_tried() -> None:
    rules = RuleSet(
        [
            {"id": "equal", "when": 'message.a == "x"'},
            {"id": "other", "when": 'message.a != "x"'},
            {"id": "there", "priority": 5, "match": {"a": [{"exists": True}]}},
            {"id": "both", "match": {"a": [{"exists": True}], "b": [1]}},
        ]
    )
    assert rules.unindexed == ["there", "other"]


def test_many_rules_that_come_and_go_are_found_as_long_as_they_are_there() -> None:
    rules = RuleSet({"id": f"r{n}", "match": {"a": [n], "b": [{"prefix": f"p{n % 7}-"}]}} for n in range(100))
    for n in range(100, 400):
        rules.add({"id": f"r{n}", "match": {"a": [n]}})
        assert rules.remove(f"r{n - 100}")
    assert len(rules) == 100
    assert rules.ids == [f"r{n}" for n in range(300, 400)]
    for n in range(400):
        message = {"a": n, "b": f"p{n % 7}-x"}
        assert rules.first(message) == (f"r{n}" if n >= 300 else None)
        assert rules.all(message) == ([f"r{n}"] if n >= 300 else [])


def test_ids_are_those_of_the_present_rules_after_every_change() -> None:
    rules = RuleSet([{"id": f"old-{n}", "match": {"n": [n]}} for n in range(40)])
    assert [rules.first({"n": n}) for n in (0, 0, 39)] == ["old-0", "old-0", "old-39"]
    rules.remove("old-0")
    rules.add({"id": "new-0", "match": {"n": [0]}})
    assert [rules.first({"n": n}) for n in (0, 0, 1)] == ["new-0", "new-0", "old-1"]
    assert rules.first_json(b'{"n": 0}') == "new-0"
