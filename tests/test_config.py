"""Configurations that load: the specification's, the starter, every form a key may take, and what follows from them."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from turnout import errors
from turnout.config import (
    ALWAYS_ON,
    CLEARANCES,
    NOT_YET,
    POLICIES,
    DestinationConfig,
    PoolConfig,
    PoolMember,
    RouterConfig,
    RuleConfig,
    extend,
    json_schema,
    load_dict,
    load_file,
    load_text,
    notices,
    parse_duration,
    starter,
)

DATA = Path(__file__).parent / "data"
SPECIFICATION = [DATA / "specification-basic.yaml", DATA / "specification-advanced.yaml"]

WHOLE = """\
message_router:
  routing: {routing_rules: [content_based, destination_based], load_balancing: round_robin, failover: automatic}
  rules:
    - {id: refunds, priority: 100, when: 'message.channel == "sms"', to: billing}
    - id: large-orders
      match: {content: {order: {total: [{numeric: [">", 1000]}]}, kind: [b, a]}}
      to: [fulfilment, audit]
      mode: all
      on_partial_failure: {quorum: 1}
      enabled: false
      description: big ones
  urgent: {min_priority: 9, to: pager}
  default: inbox
  pools:
    billing: {policy: response_time, destinations: [billing-eu, {id: billing-us, tier: 1, weight: 0}]}
    fulfilment: {destinations: [box]}
    audit: {destinations: [box]}
    pager: {destinations: [box]}
    inbox: {destinations: [box]}
  destinations:
    billing-eu: {url: "callable:eu", weight: 3, max_in_flight: 100, cost: 0.002, clearance: confidential}
    billing-us: {url: "spool:us", admin: draining, description: backup}
    box: {}
  retries: {max_attempts: 2, base_delay: 10ms, max_delay: 1s, budget_percent: 5, budget_per_second: 1}
  dead_letters: {max_kept: 10}
  performance: {timeout: 1m30s, concurrency: 8, max_waiting: 9}
"""


@pytest.mark.parametrize("path", SPECIFICATION, ids=lambda path: path.stem)
def test_the_specifications_examples_load_as_they_stand(path: Path) -> None:
    config = load_file(path)
    assert config.failover_mode == "automatic"
    assert config.rules == ()
    assert config.pools == {}


def test_the_specifications_advanced_example_means_what_it_says() -> None:
    config = load_file(SPECIFICATION[1])
    assert config.policy == config.load_balancing.algorithm == "weighted_least_connections"
    assert config.routing.routing_rules[-1] == "custom_rules"
    assert config.failover.recovery_time == 30.0
    assert config.performance.timeout == 10.0
    assert config.optimization.optimize_cost


def test_every_key_of_the_design_loads() -> None:
    config = load_text(WHOLE)
    assert [rule.to for rule in config.rules] == [("billing",), ("fulfilment", "audit")]
    assert config.rules[1].match is not None
    assert list(config.rules[1].match["content"]) == ["order", "kind"]
    assert config.rules[1].on_partial_failure.quorum == 1  # type: ignore[union-attr]
    assert config.policy_of("billing") == "response_time"
    assert config.policy_of("audit") == "round_robin"
    assert [(m.id, m.weight, m.tier) for m in config.members_of("billing")] == [
        ("billing-eu", 3, 0),
        ("billing-us", 0, 1),
    ]
    assert config.members_of("billing")[0].clearance == "confidential"
    assert config.members_of("billing")[1].admin == "draining"
    assert config.performance.timeout == 90.0
    assert config.default_pool == "inbox"


def test_a_configuration_cannot_be_changed() -> None:
    config = load_text(WHOLE)
    with pytest.raises(ValueError, match="frozen"):
        config.retries.max_attempts = 9


def test_the_inner_mapping_alone_is_enough_from_code() -> None:
    inner: dict[str, Any] = {"destinations": {"a": {}}}
    assert load_dict(inner) == load_dict({"message_router": inner})
    config = load_dict(inner)
    assert load_dict(config) is config


def test_models_are_taken_where_mappings_are() -> None:
    config = load_dict(
        {
            "rules": [RuleConfig(id="a", when="true", to=("p",))],
            "pools": {"p": PoolConfig(destinations=(PoolMember(id="x", tier=0),))},
            "destinations": {"x": DestinationConfig(weight=2)},
        }
    )
    assert config.members_of("p")[0].weight == 2


def test_destinations_without_pools_form_the_default_pool() -> None:
    config = load_dict({"destinations": {"a": {}, "b": {"tier": 1}}})
    assert config.default == "default"
    assert [member.id for member in config.members_of("default")] == ["a", "b"]
    assert load_dict({"destinations": {"a": {}}, "default": "dead_letter"}).default_is_dead_letter


def test_a_dump_loads_to_an_equal_configuration() -> None:
    for config in (load_text(WHOLE), load_dict({"destinations": {"a": {}}}), *map(load_file, SPECIFICATION)):
        assert load_dict(config.model_dump()) == config
        assert load_text(json.dumps({"message_router": config.model_dump(mode="json")}), format="json") == config


def test_a_configuration_survives_pickling_and_copying() -> None:
    config = load_text(WHOLE)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - its own
    assert copy.deepcopy(config) == config


# --- what comes from code ------------------------------------------------------------------------------------------


def test_rules_and_destinations_from_code_join_those_of_the_file() -> None:
    text = "message_router: {rules: [{id: a, when: 'true', to: p}]}"
    code = {
        "rules": [{"id": "b", "when": "true", "to": "p"}],
        "pools": {"p": {"destinations": ["x"]}},
        "destinations": {"x": {}},
    }
    config = load_text(text, code=code)
    assert [rule.id for rule in config.rules] == ["a", "b"]
    with pytest.raises(errors.ConfigError, match="unknown pool 'p'; no pool is defined"):
        load_text(text)


def test_extending_checks_the_whole_again() -> None:
    config = load_dict({"destinations": {"a": {}}})
    wider = extend(config, {"destinations": {"b": {}}})
    assert [member.id for member in wider.members_of("default")] == ["a", "b"]
    assert [member.id for member in config.members_of("default")] == ["a"]
    with pytest.raises(errors.ConfigError, match=r"^rules\[0\]\.to: unknown pool 'defalt'; did you mean 'default'\?$"):
        extend(config, {"rules": [{"id": "r", "when": "true", "to": "defalt"}]})


def test_a_later_problem_finds_its_place_in_the_file() -> None:
    config = extend(load_text(WHOLE, "router.yaml"), {"rules": [{"id": "b", "when": "true", "to": "inbox"}]})
    assert str(config.problem(("rules", 0, "when"), "no")) == "router.yaml:4:42: message_router.rules[0].when: no"
    assert str(config.problem(("rules", 2, "when"), "no")) == "message_router.rules[2].when: no"
    assert str(load_dict({}).problem(("rules", 0), "no")) == "rules[0]: no"


# --- several keys about one thing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "mode"),
    [
        ({}, "automatic"),
        ({"routing": {"failover": "manual"}}, "manual"),
        ({"routing": {"failover": False}}, "off"),
        ({"failover": {"automatic": False}}, "manual"),
        ({"failover": {"automatic": False}, "load_balancing": {"failover": False}}, "off"),
        ({"load_balancing": {"failover": False}}, "off"),
        ({"quality": {"failover_support": False}}, "off"),
        ({"routing": {"failover": "manual"}, "load_balancing": {"failover": True}}, "manual"),
    ],
)
def test_all_keys_about_failover_say_one_mode(mapping: dict[str, Any], mode: str) -> None:
    assert load_dict(mapping).failover_mode == mode


def test_unquoted_off_is_the_mode_off() -> None:
    assert load_text("message_router: {routing: {failover: off}}").failover_mode == "off"


def test_without_error_recovery_there_is_one_attempt() -> None:
    assert load_dict({}).max_attempts == 4
    assert load_dict({"quality": {"error_recovery": False}}).max_attempts == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_may_be_named_in_three_places(policy: str) -> None:
    assert load_dict({"routing": {"load_balancing": policy}}).policy == policy
    assert load_dict({"load_balancing": {"algorithm": policy}}).policy == policy
    pools = {"pools": {"p": {"policy": policy, "destinations": ["x"]}}, "destinations": {"x": {}}}
    assert load_dict(pools).policy_of("p") == policy


# --- durations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("250ms", 0.25), ("30m", 1800), ("1h30m", 5400), ("1.5s", 1.5), ("2d", 172800), (3, 3), (0.5, 0.5)],
)
def test_durations_are_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "5", "5 s", "s", "-5s", "5s5s", "\u0665s", "1e3s", True, None, -1, float("nan"), 10**400]
)
def test_other_values_are_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse_duration(f"{hours}h{minutes}m{seconds}s{millis}ms") == pytest.approx(total)


# --- the starter, the schema, the notices --------------------------------------------------------------------------


def test_schedules_of_further_rounds_say_where_they_are_in_vain() -> None:
    given = {"retries": {"schedule": ["5s", "30m"]}, "destinations": {"a": {}}, "default": "p"}
    given["pools"] = {"p": {"destinations": ["a"], "retries": {"schedule": ["10h"]}}}
    config = load_dict(given)
    assert (config.retries.schedule, config.pools["p"].retries and config.pools["p"].retries.schedule) == (
        (5.0, 1800.0), (36_000.0,),
    )  # fmt: skip
    assert [one.split(":")[0] for one in notices(config)] == ["retries.schedule", "pools.p.retries.schedule"]
    assert all("no outbox" in one for one in notices(config))
    with_outbox = load_dict({**given, "outbox": {"path": "o.db", "max_age": "1h"}})
    assert notices(with_outbox) == [
        "pools.p.retries.schedule: lasts longer than outbox.max_age, by which messages expire"
    ]
    with pytest.raises(errors.ConfigError, match=r"retries\.schedule\[0\]"):
        load_dict({"retries": {"schedule": ["0s"]}})


def test_the_starter_loads_without_problems_or_notices() -> None:
    config = load_text(starter(), "router.yaml")
    assert notices(config) == []
    assert config.rules
    assert config.pools


def schema_errors(document: object) -> list[str]:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


def test_the_schema_accepts_what_loads() -> None:
    for text in (starter(), WHOLE, *(path.read_text() for path in SPECIFICATION)):
        assert schema_errors(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "message_router: {polcy: 1}",
        "message_router: {performance: {timeout: 5 seconds}}",
        "message_router: {routing: {load_balancing: fastest}}",
        "message_router: {rules: [{id: a, to: p}]}",
        "message_router: {rules: [{id: a, when: x, to: []}]}",
        "message_router: {destinations: {a: {weight: -1}}}",
        "message_router: {urgent: {min_priority: 10, to: p}}",
    ],
)
def test_the_schema_refuses_what_does_not_load(text: str) -> None:
    assert schema_errors(yaml.safe_load(text))
    with pytest.raises(errors.ConfigError):
        load_text(text)


def test_every_key_of_the_schema_has_a_description() -> None:
    schema = json_schema()
    for name, model in [("root", schema), *schema["$defs"].items()]:
        for key, field in model.get("properties", {}).items():
            target = schema["$defs"].get(field.get("$ref", "").removeprefix("#/$defs/"), {})
            assert field.get("description") or target.get("description"), f"{name}.{key}"


def test_the_schema_offers_an_editor_the_choices() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["PoolConfig"]["properties"]["policy"]["anyOf"][0]["enum"] == list(POLICIES)
    assert definitions["DestinationConfig"]["properties"]["clearance"]["enum"] == list(CLEARANCES)


def test_keys_without_effect_are_told() -> None:
    told = notices(load_file(SPECIFICATION[1]))
    assert {line.split(":")[0] for line in told} == {".".join(path) for path in NOT_YET}
    assert notices(load_dict({"quality": {"quality_metrics": False}})) == [
        f"quality.quality_metrics: false has no effect: {ALWAYS_ON['quality', 'quality_metrics']}"
    ]


def test_lanes_that_no_stage_uses_are_told() -> None:
    mapping = {
        "routing": {"routing_rules": ["destination_based"]},
        "rules": [{"id": "a", "when": "true", "to": "default"}],
        "urgent": {"to": "default"},
        "destinations": {"x": {}},
    }
    assert [line.split(":")[0] for line in notices(load_dict(mapping))] == ["rules", "urgent"]


@pytest.mark.parametrize("path", [*NOT_YET, *ALWAYS_ON])
def test_every_key_told_of_exists(path: tuple[str, str]) -> None:
    section = getattr(RouterConfig(), path[0])
    assert isinstance(getattr(section, path[1]), bool)
