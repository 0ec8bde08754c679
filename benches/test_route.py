"""Deciding, beside a hand-written dict router and a list of lambdas on the same messages.

Each round goes through the same 1,000 messages once; divide by 1,000 for one decision.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from turnout import Router, RuleSet
from workload import Message, computed, dict_router, lambdas, messages, repeated, rules

MESSAGES = 1_000
SIZES = (10, 100, 1_000)


def router_of(count: int, url: str | None = None) -> Router:
    return router_with(rules(count), "auto", url)


def router_with(rules: list[dict[str, Any]], caching: str, url: str | None = None) -> Router:
    destinations = {f"d{number}": {"url": url} for number in range(10)}
    return Router(
        {
            "message_router": {
                "destinations": destinations,
                "pools": {"all": {"destinations": list(destinations)}},
                "performance": {"caching": caching},
            }
        },
        rules=[{**rule, "to": "all"} for rule in rules],
        default="all",
    )


def drive(decide: Callable[[Message], Any], batch: list[Message]) -> Callable[[], None]:
    """A function that decides on every message of the batch and drops the answers."""

    def run() -> None:
        for message in batch:
            decide(message)

    return run


CONTENDERS: dict[str, Callable[[int], Callable[[Message], Any]]] = {
    "Router.route": lambda count: router_of(count).route,
    "RuleSet.first": lambda count: RuleSet(rules(count)).first,
    "list of lambdas": lambdas,
    "dict of tuples": dict_router,
}


@pytest.mark.parametrize(("count", "name"), list(itertools.product(SIZES, CONTENDERS)))
def test_first_match(benchmark: Any, count: int, name: str) -> None:
    batch = messages(MESSAGES, count)
    expected = [lambdas(count)(message) for message in batch]
    decide = CONTENDERS[name](count)
    answers = [decide(message) for message in batch]
    assert [getattr(answer, "rule", answer) for answer in answers] == expected
    benchmark.group = f"1,000 decisions, {count} rules"
    benchmark(drive(decide, batch))


RULE_KINDS: dict[str, tuple[list[dict[str, Any]], list[Message]]] = {
    "10 rules with an index": (rules(10), messages(MESSAGES, 10)),
    "1,000 expressions": (computed(1_000), repeated(MESSAGES, 100)),
}


@pytest.mark.parametrize(("kind", "caching"), list(itertools.product(RULE_KINDS, ("off", "auto", "on"))))
def test_cache(benchmark: Any, kind: str, caching: str) -> None:
    made, batch = RULE_KINDS[kind]
    router, plain = router_with(made, caching), RuleSet(made)
    # Asked for several times, so that what the cache decides it has decided before it is timed.
    for _ in range(10):
        assert [router.route(message).rule for message in batch] == plain.first_many(batch)
    benchmark.group = f"1,000 decisions, {kind}"
    rounds = 5 if kind == "1,000 expressions" else 200
    benchmark.pedantic(drive(router.route, batch), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["cache"] = router.stats().cache.as_dict()
