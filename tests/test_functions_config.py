"""What the four functions take as configuration, and what they say about a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from turnout.config import FailoverConfig, LoadBalancingConfig, RouterConfig, RuleConfig, load_dict
from turnout.config.functions import (
    MessageRoutingConfig,
    RouteOptimizationConfig,
    checked,
    pool_config,
    router_config,
)
from turnout.errors import ConfigError

PARTS: dict[str, Any] = {"pools": {"p": {"destinations": ["x"]}}, "destinations": {"x": {}}}
RULE = {"id": "a", "when": "true", "to": "p"}


def built(**config: Any) -> RouterConfig:
    return router_config(checked(MessageRoutingConfig, {**PARTS, **config}))


def test_names_are_families_and_mappings_are_rules() -> None:
    config = built(routing_rules=["destination_based", RULE, "content_based"], rules=[{**RULE, "id": "b"}])
    assert config.routing.routing_rules == ("destination_based", "content_based")
    assert [rule.id for rule in config.rules] == ["a", "b"]


def test_rules_alone_are_tried_in_the_default_stages() -> None:
    config = built(routing_rules=[RuleConfig(id="a", when="true", to=("p",)), RULE | {"id": "b"}])
    assert config.routing.routing_rules == RouterConfig().routing.routing_rules
    assert [rule.id for rule in config.rules] == ["a", "b"]


@pytest.mark.parametrize("value", ["random", {"algorithm": "random"}, LoadBalancingConfig(algorithm="random")])
def test_load_balancing_is_a_policy_or_a_section(value: object) -> None:
    assert built(load_balancing=value).policy == "random"


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        ("automatic", "automatic"),
        ("manual", "manual"),
        ("off", "off"),
        (True, "automatic"),
        (False, "off"),
        ({"automatic": True}, "automatic"),
        ({"automatic": False}, "manual"),
        (FailoverConfig(automatic=True), "automatic"),
    ],
)
def test_failover_is_a_mode_a_switch_or_a_section(value: object, mode: str) -> None:
    assert built(failover=value).failover_mode == mode


@pytest.mark.parametrize(("value", "seconds"), [(12, 12.0), (0.25, 0.25), ("30s", 30.0), ("1m30s", 90.0)])
def test_recovery_time_is_seconds_or_a_duration(value: object, seconds: float) -> None:
    assert built(failover={"recovery_time": value}).failover.recovery_time == seconds


def test_the_same_settings_make_an_equal_configuration() -> None:
    whole = {**PARTS, "rules": [RULE], "routing": {"load_balancing": "random", "validation": False}}
    assert built(routing_rules=[RULE], load_balancing="random", validation=False) == load_dict(whole)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"routing_rule": []}, "routing_rule: unknown key; did you mean 'routing_rules'?"),
        ({"routing_rules": ["content_base"]}, "routing_rules[0]: unknown value 'content_base'"),
        ({"load_balancing": "robin"}, "load_balancing: unknown value 'robin'"),
        ({"load_balancing": {"algorithm": "robin"}}, "load_balancing.algorithm: unknown value 'robin'"),
        ({"load_balancing": {"failover": "yes"}}, "load_balancing.failover: expected true or false"),
        ({"failover": {"recovery_time": "30"}}, "failover.recovery_time: not a duration"),
        ({"failover": "sometimes"}, "failover: unknown value 'sometimes'"),
        ({"validation": "no"}, "validation: expected true or false"),
        ({"rules": [{"id": "a", "when": "true"}]}, "rules[0]: the key 'to' is missing"),
        ({"rules": [{"id": "a", "to": "p"}]}, "rules[0]: a rule needs a condition"),
        ({"default": "q"}, "default: unknown pool 'q'"),
        ({3: 4}, "unknown key"),
    ],
)
def test_a_wrong_configuration_is_named_by_its_path(config: dict[Any, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        router_config(checked(MessageRoutingConfig, {**PARTS, **config}))
    assert problem in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        checked(MessageRoutingConfig, {"rutes": [], "validation": 1, "failover": {"automatic": 2}})
    paths = [problem.path for problem in caught.value.problems]
    assert paths == [("rutes",), ("failover", "automatic"), ("validation",)]


@pytest.mark.parametrize("value", [None, 3, "content_based", [], RouterConfig()])
def test_what_is_no_configuration_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="expected a MessageRoutingConfig or a mapping"):
        checked(MessageRoutingConfig, value)


def test_no_value_of_a_secret_is_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        checked(MessageRoutingConfig, {"destinations": {"x": {"url": "hunter2", "secret": ["hunter2"]}}})
    assert "hunter2" not in str(caught.value)


def test_a_model_is_taken_as_it_is() -> None:
    config = RouteOptimizationConfig(optimize_cost=True)
    assert checked(RouteOptimizationConfig, config) is config


def test_destinations_alone_are_one_pool_and_its_default() -> None:
    config = pool_config({"a": {}, "b": {"tier": 1}}, load_balancing=LoadBalancingConfig(algorithm="random"))
    assert config.default == "default"
    assert [(one.id, one.tier) for one in config.members_of("default")] == [("a", 0), ("b", 1)]
    assert config.policy_of("default") == "random"
