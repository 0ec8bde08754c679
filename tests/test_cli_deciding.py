"""The commands that decide and deliver nothing: route and explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli_support import CONFIG, files, ndjson, run

MESSAGES: list[dict[str, Any] | str] = [
    {"id": "a", "channel": "sms"},
    {"amount": 500},
    "{not json",
    {"id": "n", "channel": "fax"},
    {"priority": 9},
    {"destination": "two"},
    {"wants": "mail"},
]


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_route_prints_one_decision_a_line_and_errors_in_their_place(tmp_path: Path) -> None:
    code, out, err = run("route", *files(tmp_path), "--input", ndjson(tmp_path, MESSAGES))
    assert (code, err) == (1, "")
    found = objects(out)
    assert [one["line"] for one in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.get("rule") for one in found] == ["texts", "large", None, None, None, None, "wishes"]
    stages = [one.get("stage") for one in found]
    assert stages == [
        "content_based", "content_based", None, None, "priority_based", "destination_based", "custom_rules",
    ]  # fmt: skip
    assert found[0]["id"] == "a"
    assert found[0]["pool"] == "sms"
    assert found[0]["destination"] in ("one", "two")
    assert found[2] == {"line": 3, "error": "not JSON: expecting property name enclosed in double quotes (column 2)"}
    assert set(found[3]) == {"line", "id", "error"}
    assert found[5]["destination"] == "two"


def test_route_ends_with_0_if_every_message_has_a_decision(tmp_path: Path) -> None:
    (config, *_) = files(tmp_path)
    code, out, _ = run("route", config, input='{"channel": "sms"}\n')
    assert (code, len(objects(out))) == (0, 1)
    assert run("route", config, input="") == (0, "", "")


def test_route_repeats_with_a_seed(tmp_path: Path) -> None:
    config = CONFIG.replace("sms: {destinations", "sms: {policy: random, destinations")
    (path, *_) = files(tmp_path, config)
    messages = '{"channel": "sms"}\n' * 50
    first, again, other = (run("route", path, "--seed", seed, input=messages)[1] for seed in ("1", "1", "2"))
    assert first == again != other


def test_message_whose_field_cannot_be_read_has_an_error_in_its_place(tmp_path: Path) -> None:
    (config, *_) = files(tmp_path)
    code, out, _ = run("route", config, input='{"amount": 123456789012345678901234567890}\n{"channel": "sms"}\n')
    bad, good = objects(out)
    assert code == 1
    assert "amount" in bad["error"]
    assert good["rule"] == "texts"


def test_explain_says_of_every_rule_why_or_why_not(tmp_path: Path) -> None:
    code, out, _ = run("explain", *files(tmp_path), input='{"id": "a", "amount": 150, "channel": "fax", "age": 20}\n')
    assert code == 0
    assert out.splitlines() == [
        "line 1, a: large decides",
        "  3 of 3 rules found, 2 looked at",
        '  - texts  needs message.channel that is "sms"; there: "fax" [scanned (32 rules or fewer)]',
        "  > large  matches [scanned (32 rules or fewer)]",
        "  - old    needs message.age that is not < 30; there: 20 [scanned (32 rules or fewer)]",
    ]


MANY = [f"    - {{id: t{n}, match: {{tier: [t{n}], size: [1]}}, to: mail}}\n" for n in range(100)]


def test_explain_of_many_rules_tells_the_candidates_and_those_named(tmp_path: Path) -> None:
    (config, *_) = files(tmp_path, CONFIG.replace("  urgent:", "".join(MANY) + "  urgent:"))
    line = '{"tier": "t7", "size": 2}\n'
    _, out, _ = run("explain", config, "--rule", "t8", "--rule", "large", input=line)
    assert out.splitlines() == [
        "line 1: no route",
        "  3 of 103 rules found, 3 looked at",
        '  - texts  needs message.channel that is "sms"; there: missing [tried first, before anything is looked up]',
        "  - large  needs message.amount that is > 100; there: missing [not found]",
        "  - old    needs message.age that is not < 30; there: missing [always tried]",
        '  - t7     needs message.size that is 1; there: 2 [message.tier == "t7"]',
        '  - t8     needs message.tier that is "t8"; there: "t7" [not found]',
    ]
    _, out, _ = run("explain", config, "--all", "--json", input=line)
    (explained,) = objects(out)
    assert (len(explained["rules"]), explained["looked_at"], explained["total"]) == (103, 3, 103)
    code, out, err = run("explain", config, "--rule", "none", input=line)
    assert (code, out, 'no rule "none"' in err) == (2, "", True)


def test_explain_says_which_other_stage_decides_and_where_there_is_no_route(tmp_path: Path) -> None:
    lines = '{"priority": 8}\n{"wants": "mail"}\n{"a": 1}\nx\n'
    code, out, _ = run("explain", *files(tmp_path), input=lines)
    heads = [line for line in out.splitlines() if line.startswith("line")]
    assert code == 1
    assert heads[:3] == ["line 1: priority_based decides", "line 2: custom_rules decides", "line 3: no route"]
    assert heads[3].startswith("line 4: not JSON")


def test_explain_for_programs_is_json(tmp_path: Path) -> None:
    code, out, _ = run("explain", *files(tmp_path), "--json", input='{"id": "a", "channel": "sms"}\n{"b": [}\n')
    explained, bad = objects(out)
    assert code == 1
    assert (explained["line"], explained["id"], explained["winner"]) == (1, "a", "texts")
    assert [rule["id"] for rule in explained["rules"]] == ["texts", "large", "old"]
    assert set(bad) == {"line", "error"}


@pytest.mark.parametrize("command", ["route", "explain", "run"])
def test_input_that_cannot_be_opened_is_bad_usage(tmp_path: Path, command: str) -> None:
    arguments = files(tmp_path)
    for path in (str(tmp_path / "none"), str(tmp_path)):
        code, out, err = run(command, *arguments, "--input", path)
        assert (code, out) == (2, "")
        assert err.startswith(path)
    code, _, err = run(command, "-", "--input", "-", input=CONFIG)
    assert (code, "cannot both come from standard input" in err) == (2, True)


@pytest.mark.parametrize("command", ["route", "explain", "run"])
def test_configuration_that_cannot_go_live_is_bad_usage(tmp_path: Path, command: str) -> None:
    path = tmp_path / "router.yaml"
    path.write_text("message_router: {rulez: []}")
    code, out, err = run(command, str(path), input="{}\n")
    assert (code, out) == (2, "")
    assert err.startswith(f"{path}:1:")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "has no function setup(router)"),
        ("setup = 3", "has no function setup(router)"),
        ("def setup(router): 1 / 0", "ZeroDivisionError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def setup(:", "SyntaxError"),
        ("def setup(router): router.transport('x', 5)", "not callable"),
    ],
)
def test_app_that_does_not_work_is_bad_usage(tmp_path: Path, code: str, said: str) -> None:
    exit_code, _, err = run("route", *files(tmp_path, code=code), input="{}\n")
    assert exit_code == 2
    assert "app.py" in err
    assert said in err


def test_app_may_be_a_module_async_and_import_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config, *_) = files(tmp_path)
    (tmp_path / "cli_neighbour.py").write_text("def rule(message): return 'mail'")
    code = "import cli_neighbour\nasync def setup(router): router.custom_rule('mine', cli_neighbour.rule)"
    (tmp_path / "cli_module_app.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    for app in ("cli_module_app", str(tmp_path / "cli_module_app.py")):
        exit_code, out, _ = run("route", config, "--app", app, input="{}\n")
        assert (exit_code, objects(out)[0]["rule"]) == (0, "mine")
    exit_code, _, err = run("route", config, "--app", "no_such_package.module", input="{}\n")
    assert (exit_code, "no such file or module" in err) == (2, True)
