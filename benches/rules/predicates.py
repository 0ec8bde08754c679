"""One typed test at the leaf of a condition, and how each notation writes it.

A rule of the benchmark is a conjunction of predicates. It is written once and translated here, so that every contender
is asked the same. A notation that cannot say a predicate raises :class:`InexpressibleError`.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Condition = Callable[[Message], bool]


class InexpressibleError(Exception):
    """A contender has no way to say this, and why."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """The test that `op` makes of the field at `path` (names joined by dots), with an operand as the op needs it.

    | op | operand | holds if the field |
    |---|---|---|
    | `equals` | text or number | is the operand |
    | `at_least` | number | is no less |
    | `within` | (low, high) | is at least low and below high |
    | `prefix`, `suffix`, `contains` | text | starts with, ends with, contains it |
    | `wildcard` | text | is matched whole, where `*` stands for any run of characters |
    | `regex` | text | is matched somewhere |
    | `cidr` | network | is an address in it |
    | `anything_but` | texts | is none of them |
    | `some` | predicates | is a list with an object for which all of them hold |
    """

    path: str
    op: str
    operand: Any


Predicates = Sequence[Predicate]
PATTERN_ONLY = {"wildcard", "cidr", "anything_but", "some"}


def quoted(value: object) -> str:
    """A literal as all notations but Python write it."""
    return json.dumps(value)


def regex_of(predicate: Predicate) -> str:
    """A wildcard as a regular expression for engines that have no wildcards; a regex as it is."""
    if predicate.op == "regex":
        return str(predicate.operand)
    # `[.]` and not `\.`: the engines disagree on how a backslash is written in text.
    parts = [
        re.escape(part).replace(r"\.", "[.]").replace(r"\-", "-").replace(r"\ ", " ")
        for part in predicate.operand.split("*")
    ]
    return f"^{'.*'.join(parts)}$"


def turnout_rule(id: str, predicates: Predicates) -> dict[str, Any]:
    """A rule for RuleSet: a pattern where only patterns say it well, CEL elsewhere."""
    if any(predicate.op in PATTERN_ONLY for predicate in predicates):
        return {"id": id, "match": pattern(predicates)}
    return {"id": id, "when": cel(predicates)}


def cel(predicates: Predicates, root: str = "message.") -> str:
    """The conjunction as CEL text."""
    return " && ".join(cel_one(predicate, root + predicate.path) for predicate in predicates)


def cel_one(predicate: Predicate, field: str) -> str:
    operand = predicate.operand
    match predicate.op:
        case "equals":
            return f"{field} == {quoted(operand)}"
        case "at_least":
            return f"{field} >= {quoted(operand)}"
        case "within":
            return f"{field} >= {quoted(operand[0])} && {field} < {quoted(operand[1])}"
        case "prefix":
            return f"{field}.startsWith({quoted(operand)})"
        case "suffix":
            return f"{field}.endsWith({quoted(operand)})"
        case "contains":
            return f"{field}.contains({quoted(operand)})"
        case "wildcard" | "regex":
            return f"{field}.matches({quoted(regex_of(predicate))})"
        case "anything_but":
            return f"!({field} in {quoted(list(operand))})"
        case "some":
            return f"{field}.exists(item, {cel(operand, 'item.')})"
    raise InexpressibleError(f"has no {predicate.op.upper()}")


def pattern(predicates: Predicates) -> dict[str, Any]:
    """The conjunction as an event pattern."""
    written: dict[str, Any] = {}
    for predicate in predicates:
        *parents, leaf = predicate.path.split(".")
        place = written
        for name in parents:
            place = place.setdefault(name, {})
        place[leaf] = pattern_one(predicate)
    return written


def pattern_one(predicate: Predicate) -> Any:
    operand = predicate.operand
    match predicate.op:
        case "equals":
            return [operand]
        case "at_least":
            return [{"numeric": [">=", operand]}]
        case "within":
            return [{"numeric": [">=", operand[0], "<", operand[1]]}]
        case "prefix" | "suffix" | "wildcard" | "cidr":
            return [{predicate.op: operand}]
        case "contains":
            return [{"wildcard": f"*{operand}*"}]
        case "anything_but":
            return [{"anything-but": list(operand)}]
        case "some":
            return pattern(operand)
    raise InexpressibleError(f"has no {predicate.op}")


def rule_engine(predicates: Predicates, root: str = "") -> str:
    """The conjunction in the language of rule-engine."""
    return " and ".join(rule_engine_one(predicate, root + predicate.path) for predicate in predicates)


def rule_engine_one(predicate: Predicate, field: str) -> str:
    operand = predicate.operand
    match predicate.op:
        case "equals":
            return f"{field} == {quoted(operand)}"
        case "at_least":
            return f"{field} >= {operand}"
        case "within":
            return f"{field} >= {operand[0]} and {field} < {operand[1]}"
        case "prefix":
            return f"{field}.starts_with({quoted(operand)})"
        case "suffix":
            return f"{field}.ends_with({quoted(operand)})"
        case "contains":
            return f"{quoted(operand)} in {field}"
        case "wildcard" | "regex":
            return f"{field} =~ {quoted(regex_of(predicate))}"
        case "anything_but":
            return f"not ({field} in {quoted(list(operand))})"
        case "some":
            return f"$any([{rule_engine(operand, 'item.')} for item in {field}])"
    raise InexpressibleError(f"has no {predicate.op.upper()}")


def zen_cell(predicate: Predicate) -> str:
    """The predicate as a cell of a zen decision table, in the column of its field."""
    operand = predicate.operand
    match predicate.op:
        case "equals":
            return quoted(operand)
        case "at_least":
            return f">= {operand}"
        case "within":
            return f"[{operand[0]}..{operand[1]})"
        case "prefix":
            return f"startsWith($, {quoted(operand)})"
        case "suffix":
            return f"endsWith($, {quoted(operand)})"
        case "contains":
            return f"contains($, {quoted(operand)})"
        case "wildcard" | "regex":
            return f"matches($, {quoted(regex_of(predicate))})"
        case "anything_but":
            return f"not in {quoted(list(operand))}"
        case "some":
            tests = (f"#.{one.path} {'==' if one.op == 'equals' else '>='} {quoted(one.operand)}" for one in operand)
            return f"some($, {' and '.join(tests)})"
    raise InexpressibleError(f"has no {predicate.op.upper()}")


@functools.lru_cache(maxsize=1024)
def address_number(text: str) -> int:
    """An IPv4 address as a number; cached, for each message is asked about it once a rule."""
    return int(ipaddress.IPv4Address(text))


def python(predicates: Predicates) -> Condition:
    """The conjunction as the lambda that somebody would write for it."""
    shape, operands = python_shape(predicates, "message", [])
    return python_factory(shape, len(operands))(*operands)


@functools.cache
def python_factory(shape: str, operands: int) -> Callable[..., Condition]:
    """A function of the operands that returns the lambda. Compiled once for all the rules that differ in them alone."""
    names = ", ".join(f"v{number}" for number in range(operands))
    source = f"lambda {names}: lambda message: {shape}"
    made: Callable[..., Condition] = eval(source, {"address_number": address_number})  # noqa: S307
    return made


def python_shape(predicates: Predicates, root: str, operands: list[Any]) -> tuple[str, list[Any]]:
    parts = []
    for predicate in predicates:
        field = root + "".join(f"[{name!r}]" for name in predicate.path.split("."))
        parts.append(python_one(predicate, field, operands))
    return " and ".join(parts), operands


def python_one(predicate: Predicate, field: str, operands: list[Any]) -> str:  # noqa: C901 - one case an operator
    """Python text for one predicate; what it is compared with is appended to `operands` and named v0, v1, ..."""

    def name(value: Any) -> str:
        operands.append(value)
        return f"v{len(operands) - 1}"

    operand = predicate.operand
    match predicate.op:
        case "equals":
            return f"{field} == {name(operand)}"
        case "at_least":
            return f"{field} >= {name(operand)}"
        case "within":
            return f"{name(operand[0])} <= {field} < {name(operand[1])}"
        case "prefix":
            return f"{field}.startswith({name(operand)})"
        case "suffix":
            return f"{field}.endswith({name(operand)})"
        case "contains":
            return f"{name(operand)} in {field}"
        case "wildcard" | "regex":
            return f"{name(re.compile(regex_of(predicate), re.DOTALL).search)}({field}) is not None"
        case "cidr":
            network = ipaddress.IPv4Network(operand)
            mask, start = int(network.netmask), int(network.network_address)
            return f"address_number({field}) & {name(mask)} == {name(start)}"
        case "anything_but":
            return f"{field} not in {name(frozenset(operand))}"
        case "some":
            return f"any({python_shape(operand, 'item', operands)[0]} for item in {field})"
    raise InexpressibleError(f"has no {predicate.op}")


def at_path(message: Mapping[str, Any], path: str) -> Any:
    """What the message holds at the path."""
    value: Any = message
    for name in path.split("."):
        value = value[name]
    return value
