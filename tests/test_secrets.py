"""Placeholders are replaced where they stand, and what they stand for is never shown."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import errors
from turnout.config import SCHEMES, DestinationConfig, RouterConfig, json_schema, load_dict, load_file, load_text
from turnout.config.placeholders import resolve

VALUE = "hunter2-s3cr3t"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_TOKEN", VALUE)
    monkeypatch.setenv("TURNOUT_URL", f"callable:{VALUE}")
    monkeypatch.setenv("TURNOUT_BAD_URL", f"gopher://{VALUE}@example.org")
    monkeypatch.setenv("TURNOUT_EMPTY", "")
    monkeypatch.delenv("TURNOUT_GONE", raising=False)


def destination(**keys: object) -> DestinationConfig:
    return load_dict({"destinations": {"a": keys}}).destinations["a"]


def refused(**keys: object) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        destination(**keys)
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("callable:plain", "callable:plain"),
        ("callable:${env:TURNOUT_TOKEN}", f"callable:{VALUE}"),
        ("${env:TURNOUT_URL}", f"callable:{VALUE}"),
        ("spool:a/${env:TURNOUT_TOKEN}/b${env:TURNOUT_TOKEN}", f"spool:a/{VALUE}/b{VALUE}"),
        ("spool:$${env:X}", "spool:${env:X}"),
        ("spool:$$$HOME", "spool:$$$HOME"),
        ("spool:$5 {x}", "spool:$5 {x}"),
    ],
)
def test_a_url_is_resolved_but_shown_as_written(url: str, resolved: str) -> None:
    made = destination(url=url)
    assert made.resolved_url() == resolved
    assert made.url == url
    assert load_dict({"destinations": {"a": {"url": url}}}, resolve_secrets=False).destinations["a"].url == url


def test_a_destination_may_have_no_url() -> None:
    assert destination().resolved_url() is None


def test_a_secret_is_handed_out_only_when_asked() -> None:
    made = destination(secret="Bearer ${env:TURNOUT_TOKEN}")  # noqa: S106 - a placeholder
    assert made.secret is not None
    assert made.secret.get_secret_value() == f"Bearer {VALUE}"


def test_nothing_shows_a_secret() -> None:
    config = load_dict(
        {
            "destinations": {
                "a": {"url": "callable:${env:TURNOUT_TOKEN}", "secret": "${env:TURNOUT_TOKEN}"},
                "b": {"url": "callable:b", "secret": VALUE},
            }
        }
    )
    shown = [
        repr(config),
        str(config),
        repr(config.destinations["a"]),
        str(config.model_dump()),
        config.model_dump_json(),
        json.dumps(json_schema()),
        str(config.problem(("destinations", "a", "url"), "no")),
        repr(config.members_of("default")),
    ]
    assert [text for text in shown if VALUE in text] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${env:TURNOUT_GONE}", "the environment variable TURNOUT_GONE is not set"),
        ("${env:TURNOUT_EMPTY}", "the environment variable TURNOUT_EMPTY is empty"),
        ("${env:}", "not a name of an environment variable: letters, digits and '_' only"),
        ("${file:gone.txt}", "the secret file gone.txt cannot be read: No such file or directory"),
        ("${file:}", "${file:...} names no file"),
        ("${TURNOUT_TOKEN}", "did you mean ${env:TURNOUT_TOKEN}?"),
        ("${vault:x}", "not a known kind of placeholder: write ${env:NAME} or ${file:PATH}, or $${ for a plain ${"),
        ("${env:TURNOUT_TOKEN", "a placeholder is not closed: "),
        ("**********", "a masked value, as printed; write the secret again, such as ${env:NAME}"),
    ],
)
def test_a_placeholder_that_stands_for_nothing_is_a_problem(value: str, expected: str) -> None:
    assert refused(secret=value).startswith("destinations.a.secret: ")
    assert expected in refused(secret=value)


@pytest.mark.parametrize("keys", [{"secret": [VALUE]}, {"secret": {VALUE: 1}}, {"url": "${env:TURNOUT_BAD_URL}"}])
def test_a_problem_never_shows_the_value(keys: dict[str, object]) -> None:
    assert VALUE not in refused(**keys)


def test_a_url_of_the_wrong_scheme_is_not_shown_once_resolved() -> None:
    known = ", ".join(f"{scheme}:" for scheme in SCHEMES)
    assert refused(url="${env:TURNOUT_BAD_URL}") == f"destinations.a.url: unknown scheme; known: {known}"
    said = f"destinations.a.url: a url starts with its scheme; known: {known}"
    assert refused(url="${env:TURNOUT_TOKEN}") == said


def test_a_missing_secret_is_placed_in_the_file() -> None:
    text = "message_router:\n  destinations:\n    a:\n      secret: ${env:TURNOUT_GONE}\n"
    with pytest.raises(errors.ConfigError) as caught:
        load_text(text, "router.yaml")
    assert str(caught.value) == (
        "router.yaml:4:15: message_router.destinations.a.secret: the environment variable TURNOUT_GONE is not set"
    )
    unresolved = load_text(text, "router.yaml", resolve_secrets=False)
    assert "secret" in unresolved.destinations["a"].model_fields_set


def test_an_unresolved_url_is_not_handed_out() -> None:
    config = load_dict({"destinations": {"a": {"url": "${env:TURNOUT_GONE}"}}}, resolve_secrets=False)
    with pytest.raises(errors.ConfigError, match="loaded without its secrets"):
        config.destinations["a"].resolved_url()


def test_a_secret_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(VALUE + "\n")
    file = tmp_path / "router.yaml"
    file.write_text("message_router: {destinations: {a: {secret: '${file:token}'}}}")
    secret = load_file(file).destinations["a"].secret
    assert secret is not None
    assert secret.get_secret_value() == VALUE


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"x" * 65_537, "is longer than 64 KiB"),
        (b"\xff", "is not UTF-8 text"),
        (b"a\0", "is not UTF-8 text"),
        (b"\n", "is empty"),
    ],
)
def test_a_secret_file_that_cannot_be_one_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "token").write_bytes(content)
    assert refused(secret=f"${{file:{tmp_path / 'token'}}}").endswith(expected)


def test_a_value_is_not_searched_for_placeholders_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_NESTED", "${env:TURNOUT_TOKEN}")
    secret = destination(secret="${env:TURNOUT_NESTED}").secret  # noqa: S106 - a placeholder
    assert secret is not None
    assert secret.get_secret_value() == "${env:TURNOUT_TOKEN}"
    config = load_dict({"destinations": {"a": {"secret": "${env:TURNOUT_NESTED}"}}})
    assert load_dict(config.model_dump()) == config


@pytest.mark.parametrize("value", [f"*{VALUE}", f"!{VALUE}", f"!{VALUE} x", f"%{VALUE}", f"[{VALUE}", f'"{VALUE}'])
def test_a_secret_that_is_no_yaml_is_not_shown(value: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        load_text(f"message_router: {{destinations: {{a: {{secret: {value}}}}}}}")
    assert VALUE not in "".join(traceback.format_exception(caught.value))


def test_configurations_with_other_secrets_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> RouterConfig:
        return load_dict({"destinations": {"a": {"url": "callable:${env:TURNOUT_TOKEN}"}}})

    before = load()
    assert load() == before
    monkeypatch.setenv("TURNOUT_TOKEN", "other")
    assert load() != before


@given(st.text(max_size=30))
def test_text_without_placeholders_stays_as_it_is(text: str) -> None:
    if "${" not in text:
        assert resolve(text, Path()) == text
    assert resolve(text.replace("${", "$${"), Path()) == text or "$$" in text
