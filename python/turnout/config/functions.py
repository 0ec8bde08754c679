"""The configurations of ``route_message`` and ``optimize_route``; those of the other functions are sections.

The specification's ``MessageRoutingConfig`` says how to route but not what to route by and to, so it takes that
besides: ``rules``, ``urgent``, ``default``, ``pools`` and ``destinations``, as in a router's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, ValidationError

from ..errors import ConfigError, Problem
from .load import load_dict
from .model import Loading, Model, Name, Switch
from .names import suggestion
from .problems import from_validation, placed
from .root import RouterConfig
from .sections import FailoverConfig, FailoverMode, LoadBalancingConfig, OptimizationConfig, Policy, Stage
from .source import KeyPath
from .topology import DestinationConfig, PoolConfig, RuleConfig, UrgentConfig


def _word_or_section(value: object) -> str:
    return "<section>" if isinstance(value, (Mapping, BaseModel)) else "<word>"


def _mode(value: object) -> object:
    """``failover: true`` and ``false`` as the specification's switches have them."""
    return {True: "automatic", False: "off"}[value] if isinstance(value, bool) else value


_StageOrRule = Annotated[
    Annotated[Stage, Tag("<word>")] | Annotated[RuleConfig, Tag("<section>")], Discriminator(_word_or_section)
]
_PolicyOrSection = Annotated[
    Annotated[Policy, Tag("<word>")] | Annotated[LoadBalancingConfig, Tag("<section>")],
    Discriminator(_word_or_section),
]
_ModeOrSection = Annotated[
    Annotated[FailoverMode, Tag("<word>")] | Annotated[FailoverConfig, Tag("<section>")],
    Discriminator(_word_or_section),
]


class MessageRoutingConfig(Model):
    """How ``route_message`` routes, and what by and to."""

    routing_rules: tuple[_StageOrRule, ...] = Field(
        (),
        description="Names of rule families, the stages in the order they are tried, or rules themselves, or both. "
        "Without any family: those of a router's configuration.",
    )
    load_balancing: _PolicyOrSection = Field(
        LoadBalancingConfig(), description="How a destination is picked: a section, or the policy alone."
    )
    failover: Annotated[_ModeOrSection, BeforeValidator(_mode)] = Field(
        FailoverConfig(), description="What happens when one fails: a section, or automatic, manual or off alone."
    )
    validation: Switch = Field(
        True, description="Whether a message is checked as a whole before it is routed, not only in what rules read."
    )
    rules: tuple[RuleConfig, ...] = Field((), description="Rules, after those in routing_rules.")
    urgent: UrgentConfig | None = Field(None, description="The lane of urgent messages.")
    default: Name | None = Field(None, description="The pool of messages that no stage gives a route, or dead_letter.")
    pools: dict[Name, PoolConfig] = Field({}, description="Pools by id.")
    destinations: dict[Name, DestinationConfig] = Field({}, description="Destinations by id.")


class RouteOptimizationConfig(OptimizationConfig):
    """What ``optimize_route`` works towards: the section ``optimization`` of a router's configuration."""


M = TypeVar("M", bound=Model)


def checked(model: type[M], value: object, prefix: tuple[str, ...] = ()) -> M:
    """``value`` as a ``model``: as it is if it is one, else from a mapping.

    Raises:
        ConfigError: not valid; lists every problem with its path, below ``prefix``.
    """
    if isinstance(value, model):
        return value
    if isinstance(value, BaseModel) or not isinstance(value, Mapping):
        raise ConfigError([Problem(prefix, f"expected a {model.__name__} or a mapping, not a {type(value).__name__}")])
    data = dict(value)
    known = list(model.model_fields)
    unknown: list[Any] = [key for key in data if key not in known]
    found: list[tuple[KeyPath, str, bool]] = [
        ((*prefix, str(key)), "unknown key" + suggestion(str(key), known, "known keys"), True) for key in unknown
    ]
    for key in unknown:
        del data[key]
    try:
        valid = model.model_validate(data, context=Loading())
    except ValidationError as error:
        found += from_validation(error, data, prefix)
    else:
        if not found:
            return valid
    raise ConfigError(placed(found, None))  # outside of the handler: pydantic's error holds the values


def router_config(config: MessageRoutingConfig) -> RouterConfig:
    """The router's configuration that ``config`` asks for.

    Raises:
        ConfigError: its parts do not fit together.
    """
    families = [item for item in config.routing_rules if isinstance(item, str)]
    rules = [item for item in config.routing_rules if isinstance(item, RuleConfig)]
    routing: dict[str, object] = {"validation": config.validation}
    whole: dict[str, object] = {
        "routing": routing,
        "rules": [*rules, *config.rules],
        "urgent": config.urgent,
        "default": config.default,
        "pools": config.pools,
        "destinations": config.destinations,
    }
    if families:
        routing["routing_rules"] = families
    if isinstance(config.load_balancing, str):
        routing["load_balancing"] = config.load_balancing
    else:
        whole["load_balancing"] = config.load_balancing
    if isinstance(config.failover, str):
        routing["failover"] = config.failover
    else:
        whole["failover"] = config.failover
    return load_dict(whole)


def pool_config(
    destinations: Mapping[str, object],
    *,
    load_balancing: LoadBalancingConfig | None = None,
    failover: FailoverConfig | None = None,
) -> RouterConfig:
    """The configuration of a router with one pool, ``default``, of these destinations.

    Raises:
        ConfigError: they do not fit together.
    """
    given = {"load_balancing": load_balancing, "failover": failover}
    sections = {name: section for name, section in given.items() if section is not None}
    return load_dict({**sections, "destinations": destinations})
