"""The commands about a configuration alone: check, schema, init."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import CONFIG, run
from turnout.config import json_schema, starter


def test_check_of_a_good_configuration_counts_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG)
    assert run("check", str(path)) == (0, f"{path}: fine (3 rules, 2 pools, 3 destinations)\n", "")


def test_check_reads_standard_input() -> None:
    code, out, _ = run("check", "-", input=CONFIG)
    assert (code, out) == (0, "-: fine (3 rules, 2 pools, 3 destinations)\n")
    code, _, err = run("check", "-", input=b"\xff\xfe")
    assert (code, "not UTF-8" in err) == (2, True)


def test_check_prints_every_problem_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG.replace("to: sms}", "to: smms}", 1).replace("urgent:", "urgnt:"))
    code, out, err = run("check", str(path))
    assert (code, out) == (2, "")
    *problems, count = err.splitlines()
    assert count == "2 problems"
    assert all(problem.startswith(f"{path}:") for problem in problems)
    places = [problem.removeprefix(f"{path}:").split(":")[:2] for problem in problems]
    assert [line for line, _ in places] == ["4", "7"]
    assert all(int(column) > 0 for _, column in places)
    assert "smms" in problems[0]
    assert "'urgent'" in problems[1]


@pytest.mark.parametrize("secrets", ["--secrets", "--no-secrets"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('message.channel == "sms"', "message.channel.shout()"),
        ('message.channel == "sms"', "message.channel =="),
        ('numeric: [">", 100]', "number: 100"),
    ],
)
def test_check_compiles_the_rules(tmp_path: Path, old: str, new: str, secrets: str) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG.replace(old, new))
    code, _, err = run("check", str(path), secrets)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if new in text)
    assert code == 2
    assert err.startswith(f"{path}:{line}:")


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\tx", "just text", '{"message_router": 1}'])
def test_check_of_what_is_no_configuration_fails_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(text)
    code, out, err = run("check", str(path))
    assert (code, out) == (2, "")
    assert str(path) in err
    assert "Traceback" not in err


def test_check_of_a_directory_or_nothing_fails_in_words(tmp_path: Path) -> None:
    assert run("check", str(tmp_path))[0] == 2
    code, _, err = run("check", str(tmp_path / "none.yaml"))
    assert (code, "no such file" in err) == (2, True)


def test_check_tells_what_has_no_effect_and_fails_for_it_only_if_strict(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG + "  performance: {optimization: true}\n")
    code, out, err = run("check", str(path))
    assert (code, "fine" in out) == (0, True)
    assert err.startswith(f"notice: {path}: performance.optimization:")
    assert run("check", "--strict", str(path))[0] == 2


def test_check_may_do_without_the_secrets(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIG.replace("callable:send", "callable:${env:TURNOUT_TEST_UNSET}", 1))
    code, _, err = run("check", str(path))
    assert (code, "TURNOUT_TEST_UNSET" in err) == (2, True)
    assert run("check", "--no-secrets", str(path))[0] == 0


def test_schema_is_the_json_schema() -> None:
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    assert json.loads(out) == json_schema()


def test_init_writes_a_file_that_passes_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init")[0] == 0
    code, _, err = run("check", "--strict", "router.yaml")
    assert (code, err) == (0, "")


def test_init_overwrites_only_if_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    code, _, err = run("init", str(path))
    assert (code, path.read_text()) == (2, "mine")
    assert "--force" in err
    assert run("init", str(path), "--force")[0] == 0
    assert path.read_text() == starter()


def test_init_writes_to_standard_output_and_says_where_it_cannot_write(tmp_path: Path) -> None:
    assert run("init", "-") == (0, starter(), "")
    code, _, err = run("init", str(tmp_path / "none" / "router.yaml"))
    assert (code, "cannot be written" in err) == (2, True)


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["check"], ["run", "x.yaml", "--rate", "0"], ["route", "--what"]]
)
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


def test_version_and_help_end_with_0() -> None:
    from turnout import __version__

    assert run("--version") == (0, f"turnout {__version__}\n", "")
    for command in ("init", "check", "schema", "route", "explain", "run"):
        code, out, _ = run(command, "--help")
        assert (code, "Usage: " in out) == (0, True)
