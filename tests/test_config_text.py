"""Texts, files and mappings that cannot be read as they should: what is said, where, and that reading is bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import errors
from turnout.config import load_dict, load_file, load_text


def said(text: str, kind: str = "yaml") -> list[str]:
    """The problems of a text, one a line; none if it loads."""
    try:
        load_text(text, "router." + kind, kind)  # type: ignore[arg-type]
    except errors.ConfigError as error:
        return str(error).splitlines()
    return []


TEXTS = {
    "empty": ("", ["router.yaml:1:1: empty; `turnout init` writes a file to start from"]),
    "only comments": ("# nothing\n", ["router.yaml:1:1: empty; `turnout init` writes a file to start from"]),
    "a list": ("- a\n", ["router.yaml:1:1: expected a mapping with the key 'message_router', found a list"]),
    "a NUL byte": ("a: 1\nb: \0", ["router.yaml:2: holds a NUL byte; it is not text"]),
    "two documents": ("a: 1\n---\nb: 1\n", ["router.yaml:2:1: a second document; a configuration is one"]),
    "duplicate key": (
        "message_router:\n  default: dead_letter\n  urgent: null\n  default: dead_letter\n",
        ["router.yaml:4:3: message_router.default: duplicate key; first given on line 2"],
    ),
    "number as a key": (
        "message_router: {destinations: {404: {}}}",
        ['router.yaml:1:33: message_router.destinations: a key is text; write it in quotes: "404"'],
    ),
    "list as a key": (
        "message_router: {[a]: 1}",
        ["router.yaml:1:18: message_router: a key is text, not a list, mapping or alias"],
    ),
    "tag": (
        "message_router: !!python/object/apply:os.system ['true']",
        [("router.yaml:1:17: message_router: a tag is not allowed; remove it, or quote it if it is text")],
    ),
    "alias of itself": (
        "message_router: &a [*a]",
        [
            (
                "router.yaml:1:21: message_router[0]: "
                "an alias that names no value completed above it; quote it if it is text"
            )
        ],
    ),
    "infinity": (
        "message_router: {performance: {timeout: .inf}}",
        ["router.yaml:1:41: message_router.performance.timeout: not a finite number; quote it if it is text"],
    ),
}

JSON = {
    "trailing comma": (
        '{"message_router": {\n\t"rules": [],\n}}',
        ["router.json:3:1: not JSON: expected a key in double quotes"],
    ),
    "ends early": ('{"message_router": ', ["router.json:1:20: not JSON: it ends too early"]),
    "single quotes": ("{'a': 1}", ["router.json:1:2: not JSON: expected a key in double quotes"]),
    "something after": (
        '{"message_router": {}} x',
        ["router.json:1:24: not JSON: something follows the end of the value"],
    ),
    "duplicate key": (
        '{"message_router": {"rules": [],\n "rules": []}}',
        ["router.json:2:2: message_router.rules: duplicate key; first given on line 1"],
    ),
    "unknown key": (
        '{"message_router":\n\t{"rule": []}}',
        ["router.json:2:3: message_router.rule: unknown key; did you mean 'rules'?"],
    ),
    "not a number": ('{"message_router": NaN}', ["router.json:1:20: not JSON: expected a value"]),
    "empty": (" ", ["router.json:1:1: empty; `turnout init` writes a file to start from"]),
    "bad escape": ('{"\\x": 1}', ["router.json:1:3: not JSON: a string with invalid \\escape"]),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_yaml_problem_is_named_with_its_place(text: str, expected: list[str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(("text", "expected"), JSON.values(), ids=JSON)
def test_a_json_problem_is_named_with_its_place(text: str, expected: list[str]) -> None:
    assert said(text, "json") == expected


def test_columns_count_characters() -> None:
    assert said('message_router: {default: "é😀", x: 1}')[-1].startswith("router.yaml:1:33: message_router.x: ")
    assert said('{"message_router": {"default": "é😀", "x": 1}}', "json")[-1].startswith("router.json:1:38: ")


def test_a_yaml_syntax_error_has_its_place() -> None:
    [line] = said("message_router:\n  rules: [a\n  pools: {}\n")
    assert line.startswith("router.yaml:3:")
    assert "not YAML: " in line


def test_merge_keys_and_anchors_work() -> None:
    text = """
message_router:
  destinations:
    a: &base {weight: 2, cost: 1.5}
    b: {<<: *base, weight: 3}
    c: *base
"""
    members = load_text(text).members_of("default")
    assert [(member.weight, member.cost) for member in members] == [(2, 1.5), (3, 1.5), (2, 1.5)]


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("017", 17), ("0x1f", 31), ("2024-01-01", "2024-01-01"), ("1_0", "1_0"), ("~", None)],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    config = load_text(
        f"message_router: {{rules: [{{id: a, match: {{x: [{text}]}}, to: default}}], destinations: {{x: {{}}}}}}"
    )
    assert config.rules[0].match == {"x": [value]}


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "text"), [("yaml", "[" * 100_000), ("json", "[" * 100_000), ("yaml", "{a: " * 90)])
def test_deep_nesting_is_refused(kind: str, text: str) -> None:
    [line] = said(text, kind)
    assert line.endswith("nested deeper than 64 levels")


def test_aliases_cannot_multiply_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    [line] = said("\n".join(lines))
    assert line.endswith("aliases stand for more than 100000 values; write fewer")


def test_a_long_text_is_refused_unread() -> None:
    [line] = said("#" * (4 * 1024 * 1024 + 1))
    assert line == "router.yaml: longer than 4 MiB; add large rule sets from code"


def test_half_of_a_surrogate_pair_is_refused() -> None:
    assert said("a: \ud800") == ["router.yaml: holds half of a surrogate pair; text is Unicode"]
    assert said('{"message_router": "\\ud800"}', "json") == [
        "router.json:1:20: message_router: half of a surrogate pair; text is Unicode"
    ]


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ":1:1: empty; `turnout init` writes a file to start from"),
        (b"a: 1\nb: \xff", ":2: not UTF-8; save the file as UTF-8"),
        ("message_router: {}".encode("utf-16"), ":1: not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbfmessage_router: []", ":1:17: message_router: expected a mapping, found a list"),
        (b"a\x07b", ":1:1: not YAML: "),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "router.yaml"
    file.write_bytes(content)
    with pytest.raises(errors.ConfigError) as caught:
        load_file(file)
    assert str(caught.value).startswith(f"{file}{expected}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, remedy in [
        (tmp_path / "gone.yaml", "no such file; `turnout init` writes one to start from"),
        (tmp_path, "a directory; name the file in it"),
    ]:
        with pytest.raises(errors.ConfigError) as caught:
            load_file(path)
        assert str(caught.value) == f"{path}: {remedy}"
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        load_file("a\0b")


def test_a_file_ending_in_json_is_read_as_json(tmp_path: Path) -> None:
    file = tmp_path / "router.json"
    file.write_text('{"message_router":\t{"default": "dead_letter"}}')
    assert load_file(file).default_is_dead_letter


# --- mappings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"defualt": "x"}, "defualt: unknown key; did you mean 'default'?"),
        ({"message_router": {"defualt": "x"}}, "message_router.defualt: unknown key; did you mean 'default'?"),
        ({"rules": [{"id": "a", "match": {"x": [object()]}, "to": "p"}], "destinations": {"p": {}}}, None),
        ({"rules": [{"id": "a", "match": {1: []}, "to": "default"}]}, "rules[0].match: a pattern's keys are text"),
        ([], "a configuration is a mapping, not list"),
        ({"performance": {"timeout": float("inf")}}, "performance.timeout: a duration is between 0 and 366d"),
    ],
)
def test_a_problem_of_a_mapping_has_its_path(mapping: Any, expected: str | None) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        load_dict(mapping)
    assert expected is None or expected in str(caught.value).splitlines()


def test_a_pattern_that_holds_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["x"] = loop
    with pytest.raises(errors.ConfigError, match=r"rules\[0\]\.match: nested deeper than 64 levels"):
        load_dict({"rules": [{"id": "a", "match": loop, "to": "default"}], "destinations": {"x": {}}})


# --- anything at all -----------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "to", "mode", "rules", "pools", "destinations", "url", "tier", "quorum", "when", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
KEYS = st.sampled_from(["routing", "rules", "urgent", "default", "pools", "destinations", "failover", "retries"])


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@settings(max_examples=400, deadline=None)
def test_any_mapping_loads_or_has_its_problems_told(mapping: dict[str, Any]) -> None:
    try:
        load_dict(mapping)
    except errors.ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert not [problem for problem in problems if "pydantic" in problem.message or "Input" in problem.message]


@given(st.text(max_size=60) | st.text("{}[]:,-&*!|>'\"# \nab0", max_size=60), st.sampled_from(["yaml", "json"]))
@settings(max_examples=600, deadline=None)
def test_any_text_loads_or_has_its_problems_told(text: str, kind: str) -> None:
    for problem in said(text, kind):
        assert problem.startswith(f"router.{kind}:")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:<~1é", max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), PLAIN, max_size=4), st.sampled_from([None, 2]))
@settings(max_examples=300, deadline=None)
def test_json_text_means_the_same_to_both_readers(pattern: dict[str, Any], indent: int | None) -> None:
    rule = {"id": "a", "to": "default", "match": pattern}
    document = {"message_router": {"rules": [rule], "destinations": {"x": {}}}}
    written = json.dumps(document, indent=indent, ensure_ascii=False)
    escaped = json.dumps(document, indent=indent)
    configs = [load_text(written, format="json"), load_text(escaped, format="json"), load_text(written)]
    read = [config.rules[0].match for config in configs]
    assert read == [pattern] * 3
    assert json.dumps(read[0]) == json.dumps(pattern)
