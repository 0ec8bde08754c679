"""The naive oracle: what a rule means, written from the CEL specification and the EventBridge documentation.

It shares no code with the engine it judges and knows no index, program or cache: every rule is evaluated against
every message, one after the other, by walking the condition. Slow, and meant to be obviously right.

- `cel_parse`: CEL text -> tree; `cel_values`: what CEL values are and do; `cel`: the evaluator (`evaluate`, `holds`);
- `pattern`: EventBridge patterns (`matches`);
- `strategies`: hypothesis strategies for messages and rules that hit and miss each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import cel, pattern


def rule_holds(rule: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether one rule (`{"id", "priority", "when" or "match"}`) matches the message."""
    if "when" in rule:
        return cel.holds(rule["when"], message)
    return pattern.matches(rule["match"], message)


def all_rules(rules: Iterable[Mapping[str, Any]], message: Mapping[str, Any]) -> list[str]:
    """Ids of the rules that match, best first: the higher priority wins, ties go to the earlier rule."""
    hits = [rule for rule in rules if rule_holds(rule, message)]
    hits.sort(key=lambda rule: -rule.get("priority", 0))  # Python's sort is stable, so ties keep the given order
    return [rule["id"] for rule in hits]


def first_rule(rules: Iterable[Mapping[str, Any]], message: Mapping[str, Any]) -> str | None:
    """Id of the best rule that matches, or None."""
    return next(iter(all_rules(rules, message)), None)
