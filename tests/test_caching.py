"""The decision cache: answers as without it, bounds, and what the statistics say of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import first_rule
from oracle.strategies import Rule, as_json, messages, profile, rule_sets
from turnout import ConfigError, MessageError, Router
from turnout.config import load_dict, load_text
from turnout.reports import CacheStats

DESTINATIONS = {"destinations": {"x": {}}, "pools": {"p": {"destinations": ["x"]}}, "default": "p"}
# Each example makes routers and asks the oracle of every rule.
fewer = settings(profile, max_examples=profile.max_examples // 3)
SMALL = {"mode": "on", "max_entries": 16, "max_bytes": 65_536}


def config(caching: object) -> dict[str, Any]:
    return {"routing": {"routing_rules": ["content_based"]}, **DESTINATIONS, "performance": {"caching": caching}}


def router(rules: list[Rule], caching: object) -> Router:
    return Router(config(caching), rules=[{**rule, "to": "p"} for rule in rules])


def cache(of: Router) -> CacheStats:
    return of.stats().cache


@fewer
@given(rules=rule_sets(), batch=st.lists(messages, min_size=1, max_size=4), caching=st.sampled_from(["on", SMALL]))
def test_answers_are_those_of_the_oracle_however_often_it_is_asked(
    rules: list[Rule], batch: list[dict[str, Any]], caching: object
) -> None:
    cached, plain = router(rules, caching), router(rules, "off")
    expected = [first_rule(rules, message) for message in batch]
    for _ in range(3):
        for message, rule in zip(batch, expected, strict=True):
            assert cached.route(message).rule == plain.route(message).rule == rule
            raw = as_json(message)
            if raw is not None:
                assert cached.route_json(raw).rule == rule
        assert [decision.rule for decision in cached.route_many(batch)] == expected
    figures = cache(cached)
    assert figures.hits + figures.misses + figures.bypassed >= 6 * len(batch)
    assert cache(plain).hits == cache(plain).misses == 0


@fewer
@given(rules=rule_sets(), others=rule_sets(), batch=st.lists(messages, min_size=1, max_size=3))
def test_no_answer_outlives_a_reload(rules: list[Rule], others: list[Rule], batch: list[dict[str, Any]]) -> None:
    routers = Router({**config("on"), "rules": [{**rule, "to": "p"} for rule in rules]})
    for live in (rules, others, rules):
        routers.reload({**config("on"), "rules": [{**rule, "to": "p"} for rule in live]})
        for message in batch * 2:
            assert routers.route(message).rule == first_rule(live, message)


class Changing(Mapping[str, Any]):
    """A message that says something else each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __getitem__(self, key: str) -> Any:
        if key != "n":
            raise KeyError(key)
        self.asked += 1
        return self.asked

    def __iter__(self) -> Any:
        return iter(("n",))

    def __len__(self) -> int:
        return 1


def test_a_message_that_changes_while_it_is_read_spoils_no_other() -> None:
    rules = [{"id": f"r{n}", "when": f"message.n == {n}"} for n in range(40)]
    routers = router(rules, "on")
    for _ in range(20):
        routers.route(Changing())
    assert [routers.route({"n": n}).rule for n in range(40)] == [f"r{n}" for n in range(40)]


def test_equal_numbers_of_other_types_and_missing_fields_keep_their_answers() -> None:
    rules = [
        {"id": "double", "priority": 2, "when": "type(message.n) == double"},
        {"id": "none", "priority": 1, "when": "has(message.n) && message.n == null"},
        {"id": "true", "priority": 1, "when": "message.n == true"},
        {"id": "one", "when": "message.n == 1"},
    ]
    routers = router(rules, "on")
    expected = [(1, "one"), (1.0, "double"), (True, "true"), (None, "none"), ("1", None)]
    for _ in range(3):
        assert [routers.route({"n": value}).rule for value, _ in expected] == [rule for _, rule in expected]
        assert routers.route({}).rule is None


def test_threads_get_right_answers_while_rules_are_replaced() -> None:
    def rules(generation: int) -> list[dict[str, Any]]:
        return [{"id": f"g{generation}-{n}", "when": f"message.n == {n}", "to": "p"} for n in range(50)]

    routers = Router({**config(SMALL), "rules": rules(0)})
    wrong: list[str] = []
    done = threading.Event()

    def ask(seed: int) -> None:
        dice = random.Random(seed)
        while not done.is_set():
            n = dice.randrange(50)
            decision = routers.route({"n": n})
            # The generation that decided names the rule.
            if decision.rule != f"g{decision.generation - 1}-{n}":
                wrong.append(f"{decision.rule} for {n} in generation {decision.generation}")

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for generation in range(1, 30):
        routers.reload({**config(SMALL), "rules": rules(generation)})
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]


def test_a_scan_exceeds_no_bound_and_does_not_flush_what_is_asked_for_again() -> None:
    routers = router([{"id": "r", "when": "message.n.size() > 3"}], {"mode": "on", "max_entries": 500})
    for number in range(20_000):
        routers.route({"n": f"scan {number}"})
        routers.route({"n": f"hot {number % 100}"})
    figures = cache(routers)
    assert 0 < figures.entries <= 500
    assert 0 < figures.bytes <= 16_777_216
    assert figures.hits > 19_000, figures


def test_rules_that_read_live_facts_are_asked_anew() -> None:
    rules = [{"id": "spill", "when": "live.destinations.x.in_flight > 0 && message.a == 1"}]
    routers = router(rules, "on")
    assert routers.route({"a": 1}).rule is None
    with routers.acquire({"a": 1}):
        assert routers.route({"a": 1}).rule == "spill"
    assert routers.route({"a": 1}).rule is None
    assert cache(routers) == CacheStats("on", False, "rules read live facts", 0, 0, 0, 0, 0)


def test_what_cannot_be_read_raises_each_time_and_is_not_remembered() -> None:
    routers = router([{"id": "r", "when": "message.a == 1"}], "on")
    for _ in range(3):
        with pytest.raises(MessageError):
            routers.route({"a": 2**70})
    figures = cache(routers)
    assert (figures.bypassed, figures.entries, figures.hit_rate) == (3, 0, None)


def test_auto_looks_up_where_matching_is_dear_and_says_why() -> None:
    dear = [{"id": f"r{n}", "when": f"message.a.size() * 3 + message.b.size() == {n + 90}"} for n in range(300)]
    routers = router(dear, "auto")
    batch = [{"a": "x" * (n % 20), "b": "y"} for n in range(400)]
    assert cache(routers).reason == "lookups are being timed beside matches"
    expected = [first_rule(dear, message) for message in batch[:20]] * 20
    # 300 expressions against two dict lookups: a hundredfold, whatever else the machine does.
    for _ in range(30):
        assert [routers.route(message).rule for message in batch] == expected
    figures = cache(routers)
    assert (figures.mode, figures.on) == ("auto", True), figures
    assert figures.reason.startswith("a lookup takes ")
    assert figures.hit_rate is not None
    assert figures.hit_rate > 0.9


def test_auto_is_the_default_and_rests_where_there_is_nothing_to_match() -> None:
    routers = Router(DESTINATIONS)
    for number in range(1_000):
        routers.route({"n": number})
    figures = cache(routers)
    assert (figures.mode, figures.entries) == ("auto", 0)


@pytest.mark.parametrize(
    ("written", "mode"),
    [("true", "on"), ("false", "off"), ("auto", "auto"), ("on", "on"), ("off", "off"), ("{mode: off}", "off")],
)
def test_a_mode_may_be_written_as_a_word_a_switch_or_below_a_key(written: str, mode: str) -> None:
    config = load_text(f"message_router: {{performance: {{caching: {written}}}}}")
    assert config.performance.caching.mode == mode
    assert load_dict(config.model_dump()) == config


def test_bounds_below_the_least_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_bytes: must be at least 65536"):
        router([], {"max_bytes": 100})
