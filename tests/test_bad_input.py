"""Bad input: each kind gets a clear error or a stated meaning, the process lives, and nothing accepted is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from turnout import ConfigError, MessageError, Router, RuleError, RuleSet

MEGABYTE = 1 << 20


def nested(depth: int) -> Any:
    """``{"x": {"x": ... 1}}``, so deep that nothing may follow it by recursion."""
    value: Any = 1
    for _ in range(depth):
        value = {"x": value}
    return value


def nested_list(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def hub(**settings: Any) -> Router:
    """A router of one rule that reads ``message.x``, whose destination takes everything."""
    config = {"destinations": {"d": {"url": "callable:take"}}, "default": "default", **settings}
    router = Router(config, rules=[{"id": "r", "when": "message.x == 1", "to": "default"}])
    router.transport("take", take)
    return router


async def take(message: Any, destination: str) -> str:
    return destination


READABLE: dict[str, Any] = {
    "a field of another type": {"x": "one"},
    "a field nested 10,000 deep that no rule reads": {"x": 2, "deep": nested(10_000)},
    "50 MB of text": {"x": "y" * (50 * MEGABYTE)},
    "a NUL": {"x": "\0", "\0": 1},
    "a NaN": {"x": float("nan")},
    "an infinity": {"x": float("inf")},
    "a lone surrogate that no rule reads": {"x": 2, "y": "\ud800"},
    "an integer beyond 64 bits that no rule reads": {"x": 2, "y": 2**70},
    "priority null": {"x": 2, "priority": None},
}


@pytest.mark.parametrize("message", READABLE.values(), ids=READABLE.keys())
async def test_what_can_be_read_is_routed_and_delivered(message: Any) -> None:
    router = hub()
    assert router.route(message).destination == "d"
    async with router:
        delivery = await router.dispatch(message)
        await router.accept(message)
        await router.join()
    assert delivery.status == "delivered"
    assert (router.ledger.accepted, router.ledger.delivered) == (2, 2)
    assert router.ledger.balanced


UNREADABLE: dict[str, tuple[Any, str]] = {
    "no message": (7, "message"),
    "text": ('{"x": 1}', "message"),
    "an integer beyond 64 bits": ({"x": 2**64}, "message.x"),
    "a lone surrogate": ({"x": "\udfff"}, "message.x"),
    "a mapping nested 10,000 deep that a rule reads": (nested(10_000), "message.x"),
    "a list nested 10,000 deep that a rule reads": ({"x": nested_list(10_000)}, "message.x"),
    "a type that rules cannot read": ({"x": {1, 2}}, "message.x"),
    "malformed JSON": (b'{"x": 1', "message"),
    "JSON that is no object": (b"[1, 2]", "message"),
    "JSON with NaN": (b'{"x": NaN}', "message"),
    "JSON that is not UTF-8": (b'{"x": "\xff"}', "message"),
    "JSON nested 10,000 deep": (b'{"x":' * 10_000 + b"1" + b"}" * 10_000, "message"),
    "JSON with an integer beyond 64 bits": (b'{"x": 18446744073709551616}', "message.x"),
    "JSON with half of a surrogate pair": (b'{"x": "\\ud800"}', "message.x"),
    "an unknown classification": ({"x": 1, "classification": "hush"}, "message.classification"),
}


@pytest.mark.parametrize(("message", "field"), UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_is_an_error_that_names_the_field(message: Any, field: str) -> None:
    router = hub()
    with pytest.raises(MessageError) as caught:
        router.route(message)
    assert caught.value.field == field
    assert len(str(caught.value)) < 500
    assert router.route({"x": 1}).rule == "r"

    async with router:
        refused = 0
        try:
            delivery = await router.dispatch(message)
        except MessageError:
            refused = 1
        else:
            assert (delivery.status, delivery.reason) == ("dead_lettered", "unreadable")
        assert (await router.dispatch({"x": 1})).status == "delivered"
    assert router.ledger.balanced
    assert (router.ledger.accepted, len(router.dead_letters)) == (2 - refused, 1 - refused)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({3: 1, "x": 1}, "message"),
        ({"x": 1, "priority": "high"}, "message.priority"),
        ({"priority": 10}, "message.priority"),
    ],
)
async def test_a_message_of_the_wrong_shape_is_refused_before_it_is_accepted(message: Any, field: str) -> None:
    router = hub()
    async with router:
        for bring in (router.dispatch, router.accept):
            with pytest.raises(MessageError) as caught:
                await bring(message)
            assert caught.value.field.startswith(field)
    assert router.ledger.accepted == 0


async def test_what_a_spool_cannot_write_is_a_dead_letter(tmp_path: Path) -> None:
    router = Router(
        {"destinations": {"d": {"url": f"spool:{tmp_path}"}}}, rules=[{"id": "r", "when": "true", "to": "default"}]
    )
    bad = [{"x": float("nan")}, {"x": "\ud800"}, {"x": object()}, {"x": {3: 1}}, {"deep": nested(10_000)}]
    async with router:
        for message in (*bad, {"x": 1}):
            await router.accept(message)
        await router.join()
    assert router.ledger.balanced
    assert (router.ledger.delivered, router.ledger.dead_lettered) == (1, len(bad))
    assert [json.loads(line)["message"] for line in (tmp_path / "d.jsonl").read_text().splitlines()] == [{"x": 1}]
    assert all(
        letter.attempts and letter.message in bad for letter in router.dead_letters if "deep" not in letter.message
    )


RULES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown function": ({"when": 'message.x.startWith("a")'}, "startsWith"),
    "an unknown variable": ({"when": "msg.x == 1"}, "message"),
    "a live fact outside of a router": ({"when": "live.pools.a.healthy_ratio < 1.0"}, "live"),
    "half an expression": ({"when": "message.x =="}, "line 1"),
    "an expression nested 10,000 deep": ({"when": "(" * 10_000 + "true" + ")" * 10_000}, "nest"),
    "a text of 1 MB": ({"when": f'message.x == "{"a" * MEGABYTE}"'}, "bytes"),
    "a regular expression of 1 MB": ({"when": f'message.x.matches("{"a" * MEGABYTE}")'}, "bytes"),
    "a regular expression that grows": ({"when": 'message.x.matches("(((a{100}){100}){100}){100}")'}, "regex_bytes"),
    "a regular expression that is none": ({"when": 'message.x.matches("(")'}, "regular expression|regex"),
    "a condition that is no bool": ({"when": "1 + 1"}, "true or false"),
    "an unknown operator": ({"match": {"x": [{"sufix": "a"}]}}, "suffix"),
    "a value without its list": ({"match": {"x": "a"}}, "list"),
    "a pattern nested 10,000 deep": ({"match": nested(10_000)}, "nest"),
    "a network that is none": ({"match": {"x": [{"cidr": "10.0.0.0/99"}]}}, "cidr|network"),
    "a key that is no text": ({"match": {3: ["a"]}}, "key|text"),
    "a NaN": ({"match": {"x": [float("nan")]}}, "NaN|number|finite"),
}


@pytest.mark.parametrize(("rule", "hint"), RULES.values(), ids=RULES.keys())
def test_a_rule_that_cannot_be_compiled_is_an_error_that_names_it_and_the_remedy(
    rule: dict[str, Any], hint: str
) -> None:
    rules = RuleSet([{"id": "good", "when": "true"}])
    with pytest.raises(RuleError, match=hint) as caught:
        rules.add({"id": "bad", **rule})
    assert caught.value.rule == "bad"
    assert len(str(caught.value)) < 2_000
    assert rules.ids == ["good"]


def test_an_expression_cannot_run_for_long() -> None:
    numbers = list(range(2_000))
    rules = RuleSet([{"id": "slow", "when": "message.x.all(a, message.x.all(b, message.x.all(c, a + b + c >= 0)))"}])
    with pytest.raises(MessageError, match="steps"):
        rules.first({"x": numbers})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"message_router: [unclosed", "line|:1:|:2:"),
        (b"\x00\x01\x02", "NUL|not YAML|special characters"),
        (b"\xff\xfe\x00", "UTF-8|NUL"),
        (b"- a\n- b\n", "mapping"),
        (b"just text", "mapping"),
        (b"message_router: {rules: !!python/object/apply:os.system [id]}", "tag"),
        (b"a: &a [1]\nb: *a\nmessage_router: {}\n", "unknown key"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "router.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        Router.from_yaml(path)
    assert "router.yaml" in str(caught.value)


def test_a_directory_and_a_missing_file_are_refused_by_name(tmp_path: Path) -> None:
    for path, problem in ((tmp_path, "directory"), (tmp_path / "none.yaml", "no such file")):
        with pytest.raises(ConfigError, match=problem):
            Router.from_yaml(path)


async def test_a_spool_directory_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = tmp_path / "file" / "spool"
    router = Router({"destinations": {"d": {"url": f"spool:{blocked}"}}})
    with pytest.raises(ConfigError, match="spool"):
        await router.start()
    if os.geteuid() == 0:
        return  # root may write anywhere
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    router = Router({"destinations": {"d": {"url": f"spool:{closed}"}}})
    with pytest.raises(ConfigError, match="closed"):
        await router.start()
