"""`strict=True`: raw JSON refused for what the default lets pass, by every way in; and what the default makes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oracle.strategies import profile
from turnout import MessageError, Router, RuleSet

RULES = [
    {"id": "one", "priority": 2, "when": "message.a == 1"},
    {"id": "two", "priority": 1, "when": "message.a == 2"},
    {"id": "deep", "when": 'message.b.c == "x" || message.b.d > 3'},
]
SET = RuleSet(RULES)
ROUTER = Router.from_dict(
    {
        "message_router": {
            "rules": [{**rule, "to": "all"} for rule in RULES],
            "default": "all",
            "pools": {"all": {"destinations": ["d"]}},
            "destinations": {"d": {"url": "callable:d"}},
        }
    }
)
ASKED: dict[str, Callable[[bytes, bool], Any]] = {
    "first_json": lambda raw, strict: SET.first_json(raw, strict=strict),
    "all_json": lambda raw, strict: SET.all_json(raw, strict=strict)[0],
    "first_many": lambda raw, strict: SET.first_many([raw], strict=strict)[0],
    "first_many among objects": lambda raw, strict: SET.first_many([{}, raw], strict=strict)[1],
    "first_ndjson": lambda raw, strict: SET.first_ndjson(raw, strict=strict)[0],
    "route_json": lambda raw, strict: ROUTER.route_json(raw, strict=strict).rule,
    "route_many": lambda raw, strict: named(ROUTER.route_many([raw], strict=strict)[0]),
    "route_many among objects": lambda raw, strict: named(ROUTER.route_many([{}, raw], strict=strict)[1]),
    "route_ndjson": lambda raw, strict: named(ROUTER.route_ndjson(raw, strict=strict)[0]),
}


def named(answer: Any) -> Any:
    return answer if isinstance(answer, Exception) else answer.rule


def asked(way: str, raw: bytes, strict: bool) -> Any:
    try:
        return ASKED[way](raw, strict)
    except MessageError as error:
        return error


@pytest.mark.parametrize("way", ASKED)
@pytest.mark.parametrize(
    ("raw", "byte", "remedy"),
    [
        (b'{"a":1,"a":2}', 7, "send each key once"),
        (b'{"a":2,"unnamed":{"x":1,"x":1}}', 24, "send each key once"),
        (b'{"a":2,"unnamed":"\\ud83d"}', 17, "send valid text"),
    ],
)
def test_strict_refuses_what_the_default_lets_pass(way: str, raw: bytes, byte: int, remedy: str) -> None:
    assert asked(way, raw, strict=False) == "two"
    error = asked(way, raw, strict=True)
    assert isinstance(error, MessageError)
    assert error.field == "message"
    assert f"(byte {byte} of the message)" in str(error)
    assert remedy in str(error)


@pytest.mark.parametrize("way", ASKED)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "raw", [b'{"a":1,"z":nope}', b'{"a":1} 2', b'{"a":1,"z":01}', b'{"a":1,"z":"\xff"}', b'{"a":1,"z":NaN}', b'{"a":1']
)
def test_what_is_no_json_behind_the_last_field_is_refused_either_way(way: str, strict: bool, raw: bytes) -> None:
    error = asked(way, raw, strict)
    assert isinstance(error, MessageError)
    assert "(byte " in str(error)


def test_a_hundred_thousand_keys_are_told_apart() -> None:
    keys = [f'"k{number}":{number}' for number in range(100_000)]
    whole = f"{{{','.join(keys)}}}".encode()
    assert SET.first_json(whole, strict=True) is None
    with pytest.raises(MessageError, match=rf"byte {len(whole)} of"):
        SET.first_json(whole[:-1] + b',"k99999":0}', strict=True)


class RepeatedKeyError(Exception):
    """A key that comes twice."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RepeatedKeyError
    return found


def refused(constant: str) -> Any:
    raise ValueError(constant)


def number(text: str) -> float:
    value = float(text)
    assume(math.isfinite(value))  # Beyond a double's range: no value here, infinity there.
    return value


def parsed(text: str, **hook: Any) -> Any:
    """What Python's own parser makes of it; ValueError for what is no JSON."""
    return json.loads(text, parse_constant=refused, parse_float=number, **hook)


scalars = st.one_of(
    st.integers(-3, 5), st.floats(-9, 9, width=16), st.sampled_from(["x", "\ud83d", "é\n", "", True, None])
)
keys = st.sampled_from(['"a"', '"b"', '"c"', '"d"', '"\\u0061"', '"\\ud83d"'])
values: st.SearchStrategy[str] = st.recursive(
    scalars.map(json.dumps),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(keys, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=8,
)
objects = st.lists(st.tuples(keys, values), max_size=4).map(
    lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Objects, with characters changed now and then."""
    text = draw(objects)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(list('{}[]:,"\\ 10.-enx\t'))) + text[at + draw(st.integers(0, 1)) :]
    return text


@profile
@given(text=texts())
def test_strict_takes_what_python_parses_with_each_key_once(text: str) -> None:
    try:
        message = parsed(text, object_pairs_hook=once)
        json.dumps(message, ensure_ascii=False).encode()  # UnicodeEncodeError: half of a surrogate pair
        expected = isinstance(message, dict)
    except (ValueError, RepeatedKeyError):
        expected = False
    answer = asked("first_json", text.encode(), strict=True)
    if not isinstance(answer, MessageError):
        assert expected, answer
        assert answer == SET.first(parsed(text))
    elif expected:
        # The text is fine: what is wrong is the value of a field that a rule needs.
        assert answer.field != "message", answer


@profile
@given(text=texts())
def test_by_default_the_last_of_a_key_counts_as_python_has_it(text: str) -> None:
    try:
        message = parsed(text)
    except ValueError:
        message = None
    if isinstance(message, dict):
        assert found(text.encode()) == found(message)
    else:
        assert isinstance(asked("all_json", text.encode(), strict=False), MessageError)


def found(message: Any) -> Any:
    """All rules of a message, or the field that cannot be read."""
    try:
        return SET.all_json(message) if isinstance(message, bytes) else SET.all(message)
    except MessageError as error:
        return error.field
