"""Hypothesis strategies: messages, CEL conditions, patterns, rules, made from one small alphabet so that they meet.

Conditions are always well-formed CEL, and whatever they get wrong (a missing field, a text where a number is wanted,
an index out of range) only the message decides: an engine may refuse at build time what is wrong for every message.
Left out where engines may rightly differ: regular expressions and letter case beyond ASCII and é, text of large or
tiny doubles, comparisons of doubles with integers beyond 2**53, networks with host bits set.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Rule = dict[str, Any]

_COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": bool(os.environ.get("CI")),
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("quick", max_examples=400, **_COMMON)
settings.register_profile("thorough", max_examples=20_000, **_COMMON)
_name = os.environ.get("HYPOTHESIS_PROFILE", "quick")
# A decorator: `HYPOTHESIS_PROFILE=thorough` asks for the long run.
profile = settings.get_profile(_name if _name in ("quick", "thorough") else "quick")

COMMON = ["x", "sms", "xy", "Order-17"]
RARE = ["", "XY", "email", "é", "É", "order-99", "a*b", "a\\b", "true", "7", "k"]
WORDS = [*COMMON, *RARE]
MOMENTS = ["2024-05-01T12:00:00Z", "2024-05-01T23:30:00.5+02:00"]
ADDRESSES = ["10.0.0.7", "10.1.2.3", "192.168.0.1", "2001:db8::1"]
TEXTS = [*WORDS, *MOMENTS, *ADDRESSES, "1m30s"]
PIECES = ["x", "s", "Order-", "order-", "-99", "é", "ms", "10."]
INTS = [0, 1, 2, 7, -1, -7, 100, 2**63 - 1, -(2**63)]
DOUBLES = [0.0, -0.0, 1.0, 2.0, 0.5, 7.5, -1.0, 1e300]
BEYOND_JSON = [math.nan, math.inf, -math.inf]


def mostly(usual: st.SearchStrategy[Any], rarely: st.SearchStrategy[Any], one_in: int = 6) -> st.SearchStrategy[Any]:
    """The usual, and once in so many times the other; `one_of` has no weights."""
    return st.integers(1, one_in).flatmap(lambda chance: rarely if chance == one_in else usual)


def _formatted(template: str, **parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.fixed_dictionaries(parts).map(lambda chosen: template.format(**chosen))


words = mostly(st.sampled_from(COMMON), st.sampled_from(RARE), 3)
texts = mostly(st.sampled_from(COMMON), st.sampled_from(TEXTS), 3)
numbers = mostly(st.sampled_from([1, 7, -7, 2.0, 0, 7.5]), st.sampled_from([*INTS, *DOUBLES]), 3)
scalars = st.one_of(texts, numbers, st.sampled_from([True, False, None, *BEYOND_JSON]))

# Messages: every field mostly of its usual type, sometimes of another, sometimes missing

MISSING = object()


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["k", "v", "p"]), inner, max_size=3))


anything = st.recursive(scalars, _nested, max_leaves=5)


def _fields(**usual: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    odd = mostly(anything, st.just(MISSING), 2)
    drawn = st.fixed_dictionaries({name: mostly(values, odd) for name, values in usual.items()})
    return drawn.map(lambda found: {name: value for name, value in found.items() if value is not MISSING})


objects = _fields(k=texts, v=numbers, p=_fields(k=texts, q=scalars))
messages: st.SearchStrategy[dict[str, Any]] = _fields(
    a=texts,
    b=texts,
    n=numbers,
    flag=st.booleans(),
    tags=st.lists(mostly(texts, scalars), max_size=3),
    items=st.lists(mostly(objects, st.lists(objects, max_size=2)), max_size=3),
    o=objects,
)


def as_json(message: dict[str, Any]) -> bytes | None:
    """The message as JSON text, or None where JSON cannot say it (NaN, infinities)."""
    try:
        return json.dumps(message, allow_nan=False).encode()
    except ValueError:
        return None


# CEL conditions, as text


def cel_literal(value: Any) -> str:
    """A Python scalar as CEL source."""
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


TEXT_LITERALS = [cel_literal(word) for word in WORDS]
NUMBER_LITERALS = ["1", "7", "2.0", "7.5", "0", "-1", "0.5", "1.0", "1u", "7u", "100"]
LITERALS = [*TEXT_LITERALS, *NUMBER_LITERALS, "true", "false", "null"]
EXPRESSIONS = ["^x", "y$", "^[Oo]rder-[0-9]+$", "s.s", "^$", "x|sms", "(?i)xy"]
literals = {
    "text": words.map(cel_literal),
    "number": st.sampled_from(NUMBER_LITERALS),
    "any": st.sampled_from(LITERALS),
}


@dataclass(frozen=True)
class Paths:
    """What a condition may speak of, by what is usually there."""

    text: list[str]
    number: list[str]
    flag: list[str]
    many: list[str]
    odd: list[str]

    def of(self, kind: str) -> st.SearchStrategy[str]:
        everything = [*self.text, *self.number, *self.flag, *self.many, *self.odd]
        return mostly(st.sampled_from(getattr(self, kind) or everything), st.sampled_from(everything), 8)

    def selections(self) -> list[str]:
        """Those `has()` takes."""
        return [path for path in [*self.text, *self.number, *self.odd] if re.search(r"\.\w+$", path)]


PATHS = Paths(
    text=["message.a", "message.b", "message.o.k", 'message["a"]', "message.items[0].k", "message.tags[0]"],
    number=["message.n", "message.n", "message.o.v", 'message["o"].v', "message.items[0].v"],
    flag=["message.flag"],
    many=["message.tags", "message.items", "message.o", "message.a"],
    odd=["message.none", "message.o.none", "message.none.k", "message.o.p.q", "message.items[1]", "message.a[0]"],
)
SUBJECTS = ["message.items", "message.items", "message.tags", "message.tags", "message.o", "message.a", "message.none"]


def paths_of(variable: str) -> Paths:
    """What a condition may say of a comprehension's variable: an object, a text or a key."""
    i = variable
    odd = [f"{i}[0]", f"{i}.p.q", f"{i}.none", "message.n"]
    return Paths([f"{i}.k", i, f"{i}.k", f"{i}.p.k"], [f"{i}.v"], ["message.flag"], [i, f"{i}.p"], odd)


EQUALITY, ORDER = ["==", "!="], ["<", "<=", ">", ">="]
SIZES = ["0", "1", "2", "3"]
TYPES = ["int", "double", "string", "bool", "list", "map", "null_type"]


def tests_of(paths: Paths) -> st.SearchStrategy[str]:
    """Conditions without connectives over the given paths."""
    text, number, many = paths.of("text"), paths.of("number"), paths.of("many")
    either = st.one_of(text, number)
    word, figure, literal = literals["text"], literals["number"], literals["any"]
    equality, order, size = st.sampled_from(EQUALITY), st.sampled_from(ORDER), st.sampled_from(SIZES)
    relation, step = st.sampled_from([*EQUALITY, *ORDER]), st.sampled_from([*SIZES, "2.0", "0.0"])
    part = st.sampled_from(["startsWith", "endsWith", "contains"])
    listed = st.lists(literal, max_size=4).map(lambda chosen: "[" + ", ".join(chosen) + "]")
    expression = st.sampled_from(EXPRESSIONS).map(cel_literal)
    plain = st.one_of(
        paths.of("flag"),
        _formatted("{p} {op} {x}", p=text, op=equality, x=word),
        _formatted("{p} {op} {x}", p=number, op=relation, x=figure),
        _formatted("{x} {op} {p}", p=number, op=relation, x=figure),
        _formatted("{p} {op} {x}", p=text, op=order, x=word),
        _formatted("{p} in {x}", p=either, x=listed),
        _formatted("{x} in {p}", p=many, x=word),
        _formatted("has({p})", p=st.sampled_from(paths.selections())),
        _formatted("{p}.{f}({x})", p=text, f=part, x=st.sampled_from(PIECES).map(cel_literal)),
        _formatted("{p}.matches({x})", p=text, x=expression),
    )
    fancy = st.one_of(
        _formatted("{p} {op} {q}", p=text, op=relation, q=st.one_of(text, PATHS.of("text"))),
        _formatted("{p} {op} {q}", p=number, op=relation, q=st.one_of(number, PATHS.of("number"))),
        _formatted("{p} {op} {x}", p=either, op=equality, x=literal),
        _formatted("{x} in {p}", p=many, x=literal),
        _formatted("{p} {op} {x}", p=many, op=equality, x=listed),
        _formatted("{p}.{f}({x})", p=text, f=part, x=text),
        _formatted("matches({p}, {x})", p=text, x=expression),
        _formatted("size({p}) {op} {x}", p=st.one_of(many, text), op=relation, x=size),
        _formatted("{p}.size() {op} {x}", p=st.one_of(many, text), op=relation, x=size),
        _formatted("{p} {f} {x} {op} {y}", p=number, f=st.sampled_from("+-*/%"), x=step, op=relation, y=figure),
        _formatted("-{p} {op} {x}", p=number, op=relation, x=figure),
        _formatted("{p} + {x} == {y}", p=text, x=word, y=word),
        _formatted("int({p}) {op} {x}", p=either, op=relation, x=size),
        _formatted("uint({p}) {op} {x}", p=either, op=relation, x=size),
        _formatted("double({p}) {op} {x}", p=either, op=relation, x=size),
        _formatted("string({p}) == {x}", p=either, x=word),
        _formatted("bool({p})", p=st.one_of(text, paths.of("flag"))),
        _formatted("type({p}) {op} {x}", p=st.one_of(either, many), op=equality, x=st.sampled_from(TYPES)),
        _formatted('timestamp({p}) {op} timestamp("2024-05-01T21:30:00.5Z")', p=either, op=relation),
        _formatted("timestamp({p}).getHours() {op} {x}", p=either, op=relation, x=size),
        _formatted('duration({p}) {op} duration("90s")', p=text, op=relation),
    )
    return mostly(plain, fancy, 2)


def connected(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Conditions made of conditions; without parentheses now and then, so that precedence counts."""
    return st.one_of(
        _formatted("!({x})", x=inner),
        _formatted("{x} && {y}", x=inner, y=inner),
        _formatted("({x}) && ({y}) && ({z})", x=inner, y=inner, z=inner),
        _formatted("{x} || {y}", x=inner, y=inner),
        _formatted("({x}) || ({y}) || ({z})", x=inner, y=inner, z=inner),
        _formatted("({x}) ? ({y}) : ({z})", x=inner, y=inner, z=inner),
        _formatted("({x}) {op} ({y})", x=inner, op=st.sampled_from(EQUALITY), y=inner),
    )


def macros(inner: st.SearchStrategy[str], variable: str, subjects: list[str]) -> st.SearchStrategy[str]:
    """Comprehensions over lists, maps and what is neither."""
    i, subject = st.just(variable), st.sampled_from(subjects)
    return st.one_of(
        _formatted("{s}.exists({i}, {x})", s=subject, i=i, x=inner),
        _formatted("{s}.all({i}, {x})", s=subject, i=i, x=inner),
        _formatted("{s}.exists_one({i}, {x})", s=subject, i=i, x=inner),
        _formatted("{s}.filter({i}, {x}).size() == {n}", s=subject, i=i, x=inner, n=st.sampled_from(SIZES)),
        _formatted(
            "{s}.map({i}, {x}) == [{y}]", s=subject, i=i, x=inner, y=st.sampled_from(["", "true", "true, false"])
        ),
        _formatted("{y} in {s}.map({i}, {i}.k)", s=subject, i=i, y=literals["any"]),
    )


def _simple(paths: Paths) -> st.SearchStrategy[str]:
    return mostly(tests_of(paths), connected(tests_of(paths)), 3)


_over_items = macros(_simple(paths_of("i")), "i", SUBJECTS)
_nested_macros = macros(macros(_simple(paths_of("j")), "j", ["i", "i.p", "message.tags"]), "i", SUBJECTS)
conditions: st.SearchStrategy[str] = st.recursive(
    mostly(tests_of(PATHS), mostly(_over_items, _nested_macros, 4), 4), connected, max_leaves=4
)

# Patterns

WILDCARDS = ["*", "x", "x*", "*y", "*r*9*", "O*-*", "a\\*b", "a\\\\b", "*s", ""]
NETWORKS = ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.6/31", "0.0.0.0/0", "2001:db8::/32", "::/0"]
LIMITS = [-1, 0, 0.5, 1, 2, 7, 7.5, 100]
pieces, wildcards = st.sampled_from(PIECES), st.sampled_from(WILDCARDS)


def _one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=1, max_size=3, unique=True))


def _operator(name: str, operand: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return operand.map(lambda value: {name: value})


ranges = st.one_of(
    st.tuples(st.sampled_from([*ORDER, "="]), st.sampled_from(LIMITS)).map(list),
    st.tuples(
        st.sampled_from([">", ">="]),
        st.sets(st.sampled_from(LIMITS), min_size=2, max_size=2).map(sorted),
        st.sampled_from(["<", "<="]),
    ).map(lambda parts: [parts[0], parts[1][0], parts[2], parts[1][1]]),
)
text_entries = st.one_of(
    texts,
    _operator(
        "prefix", st.one_of(pieces, st.sampled_from(["X", "ORDER"]).map(lambda text: {"equals-ignore-case": text}))
    ),
    _operator("suffix", st.one_of(pieces, st.sampled_from(["Y", "MS"]).map(lambda text: {"equals-ignore-case": text}))),
    _operator("equals-ignore-case", texts),
    _operator("wildcard", wildcards),
    _operator("anything-but", _one_or_more(texts)),
    _operator("anything-but", _operator("prefix", _one_or_more(pieces))),
    _operator("anything-but", _operator("suffix", _one_or_more(pieces))),
    _operator("anything-but", _operator("wildcard", _one_or_more(wildcards.filter(bool)))),
    _operator("anything-but", _operator("equals-ignore-case", _one_or_more(texts))),
    _operator("cidr", st.sampled_from(NETWORKS)),
    _operator("exists", st.booleans()),
)
number_entries = st.one_of(
    st.sampled_from([*INTS[:7], *DOUBLES]),
    _operator("numeric", ranges),
    _operator("anything-but", _one_or_more(st.sampled_from([0, 1, 2, 0.5, 7.5, -1]))),
    _operator("exists", st.booleans()),
)
entries: st.SearchStrategy[Any] = st.one_of(text_entries, number_entries, st.sampled_from([True, False, None]))


def _leaf(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(mostly(usual, entries), min_size=1, max_size=3)


def _object(**usual: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of a pattern: some of the keys, or `$or` over objects like it, or both."""

    def of(names: set[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({name: mostly(usual[name], _leaf(entries), 8) for name in sorted(names)})

    keys = st.sets(st.sampled_from(sorted(usual)), min_size=1, max_size=2).flatmap(of)
    choices = st.lists(keys, min_size=2, max_size=3).map(lambda found: {"$or": found})
    both = st.tuples(keys, choices).map(lambda found: found[0] | found[1])
    return mostly(keys, st.one_of(choices, both), 3)


_text, _number = _leaf(text_entries), _leaf(number_entries)
_inner = _object(k=_text, v=_number, p=_object(k=_text, q=_leaf(entries)))
patterns: st.SearchStrategy[dict[str, Any]] = _object(
    a=_text, b=_text, n=_number, flag=_leaf(st.booleans()), tags=_text, items=_inner, o=_inner, none=_leaf(entries)
)

# Rules


@st.composite
def rule_sets(draw: st.DrawFn, min_size: int = 1, max_size: int = 6, prefix: str = "r") -> list[Rule]:
    """Rules in both notations, with ids of their own and priorities that often tie."""
    rules: list[Rule] = []
    for number in range(draw(st.integers(min_size, max_size))):
        rule: Rule = {"id": f"{prefix}{number}"}
        if draw(st.booleans()):
            rule["when"] = draw(conditions)
        else:
            rule["match"] = draw(patterns)
        if (priority := draw(st.sampled_from([None, 0, 1, 1, 2, 9]))) is not None:
            rule["priority"] = priority
        rules.append(rule)
    return rules


def _catalogue_conditions() -> Iterator[str]:
    """Every plain test on every field, whatever is usually there."""
    words, bounds = TEXT_LITERALS[:9], NUMBER_LITERALS[:6]
    for name in ["a", "n", "b", "o.k", "o.v", "none"]:
        path = f"message.{name}"
        yield from (f"{path} == {literal}" for literal in LITERALS)
        yield from (f"{path} {op} {literal}" for op in ["<", ">="] for literal in [*words, *bounds])
        yield from (f"{path}.{f}({cel_literal(x)})" for f in ["contains", "startsWith", "endsWith"] for x in PIECES)
        yield from (f"{path}.matches({cel_literal(text)})" for text in EXPRESSIONS)
        yield from (f"{path} in [{LITERALS[at]}, {LITERALS[-at]}]" for at in range(1, 8))
        yield from (f"{path} == {LITERALS[at]} && message.n >= {NUMBER_LITERALS[at % 8]}" for at in range(1, 12))
        yield from (f"{path} == {LITERALS[at]} || message.flag" for at in range(1, 5))
        yield from (f"{path} {op} 2 == {y}" for op in "+-*/%" for y in ["0", "1", "-1", "-3", "9"])
        yield from (f"{path} {op} 2.0 == {y}" for op in "+-*/" for y in ["1.0", "3.75", "4.0", "9.5", "15.0"])
        yield from (f"{f}({path}) == {y}" for f in ["size", "int", "uint", "double"] for y in ["1", "2", "7", "-7"])
        yield from (f"type({path}) == {name}" for name in TYPES)
        yield from [f"bool({path})", f"has({path})", f"timestamp({path}).getHours() > 1"]
    for subject in ["tags", "items", "o", "a"]:
        for test in ['i == "x"', 'i.k == "sms"', "i.v > 1", 'i.k == "x" && i.v == 1', "i.none || message.flag"]:
            yield from (f"message.{subject}.{macro}(i, {test})" for macro in ["exists", "all", "exists_one"])
            yield f"message.{subject}.filter(i, {test}).size() == 1"
            yield f"message.{subject}.map(i, {test}) == [true]"


def catalogue() -> list[Rule]:
    """Two thousand plain rules, every operator on every field: what makes an engine leave the plain scan."""
    found: list[dict[str, Any]] = []
    for text in _catalogue_conditions():
        found += [{"when": text}, {"when": f"!({text})"}]
    operators: list[Any] = [*TEXTS, 1, 7.5, True, None, {"exists": True}, {"exists": False}]
    operators += [{"wildcard": text} for text in WILDCARDS] + [{"cidr": network} for network in NETWORKS]
    operators += [{"equals-ignore-case": text} for text in WORDS]
    operators += [{"anything-but": refused} for refused in ["x", ["sms", "email"], 7, {"prefix": "x"}, {"suffix": "9"}]]
    operators += [{name: piece} for name in ["prefix", "suffix"] for piece in PIECES]
    operators += [{"numeric": [">", low, "<=", low + 2]} for low in LIMITS] + [{"numeric": ["=", 1]}]
    for entry in operators:
        found += [{"match": {"a": [entry]}}, {"match": {"tags": [entry], "n": [{"numeric": [">", 0]}]}}]
        found += [{"match": {"items": {"k": [entry]}}}, {"match": {"$or": [{"b": [entry]}, {"o": {"v": [entry]}}]}}]
    return [{"id": f"c{at}", "priority": at % 7, **rule} for at, rule in enumerate(found)]
