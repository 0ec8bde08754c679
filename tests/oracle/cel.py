"""A naive CEL evaluator: walks the tree once per message.

Source: the CEL language definition (github.com/google/cel-spec, doc/langdef.md), sections "Evaluation", "Macros" and
"List of Standard Definitions". Errors are a Python exception; `&&`, `||`, `all` and `exists` absorb them in either
order, everything else lets them through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from . import cel_values as v
from .cel_functions import FUNCTIONS, METHODS
from .cel_parse import Binary, Call, Ident, Index, ListNode, Literal, MapNode, Node, Select, Ternary, Unary, parse
from .cel_values import CelError, Map, Type, Uint

__all__ = ["CelError", "Uint", "evaluate", "holds"]

Variables = Mapping[str, Any]
cached_parse = lru_cache(maxsize=4096)(parse)


def evaluate(text: str, variables: Variables) -> Any:
    """The value of a CEL expression. Raises CelError where it has none."""
    return value_of(cached_parse(text), {name: v.native(value) for name, value in variables.items()})


def holds(text: str, message: Mapping[str, Any]) -> bool:
    """Whether the condition is exactly true of the message; an error is not true."""
    try:
        return evaluate(text, {"message": message}) is True
    except CelError:
        return False


def value_of(tree: Node, env: Variables) -> Any:
    match tree:
        case Literal(value):
            return value
        case Ident() | Select():
            return named(tree, env)
        case Index(operand, key):
            return indexed(value_of(operand, env), value_of(key, env))
        case ListNode() | MapNode():
            return collected(tree, env)
        case Unary(op, operand):
            value = value_of(operand, env)
            return v.negated(value) if op == "-" else not truth(value)
        case Ternary(condition, then, otherwise):
            return value_of(then if truth(value_of(condition, env)) else otherwise, env)
        case Binary("&&" | "||" as op, left, right):
            combine = every if op == "&&" else some
            return combine(lambda side: truth(value_of(side, env)), (left, right))
        case Binary(op, left, right):
            return binary(op, value_of(left, env), value_of(right, env))
        case Call():
            return called(tree, env)
    raise CelError(f"no meaning: {tree}")


def collected(tree: ListNode | MapNode, env: Variables) -> list[Any] | Map:
    if isinstance(tree, ListNode):
        return [value_of(item, env) for item in tree.items]
    return map_literal([(value_of(key, env), value_of(item, env)) for key, item in tree.entries])


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError(f"no bool: {v.type_name(value)}")
    return value


def every(test: Callable[[Any], bool], items: Iterable[Any]) -> bool:
    """CEL's AND: one false decides, whatever the others raise; else one error is the result; else true."""
    failure = None
    for item in items:
        try:
            if not test(item):
                return False
        except CelError as error:
            failure = error
    if failure is not None:
        raise failure
    return True


def some(test: Callable[[Any], bool], items: Iterable[Any]) -> bool:
    """CEL's OR, which is AND of the negations, negated."""
    return not every(lambda item: not test(item), items)


def binary(op: str, a: Any, b: Any) -> Any:
    if op == "==":
        return v.equal(a, b)
    if op == "!=":
        return not v.equal(a, b)
    if op in ("<", "<=", ">", ">="):
        return v.ordered(op, a, b)
    if op == "in":
        if isinstance(b, list):
            return any(v.equal(a, v.native(item)) for item in b)
        if v.is_map(b):
            return bool(v.lookup(b, a))
        raise CelError(f"no in for {v.type_name(b)}")
    return v.arithmetic(op, a, b)


TYPE_NAMES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
TIME_TYPES = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})


def dotted(tree: Node) -> list[str]:
    """The names of `a.b.c`, or none where the tree is something else."""
    if isinstance(tree, Ident):
        return [tree.name]
    if isinstance(tree, Select) and (inner := dotted(tree.operand)):
        return [*inner, tree.field]
    return []


def named(tree: Node, env: Variables) -> Any:
    """An identifier or a selection. A variable may have a dotted name; the longest that exists is meant."""
    name = ".".join(dotted(tree))
    root = dotted(tree)[:1]
    shadowed = isinstance(tree, Select) and root and root[0] in env.get("", ())
    if name in env and name and not shadowed:
        return env[name]
    if name in TYPE_NAMES or name in TIME_TYPES:
        return Type(name)
    if isinstance(tree, Select):
        return selected(value_of(tree.operand, env), tree.field)
    raise CelError(f"no variable {name!r}")


def selected(operand: Any, field: str) -> Any:
    if not v.is_map(operand):
        raise CelError(f"no fields in {v.type_name(operand)}")
    return only(v.lookup(operand, field), field)


def only(found: list[Any], key: Any) -> Any:
    if not found:
        raise CelError(f"no such key: {key!r}")
    return found[0]


def indexed(operand: Any, key: Any) -> Any:
    if v.is_map(operand):
        return only(v.lookup(operand, key), key)
    if isinstance(operand, list) and v.is_number(key):
        at = v.number(key)
        if not (math.isfinite(at) and at == int(at) and 0 <= at < len(operand)):
            raise CelError(f"no such index: {at}")
        return v.native(operand[int(at)])
    raise CelError(f"no index {v.type_name(key)} in {v.type_name(operand)}")


def map_literal(entries: list[tuple[Any, Any]]) -> Map:
    for at, (key, _) in enumerate(entries):
        if not (isinstance(key, bool | str | Uint) or v.is_int(key)):
            raise CelError(f"no key: {v.type_name(key)}")
        if any(v.equal(key, other) for other, _ in entries[:at]):
            raise CelError(f"repeated key: {key!r}")
    return Map(tuple(entries))


# Macros


def bind(env: Variables, names: tuple[str, ...], values: tuple[Any, ...]) -> Variables:
    """The variables with a comprehension's own on top; under "" the names that shadow dotted variables."""
    return {**env, **dict(zip(names, values, strict=True)), "": (*env.get("", ()), *names)}


def comprehension(tree: Call, env: Variables) -> Any:
    """all, exists, exists_one, map, filter over a list's items or a map's keys, and the two-variable forms."""
    assert tree.target is not None
    subject = value_of(tree.target, env)
    if not isinstance(subject, list) and not v.is_map(subject):
        raise CelError(f"nothing to range over in {v.type_name(subject)}")
    two = variable_count(tree) == 2
    names = tuple(arg.name for arg in tree.args[: 2 if two else 1] if isinstance(arg, Ident))
    rest = tree.args[2 if two else 1 :]
    keyed = v.pairs(subject) if v.is_map(subject) else [(at, v.native(item)) for at, item in enumerate(subject)]
    scopes = [bind(env, names, pair if two else (pair[0 if v.is_map(subject) else 1],)) for pair in keyed]

    def test(scope: Variables) -> bool:
        return truth(value_of(rest[0], scope))

    match tree.name:
        case "all":
            return every(test, scopes)
        case "exists":
            return some(test, scopes)
        case "exists_one" | "existsOne":
            return sum([test(scope) for scope in scopes]) == 1
        case "filter":
            return [scope[names[0]] for scope in scopes if test(scope)]
    kept = [(key, scope) for (key, _), scope in zip(keyed, scopes, strict=True) if len(rest) == 1 or test(scope)]
    if tree.name == "transformMap":
        return map_literal([(key, value_of(rest[-1], scope)) for key, scope in kept])
    return [value_of(rest[-1], scope) for _, scope in kept]


# Macro -> its possible numbers of arguments, with one variable and with two.
ONE_VARIABLE = {"all": {2}, "exists": {2}, "exists_one": {2}, "existsOne": {2}, "map": {2, 3}, "filter": {2}}
TWO_VARIABLES = {"all": {3}, "exists": {3}, "exists_one": {3}, "existsOne": {3}}
TWO_VARIABLES |= {"transformList": {3, 4}, "transformMap": {3, 4}}


def variable_count(tree: Call) -> int:
    """How many variables the macro call binds; 0 where it is no macro call."""
    if tree.target is None:
        return 0
    for count, macros in ((1, ONE_VARIABLE), (2, TWO_VARIABLES)):
        if len(tree.args) in macros.get(tree.name, ()) and all(isinstance(a, Ident) for a in tree.args[:count]):
            return count
    return 0


def called(tree: Call, env: Variables) -> Any:
    if tree.target is None and tree.name == "has" and len(tree.args) == 1:
        select = tree.args[0]
        if not isinstance(select, Select):
            raise CelError("has() takes a field selection")
        operand = value_of(select.operand, env)
        if not v.is_map(operand):
            raise CelError(f"no fields in {v.type_name(operand)}")
        return bool(v.lookup(operand, select.field))
    if variable_count(tree):
        return comprehension(tree, env)
    target = [] if tree.target is None else [value_of(tree.target, env)]
    args = target + [value_of(arg, env) for arg in tree.args]
    known = METHODS if tree.target is not None else FUNCTIONS
    if tree.name not in known:
        raise CelError(f"no function {tree.name!r}")
    return known[tree.name](*args_for(tree, args))


def args_for(tree: Call, args: list[Any]) -> list[Any]:
    """The arguments, once their number is right: getters may name a time zone, `size` has one argument, ..."""
    two = {"matches", "contains", "startsWith", "endsWith"}
    allowed = {2} if tree.name in two else {1, 2} if tree.name.startswith("get") else {1}
    if len(args) not in allowed:
        raise CelError(f"wrong number of arguments for {tree.name}")
    return args
