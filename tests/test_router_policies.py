"""Policies of a router's pools: keys from messages, weights that change, probabilities in decisions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turnout import ConfigError, Pool, Router

NAMES = ["a", "b", "c", "d", "e"]


def config(**pool: Any) -> dict[str, Any]:
    return {
        "default": "main",
        "pools": {"main": {"policy": "maglev", "destinations": NAMES, **pool}},
        "destinations": {name: {} for name in NAMES},
    }


@pytest.mark.parametrize("policy", ["maglev", "rendezvous"])
def test_the_key_is_a_field_of_the_message(policy: str) -> None:
    router = Router(config(policy=policy, key="message.content.user.id"))
    pool = Pool(NAMES, policy=policy)
    for user in [*range(50), "ana", "bé"]:
        message = {"content": {"user": {"id": user}}}
        decision = router.route(message)
        assert decision.destination == pool.select(key=user)
        assert decision.reason == policy
        assert router.route_json(json.dumps(message).encode()).destination == decision.destination
        (batched,) = router.route_many([json.dumps(message).encode()])
        assert batched.destination == decision.destination
        assert router.acquire(message).destination == decision.destination


@pytest.mark.parametrize("message", [{}, {"key": None}, {"key": 1.5}, {"key": {"id": 1}}])
def test_a_message_without_a_key_goes_anywhere(message: dict[str, Any]) -> None:
    router = Router(config(), seed=3)
    decisions = [router.route(message) for _ in range(200)]
    assert {one.destination for one in decisions} == set(NAMES)
    assert {one.reason for one in decisions} == {"no_key"}


def test_the_envelope_has_the_key_by_default_and_custom_rules_keep_it() -> None:
    router = Router({**config(), "routing": {"routing_rules": ["custom_rules"]}})
    router.custom_rule("mine", lambda message: "main" if message.get("custom") else None)
    place = Pool(NAMES, policy="maglev").select(key="k1")
    assert router.route({"key": "k1"}).destination == place
    decision = router.route({"key": "k1", "custom": True})
    assert (decision.destination, decision.stage) == (place, "custom_rules")


async def test_a_delivery_goes_where_its_key_says() -> None:
    settings = config(key="message.content.user")
    settings["destinations"] = {name: {"url": "callable:note"} for name in NAMES}
    router = Router(settings)
    seen: list[tuple[str, str]] = []
    router.transport("note", lambda message, destination: seen.append((message["content"]["user"], destination)))
    async with router:
        for number in range(40):
            await router.dispatch({"id": str(number), "content": {"user": f"u{number % 8}"}})
    assert len(set(seen)) == 8
    pool = Pool(NAMES, policy="maglev")
    assert all(place == pool.select(key=user) for user, place in seen)


def test_a_router_takes_weights_and_keeps_them_over_a_reload() -> None:
    router = Router(config(policy="adaptive"), seed=1)
    router.set_weights("main", {"a": 0.5, "b": 0.5, "c": 0, "d": 0, "e": 0})
    assert {(one.destination, one.propensity) for one in (router.route({}) for _ in range(100))} == {
        ("a", 0.5),
        ("b", 0.5),
    }
    assert router.route({}).as_dict()["propensity"] == 0.5
    router.reload(config(policy="adaptive"))
    assert router.stats().pools["main"].destinations[0].weight == 0.5
    changed = config(policy="adaptive")
    changed["destinations"]["a"] = {"weight": 3}
    router.reload(changed)
    assert [one.weight for one in router.stats().pools["main"].destinations] == [3, 0.5, 0, 0, 0]
    for pool, weights in (("other", {"a": 1}), ("main", {"z": 1}), ("main", {"a": float("nan")})):
        with pytest.raises(ConfigError):
            router.set_weights(pool, weights)
