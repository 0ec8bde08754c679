"""What is wrong with the conditions of rules, as findings of the configuration: the core compiles them to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._core import rule_errors
from ..errors import ConfigError, RuleError
from .source import KeyPath
from .topology import RuleConfig

if TYPE_CHECKING:
    from .root import RouterConfig


def condition(rule: RuleConfig) -> dict[str, Any]:
    """The rule alone, without its route: what the core takes."""
    return {"id": rule.id, "priority": rule.priority, "when": rule.when, "match": rule.match}


def place(error: RuleError, position: int) -> KeyPath:
    """Where in the configuration the error of rule number ``position`` stands."""
    path: KeyPath = ("rules", position)
    if error.path:
        return (*path, "match", *(int(part) if part.isdigit() else part for part in error.path))
    return path if error.line is None else (*path, "when")


def check_disabled(config: RouterConfig) -> None:
    """Rules that are not enabled never match, but what is wrong with them is said all the same.

    Raises:
        ConfigError: with every problem, at its place.
    """
    errors = rule_errors([condition(rule) for rule in config.rules if not rule.enabled])
    if errors:
        raise located(config, errors)


def located(config: RouterConfig, errors: Iterable[RuleError]) -> ConfigError:
    """The errors of rules, each at its place in the configuration."""
    positions = {rule.id: position for position, rule in enumerate(config.rules)}
    return ConfigError([config.problem(place(error, positions[error.rule]), str(error)) for error in errors])


def condition_problems(config: object) -> list[tuple[KeyPath, str]]:
    """What is wrong with the conditions in a configuration that is not valid, as far as they can be told from it."""
    rules = config.get("rules") if isinstance(config, Mapping) else None
    if not isinstance(rules, Sequence) or isinstance(rules, str):
        return []
    found = []
    for position, rule in enumerate(rules):
        given = rule.model_dump() if isinstance(rule, RuleConfig) else rule
        if not isinstance(given, Mapping):
            continue
        when, match = given.get("when"), given.get("match")
        when = when if isinstance(when, str) and when else None
        match = match if isinstance(match, Mapping) else None
        if when is not None or match is not None:
            name = given.get("id")
            whole = {"id": name if isinstance(name, str) else "?", "when": when, "match": match}
            found += [(place(error, position), str(error)) for error in _errors(whole)]
    return found


def _errors(rule: Mapping[str, Any]) -> list[RuleError]:
    try:
        return rule_errors([rule])
    except RuleError:  # the pattern holds what JSON has not, or itself: the checks of the configuration's shape say so
        return []
