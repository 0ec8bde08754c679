"""Router: stages, routes, default, reload, explain. Delivery has tests of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from turnout import ConfigError, MessageError, NoDestinationError, NoRouteError, Router, TurnoutError

POOLS = {
    "sms": {"destinations": ["sms-1", "sms-2"]},
    "mail": {"destinations": ["mail-1"]},
    "pager": {"destinations": ["pager-1"]},
    "audit": {"destinations": ["audit-1"]},
    "inbox": {"destinations": ["inbox-1"]},
}
DESTINATIONS: dict[str, Any] = {name: {} for pool in POOLS.values() for name in pool["destinations"]}


def router(**settings: Any) -> Router:
    config: dict[str, Any] = {"pools": POOLS, "destinations": DESTINATIONS, "default": "inbox"}
    return Router({"message_router": {**config, **settings}}, seed=1)


RULES = [
    {"id": "texts", "when": 'message.channel == "sms"', "to": "sms"},
    {"id": "mails", "match": {"channel": ["email"]}, "to": "mail", "priority": 5},
]


def stages(*names: str) -> dict[str, Any]:
    return {"routing": {"routing_rules": list(names)}}


def test_a_decision_says_where_and_why() -> None:
    decision = router(rules=RULES).route({"channel": "email"})
    assert decision.as_dict() == {
        "rule": "mails",
        "stage": "content_based",
        "pool": "mail",
        "destination": "mail-1",
        "tier": 0,
        "reason": decision.reason,
        "propensity": None,
        "panic": False,
        "generation": 1,
        "quality": 1.0,
        "mode": "first",
        "branches": [],
    }
    assert "mail-1" in repr(decision)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (("content_based", "priority_based", "destination_based"), ("content_based", "sms")),
        (("priority_based", "content_based", "destination_based"), ("priority_based", "pager")),
        (("destination_based", "content_based", "priority_based"), ("destination_based", "mail")),
    ],
)
def test_the_first_stage_that_yields_a_route_decides(order: tuple[str, ...], expected: tuple[str, str]) -> None:
    hub = router(rules=RULES, urgent={"min_priority": 8, "to": "pager"}, **stages(*order))
    decision = hub.route({"channel": "sms", "priority": 9, "destination": "mail-1"})
    assert (decision.stage, decision.pool) == expected


@pytest.mark.parametrize(("priority", "stage"), [(7, "default"), (8, "priority_based"), (None, "default")])
def test_an_urgent_message_takes_the_urgent_lane(priority: int | None, stage: str) -> None:
    hub = router(urgent={"min_priority": 8, "to": "pager"})
    assert hub.route({"priority": priority}).stage == stage


def test_a_message_may_name_a_pool_or_one_destination() -> None:
    hub = router(rules=RULES)
    assert {hub.route({"destination": "sms"}).destination for _ in range(10)} == {"sms-1", "sms-2"}
    assert {hub.route({"destination": "sms-2"}).destination for _ in range(10)} == {"sms-2"}
    assert hub.route({"destination": "nowhere"}).stage == "default"
    hub.drain("sms-2")
    with pytest.raises(NoDestinationError, match="sms"):
        hub.route({"destination": "sms-2"})


def test_without_a_default_nothing_matched_is_an_error() -> None:
    with pytest.raises(NoRouteError, match="default"):
        router(rules=RULES, default=None).route({"channel": "fax"})


def test_the_default_may_be_dead_letters() -> None:
    decision = router(rules=RULES, default="dead_letter").route({"channel": "fax"})
    assert (decision.destination, decision.pool, decision.reason) == (None, None, "dead_letter")


def test_mode_first_takes_the_next_pool_when_the_first_has_nobody() -> None:
    hub = router(rules=[{"id": "r", "when": "true", "to": ["mail", "audit"]}])
    assert hub.route({}).pool == "mail"
    hub.disable("mail-1")
    assert hub.route({}).pool == "audit"
    hub.disable("audit-1")
    with pytest.raises(NoDestinationError) as caught:
        hub.route({})
    assert caught.value.pool == "mail"


def test_mode_all_decides_for_every_pool() -> None:
    hub = router(rules=[{"id": "r", "when": "true", "to": ["mail", "audit"], "mode": "all"}])
    decision = hub.route({})
    assert [branch.destination for branch in decision.branches] == ["mail-1", "audit-1"]
    leases = hub.acquire_all({})
    assert [lease.destination for lease in leases] == ["mail-1", "audit-1"]
    with pytest.raises(TurnoutError, match="acquire_all"):
        hub.acquire({})


def test_a_quorum_allows_for_pools_without_destination() -> None:
    rule = {"id": "r", "when": "true", "to": ["mail", "audit"], "mode": "all"}
    lenient = router(rules=[{**rule, "on_partial_failure": {"quorum": 1}}])
    lenient.disable("mail-1")
    assert [branch.destination for branch in lenient.route({}).branches] == ["audit-1"]
    strict = router(rules=[rule])
    strict.disable("mail-1")
    with pytest.raises(NoDestinationError):
        strict.route({})


def test_a_message_is_never_sent_below_its_classification() -> None:
    destinations = {"open": {}, "vault": {"clearance": "confidential"}}
    hub = Router({"destinations": destinations, "pools": {"p": {"destinations": ["open", "vault"]}}}, default="p")
    assert {hub.route({"classification": "confidential"}).destination for _ in range(10)} == {"vault"}
    with pytest.raises(NoDestinationError):
        hub.route({"classification": "restricted"})
    with pytest.raises(MessageError, match="classification"):
        hub.route({"classification": "top-secret"})


def test_conditions_may_read_live_facts() -> None:
    rules = [
        {
            "id": "spill",
            "when": "live.pools.sms.healthy_ratio < 0.75 && message.channel == 'sms'",
            "to": "mail",
            "priority": 1,
        },
        *RULES,
    ]
    hub = router(rules=rules)
    assert hub.route({"channel": "sms"}).rule == "texts"
    hub._set_health("sms-1", "unhealthy")
    assert hub.route({"channel": "sms"}).rule == "spill"


def test_a_live_fact_that_does_not_exist_is_an_error_of_the_configuration() -> None:
    for condition in ("live.pools.smz.healthy_ratio < 1.0", "live.pools.sms.colour == 1", "live.pools == 1"):
        with pytest.raises(ConfigError, match="live"):
            router(rules=[{"id": "r", "when": condition, "to": "sms"}])


# Custom rules

CUSTOM = stages("content_based", "custom_rules")


def test_custom_rules_are_asked_in_order_where_their_stage_stands() -> None:
    hub = router(rules=RULES, **CUSTOM)
    hub.custom_rule("none", lambda message: None)
    hub.custom_rule("vip", lambda message: "audit" if message.get("vip") else None)
    hub.custom_rule("one", lambda message: "mail-1")
    assert hub.route({"channel": "sms", "vip": True}).rule == "texts"
    decision = hub.route({"vip": True})
    assert (decision.stage, decision.rule, decision.pool) == ("custom_rules", "vip", "audit")
    assert hub.route({}).destination == "mail-1"
    assert hub.route(b'{"vip": true}').rule == "vip"


def test_errors_of_custom_rules_are_contained_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    hub = router(**CUSTOM)

    def broken(message: Any) -> str:
        raise KeyError("vip")

    hub.custom_rule("broken", broken)
    hub.custom_rule("astray", lambda message: "no-such-pool")
    with caplog.at_level(logging.WARNING, logger="turnout"):
        assert hub.route({}).stage == "default"
    assert dict(hub.custom_rule_failures) == {"broken": 1, "astray": 1}
    assert "broken" in caplog.text


async def test_async_custom_rules_work_where_somebody_can_await() -> None:
    hub = router(**CUSTOM, destinations={**DESTINATIONS, "audit-1": {"url": "callable:take"}})
    hub.transport("take", lambda message, destination: destination)

    async def vip(message: Any) -> str:
        await asyncio.sleep(0)
        return "audit"

    hub.custom_rule("vip", vip)
    with pytest.raises(TurnoutError, match="async"):
        hub.route({})
    async with hub:
        delivery = await hub.dispatch({})
    assert (delivery.rule, delivery.stage, delivery.value) == ("vip", "custom_rules", "audit-1")


def test_a_custom_rule_needs_a_name_of_its_own() -> None:
    hub = router(**CUSTOM)
    hub.custom_rule("a", lambda message: None)
    with pytest.raises(ConfigError, match="already"):
        hub.custom_rule("a", lambda message: None)
    with pytest.raises(ConfigError, match="callable"):
        hub.custom_rule("b", "audit")  # type: ignore[arg-type]


# Reload

BASE = {"pools": POOLS, "destinations": DESTINATIONS, "default": "inbox"}


def test_reload_keeps_the_live_state_of_destinations() -> None:
    hub = router(rules=RULES)
    lease = hub.acquire({"channel": "email"})
    assert hub.reload({**BASE, "rules": [{"id": "new", "when": 'message.channel == "email"', "to": "mail"}]}) == 2
    assert hub.stats().destinations["mail-1"].in_flight == 1
    lease.success()
    state = hub.stats().destinations["mail-1"]
    assert (state.in_flight, state.successes) == (0, 1)
    decision = hub.route({"channel": "email"})
    assert (decision.rule, decision.generation) == ("new", 2)


def test_a_bad_configuration_never_goes_live() -> None:
    hub = router(rules=RULES)
    with pytest.raises(ConfigError, match=r"rules\[0\]\.when"):
        hub.reload({**BASE, "rules": [{"id": "bad", "when": "message.x ==", "to": "mail"}]})
    assert (hub.generation, hub.route({"channel": "email"}).rule) == (1, "mails")


def test_rules_that_do_not_compile_are_all_reported_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(
        "message_router:\n"
        "  destinations: {d: {}}\n"
        "  rules:\n"
        "    - {id: a, to: default, when: 'message.x = 1'}\n"
        "    - {id: b, to: default, match: {x: [{sufix: a}]}}\n"
        "    - {id: c, to: default, enabled: false, when: 'nosuch(1)'}\n"
    )
    with pytest.raises(ConfigError) as caught:
        Router.from_yaml(path)
    places = [(problem.line, problem.column is not None) for problem in caught.value.problems]
    assert places == [(4, True), (5, True)]
    assert "==" in str(caught.value)
    path.write_text(path.read_text().replace("message.x = 1", "true").replace("sufix", "suffix"))
    with pytest.raises(ConfigError, match="nosuch"):
        Router.from_yaml(path)


def test_rules_are_compiled_and_reported_beside_everything_else_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(
        "message_router:\n"
        "  destinatons: {d: {}}\n"
        "  rules:\n"
        "    - {id: a, to: nowhere, when: 'message.x ==='}\n"
        "    - {id: b, to: [], match: {x: [{sufix: a}]}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        Router.from_yaml(path)
    said = str(caught.value)
    for wrong in ("destinations", "nowhere", "rules[0].when", "suffix", "rules[1].to"):
        assert wrong in said
    assert {problem.line for problem in caught.value.problems} == {2, 4, 5}


def test_a_rule_that_is_not_enabled_may_read_live_facts() -> None:
    rule = {"id": "r", "enabled": False, "when": "live.pools.sms.healthy_ratio < 0.5", "to": "sms"}
    assert router(rules=[rule]).route({}).stage == "default"


def test_decisions_go_on_while_configurations_change() -> None:
    hub = router(rules=RULES)
    stop, wrong = threading.Event(), []

    def decide() -> None:
        while not stop.is_set():
            decision = hub.route({"channel": "sms"})
            if decision.rule not in ("texts", "texts-2") or decision.pool != "sms":
                wrong.append(decision)

    threads = [threading.Thread(target=decide) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(50):
        name = "texts-2" if turn % 2 else "texts"
        hub.reload({**BASE, "rules": [{"id": name, "when": 'message.channel == "sms"', "to": "sms"}]})
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


# Batches, counts, explanations


def test_a_bad_message_in_a_batch_is_an_error_in_its_place() -> None:
    first, bad, last = router(rules=RULES).route_many([{"channel": "sms"}, 7, {"channel": "email"}])
    assert (first.rule, last.rule) == ("texts", "mails")  # type: ignore[union-attr]
    assert isinstance(bad, MessageError)


def test_decisions_are_counted_by_rule() -> None:
    hub = router(rules=RULES)
    for channel in ("sms", "sms", "email", "fax"):
        hub.route({"channel": channel})
    stats = hub.stats()
    assert (stats.decisions, dict(stats.by_rule)) == (4, {"mails": 1, "texts": 2})


def test_explain_agrees_with_route() -> None:
    hub = router(rules=RULES, urgent={"min_priority": 8, "to": "pager"})
    explained = hub.explain({"channel": "fax", "priority": 9})
    assert (explained.winner, explained.stage) == (None, "priority_based")
    assert [one.id for one in explained.rules] == ["mails", "texts"]
    assert all(not one.matched and one.field == "message.channel" for one in explained.rules)
    assert (explained.looked_at, explained.total) == (2, 2)


def test_explain_finds_the_candidates_among_many_rules_and_adds_those_asked_for() -> None:
    rules = [{"id": f"r{n}", "match": {"tenant": [f"t{n}"]}, "to": "sms"} for n in range(500)]
    hub = router(rules=rules)
    explained = hub.explain({"tenant": "t7"}, rules=["r9"])
    assert (explained.winner, explained.looked_at, explained.total) == ("r7", 2, 500)
    assert [one.id for one in explained.candidates] == ["r0", "r7"]
    assert str(explained.rule("r0").found_by).startswith("tried first")
    assert explained.rule("r7").found_by == 'message.tenant == "t7"'
    assert (explained.rule("r9").found_by, explained.rule("r9").seen) == (None, '"t7"')
    with pytest.raises(KeyError):
        explained.rule("r8")
    assert len(hub.explain({}, rules="all").rules) == 500
    with pytest.raises(ConfigError, match='no rule "none"'):
        hub.explain({}, rules=["none"])


def test_events_tell_what_happened_to_destinations() -> None:
    hub = router()
    hub.drain("sms-1")
    (event,) = hub.event_log()
    assert (event.destination, event.kind) == ("sms-1", "admin")
    assert hub.event_log(since=event.seq) == []


def test_load_is_spread_by_the_pool_s_policy() -> None:
    hub = router(rules=RULES, routing={"load_balancing": "round_robin"})
    picks = Counter(hub.route({"channel": "sms"}).destination for _ in range(100))
    assert picks == {"sms-1": 50, "sms-2": 50}
