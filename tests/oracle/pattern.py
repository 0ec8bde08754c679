"""A naive evaluator of EventBridge event patterns.

Source: the EventBridge user guide ("Comparison operators for use in event patterns") and the README of
github.com/aws/event-ruler. Where the two leave a question open, the meaning is:

1. A pattern is an object: all of its keys must pass. A list under a key is a leaf: its entries are alternatives. An
   object under a key asks the same of what the message has there.
2. `$or` is a list of objects, one of which must pass, besides the other keys of the object it stands in.
3. A leaf looks at scalars: null, bools, numbers, text. A list, however nested, offers each of its scalars and one
   that passes is enough. An object is no scalar.
4. An object asked of a list must be satisfied whole by one of the list's objects (nested lists flattened). Asked of
   anything else that is no object, it is asked of the empty object.
5. Numbers compare by value, 1 is 1.0; a bool is no number; text compares by code points.
6. `exists: false` passes where the leaf has no scalar to look at; everything else needs one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any


class PatternError(Exception):
    """The pattern is malformed."""


def matches(pattern: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether the message satisfies the pattern."""
    return all(key_passes(key, asked, message) for key, asked in pattern.items())


def key_passes(key: str, asked: Any, message: Mapping[str, Any]) -> bool:
    if key == "$or" and isinstance(asked, list):
        return any(matches(choice, message) for choice in asked)
    if isinstance(asked, list):
        return any(entry_passes(entry, list(scalars(message, key))) for entry in asked)
    if isinstance(asked, Mapping):
        return any(matches(asked, candidate) for candidate in objects(message, key))
    raise PatternError(f"{key!r} must be an object or a list")


def flattened(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from flattened(item)
    else:
        yield value


def scalars(message: Mapping[str, Any], key: str) -> Iterator[Any]:
    """What a leaf looks at."""
    if key in message:
        yield from (value for value in flattened(message[key]) if not isinstance(value, Mapping))


def objects(message: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects a nested pattern may be satisfied by: at least the empty one."""
    found: list[Mapping[str, Any]] = [value for value in flattened(message.get(key)) if isinstance(value, Mapping)]
    return found or [{}]


def entry_passes(entry: Any, values: list[Any]) -> bool:
    """One alternative of a leaf's list, against the scalars found there."""
    if isinstance(entry, Mapping) and set(entry) == {"exists"}:
        return bool(values) is entry["exists"]
    return any(value_passes(entry, value) for value in values)


def value_passes(entry: Any, value: Any) -> bool:
    if not isinstance(entry, Mapping):
        return same(entry, value)
    if len(entry) != 1:
        raise PatternError(f"one operator at a time: {entry}")
    [(operator, operand)] = entry.items()
    match operator:
        case "anything-but":
            return not any(value_passes(refused, value) for refused in refusals(operand))
        case "numeric":
            bounds = zip(operand[::2], operand[1::2], strict=True)
            return is_number(value) and all(compare(value, sign, bound) for sign, bound in bounds)
        case "exactly":
            return same(operand, value)
        case "cidr":
            return in_network(operand, value)
    return isinstance(value, str) and text_passes(operator, operand, value)


def text_passes(operator: str, operand: Any, value: str) -> bool:
    """The operators that ask for text; `{"equals-ignore-case": ...}` within prefix and suffix folds both sides."""
    if isinstance(operand, Mapping):
        operand, value = operand["equals-ignore-case"].casefold(), value.casefold()
    match operator:
        case "prefix":
            return value.startswith(operand)
        case "suffix":
            return value.endswith(operand)
        case "equals-ignore-case":
            return value.casefold() == str(operand).casefold()
        case "wildcard":
            return wildcard(operand, value)
    raise PatternError(f"no operator {operator!r}")


def refusals(operand: Any) -> list[Any]:
    """What `anything-but` refuses, as entries of their own: values, or one operator's values."""
    if isinstance(operand, Mapping):
        [(operator, inner)] = operand.items()
        return [{operator: value} for value in (inner if isinstance(inner, list) else [inner])]
    return operand if isinstance(operand, list) else [operand]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(wanted: Any, value: Any) -> bool:
    if is_number(wanted) and is_number(value):
        return bool(wanted == value)
    return type(wanted) is type(value) and bool(wanted == value)


def compare(value: float, sign: str, bound: float) -> bool:
    match sign:
        case ">":
            return value > bound
        case ">=":
            return value >= bound
        case "<":
            return value < bound
        case "<=":
            return value <= bound
        case "=":
            return value == bound
    raise PatternError(f"no numeric operator {sign!r}")


def in_network(network: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def wildcard(pattern: str, value: str) -> bool:
    """`*` stands for any run of characters, none included; `\\*` and `\\\\` for themselves."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(wildcard(pattern[1:], value[at:]) for at in range(len(value) + 1))
    literal, rest = (pattern[1], pattern[2:]) if pattern[0] == "\\" else (pattern[0], pattern[1:])
    return value.startswith(literal) and wildcard(rest, value[1:])
