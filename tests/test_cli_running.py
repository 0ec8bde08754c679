"""The command run: what it delivers, refuses and shows, in one process and without real waiting."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cli_support import APP, CONFIG, files, ledger, ndjson, row, run

GOOD: list[dict[str, Any]] = [{"channel": "sms"}] * 5 + [{"amount": 200}] * 3 + [{"priority": 9}, {"wants": "mail"}]

FLAKY = """\
from turnout import DeliveryError
calls = {}

async def send(message, destination):
    calls[destination] = calls.get(destination, 0) + 1
    if destination == "one":
        raise DeliveryError("down", "no answer")

def setup(router):
    router.transport("send", send)
"""


def test_everything_is_delivered_and_shown(tmp_path: Path) -> None:
    code, out, err = run("run", *files(tmp_path), "--input", ndjson(tmp_path, GOOD))
    assert code == 0, err
    assert ledger(out) == {"accepted": 10, "delivered": 10, "dead": 0, "expired": 0, "waiting": 0, "lost": 0}
    assert row(out, "texts") == ["texts", "content_based", "5"]
    assert row(out, "large") == ["large", "content_based", "3"]
    assert row(out, "old") == ["old", "content_based", "0"]
    assert row(out, "wishes") == ["wishes", "custom_rules", "1"]
    assert row(out, "priority_based") == ["priority_based", "1"]
    assert row(out, "letters")[:5] == ["letters", "mail", "0", "4", "4"]
    assert row(out, "attempts")[1] == "13,"
    for line in ("decision", "delivery"):
        assert row(out, line)[1] == "p50"
        assert "p99" in row(out, line)
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_messages_may_come_from_standard_input(tmp_path: Path) -> None:
    code, out, _ = run("run", *files(tmp_path), input='{"channel": "sms"}\n\n{"channel": "sms"}')
    assert (code, ledger(out)["delivered"]) == (0, 2)


def test_no_messages_are_all_delivered(tmp_path: Path) -> None:
    code, out, _ = run("run", *files(tmp_path), input="")
    assert (code, ledger(out)["accepted"]) == (0, 0)
    assert row(out, "delivery") == ["delivery", "p50", "-,", "p99", "-"]


def test_bad_lines_are_named_rejected_and_never_accepted(tmp_path: Path) -> None:
    bad: list[dict[str, Any] | str | bytes] = [
        "{",
        "[1]",
        '{"a": NaN}',
        '{"a":' * 10_000,
        b'{"a": "\xff"}',
        '{"a": "\\ud800"}',
        {"priority": 12},
        "\x00",
    ]
    lines: list[dict[str, Any] | str | bytes] = [line for one in bad for line in (one, {"channel": "sms"})]
    code, out, err = run("run", *files(tmp_path), "--input", ndjson(tmp_path, lines))
    assert code == 1
    assert ledger(out) == {"accepted": 8, "delivered": 8, "dead": 0, "expired": 0, "waiting": 0, "lost": 0}
    named = sorted(int(line.split(":")[0].removeprefix("line ")) for line in err.splitlines() if ": rejected: " in line)
    assert named == [1, 3, 5, 7, 9, 11, 13, 15]
    assert "8 rejected, never accepted" in out
    assert "message.priority" in err


def test_message_of_50_megabytes_is_delivered(tmp_path: Path) -> None:
    big = '{"channel": "sms", "text": "' + "x" * 50_000_000 + '"}'
    code, out, _ = run("run", *files(tmp_path), "--input", ndjson(tmp_path, [big]))
    assert (code, ledger(out)["delivered"]) == (0, 1)


def test_what_is_given_up_is_told_counted_and_written(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        {"channel": "sms"},
        {"id": "m2", "channel": "sms", "bad": True},
        "",
        {"nothing": "matches"},
        {"amount": 10**30},
    ]
    letters = tmp_path / "letters.jsonl"
    letters.write_text('{"kept": true}\n')
    arguments = ["--input", ndjson(tmp_path, lines), "--dead-letters", str(letters)]
    code, out, err = run("run", *files(tmp_path), *arguments)
    assert code == 1
    assert ledger(out) == {"accepted": 4, "delivered": 1, "dead": 3, "expired": 0, "waiting": 0, "lost": 0}
    assert row(out, "rejected") == ["rejected", "1"]
    assert row(out, "no_route") == ["no_route", "1"]
    assert row(out, "unreadable") == ["unreadable", "1"]
    assert "line 2, m2: dead-lettered: rejected: " in err
    kept, *written = [json.loads(line) for line in letters.read_text().splitlines()]
    assert kept == {"kept": True}
    by_line = {letter["line"]: letter for letter in written}
    assert sorted(by_line) == [2, 4, 5]
    assert (by_line[2]["id"], by_line[2]["reason"], by_line[2]["message"]) == ("m2", "rejected", lines[1])
    assert by_line[2]["attempts"][0]["error"]


def test_branch_that_fails_is_told_though_the_message_is_delivered(tmp_path: Path) -> None:
    config = CONFIG.replace("mode: all}", "mode: all, on_partial_failure: any}")
    code = APP.replace('if message.get("bad")', 'if destination == "letters"')
    exit_code, out, err = run("run", *files(tmp_path, config, code), input='{"amount": 200}\n')
    assert exit_code == 0
    assert ledger(out)["delivered"] == 1
    assert "not delivered to mail, though elsewhere" in err
    assert row(out, "partial")[1] == "1"


def test_failures_fail_over_and_eject(tmp_path: Path) -> None:
    config = CONFIG + "  failover: {recovery_time: 30s}\n"
    exit_code, out, err = run(
        "run", *files(tmp_path, config, FLAKY), "--input", ndjson(tmp_path, [{"channel": "sms"}] * 60)
    )
    assert exit_code == 0, err
    assert ledger(out)["delivered"] == 60
    one = row(out, "one")
    assert (one[4], one[6], one[-1]) == ("0", "1", "ejected")
    (attempts,) = (line for line in out.splitlines() if line.startswith("attempts"))
    retries, failovers = (int(attempts.split(before)[1].split()[0]) for before in ("of which ", "and "))
    assert retries == failovers == int(one[5]) >= 5
    (ejected,) = (line for line in out.splitlines() if line.startswith("+0.00 s"))
    assert ejected.split()[2:4] == ["one", "ejected"]


def test_more_dead_letters_than_are_kept_do_not_stop_the_run(tmp_path: Path) -> None:
    config = CONFIG + "  dead_letters: {max_kept: 2}\n"
    letters = tmp_path / "letters.jsonl"
    messages = ndjson(tmp_path, [{"channel": "sms", "bad": True}] * 50)
    code, out, err = run(
        "run", *files(tmp_path, config), "--input", messages, "--dead-letters", str(letters), "--concurrency", "1"
    )
    assert code == 1
    assert ledger(out)["dead"] == 50
    assert sorted(json.loads(line)["line"] for line in letters.read_text().splitlines()) == list(range(1, 51))
    assert err.count("dead-lettered") == 20
    assert "further dead letters are not named here" in err


def test_dead_letters_that_cannot_be_written_are_bad_usage_or_end_the_run(tmp_path: Path) -> None:
    arguments = files(tmp_path)
    code, _, err = run("run", *arguments, "--dead-letters", str(tmp_path), input="{}\n")
    assert (code, "cannot be written" in err) == (2, True)
    if Path("/dev/full").exists():
        code, out, err = run("run", *arguments, "--dead-letters", "/dev/full", input='{"bad": 1, "channel": "sms"}\n')
        assert code == 1
        assert "dead letters cannot be written: No space left on device" in err
        assert ledger(out)["lost"] == 0
        (letter,) = (json.loads(line) for line in err.splitlines() if line.startswith("{"))
        assert letter["message"] == {"bad": 1, "channel": "sms"}
    (config, *_) = files(tmp_path, CONFIG + "  dead_letters: {max_kept: 0}\n")
    code, _, err = run("run", config, "--dead-letters", str(tmp_path / "letters"), input="{}\n")
    assert (code, "max_kept" in err) == (2, True)


def test_transport_that_is_not_registered_is_bad_usage(tmp_path: Path) -> None:
    (config, *_) = files(tmp_path)
    code, out, err = run("run", config, input='{"channel": "sms"}\n')
    assert (code, out) == (2, "")
    assert "'send'" in err


def test_spool_directory_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = CONFIG.replace("callable:send", f"spool:{tmp_path / 'file' / 'below'}")
    (path, *_) = files(tmp_path, config)
    code, out, err = run("run", path, input='{"channel": "sms"}\n')
    assert (code, out) == (2, "")
    assert "file/below" in err


def test_spool_destinations_need_no_app(tmp_path: Path) -> None:
    config = CONFIG.replace("callable:send", f"spool:{tmp_path / 'spool'}")
    (path, *_) = files(tmp_path, config)
    code, out, _ = run("run", path, input='{"channel": "sms", "n": 1}\n{"amount": 200, "n": 2}\n')
    assert (code, ledger(out)["delivered"]) == (0, 2)
    spooled = [line for file in (tmp_path / "spool").iterdir() for line in file.read_text().splitlines()]
    assert len(spooled) == 3


def test_summary_for_programs_is_json(tmp_path: Path) -> None:
    messages = ndjson(tmp_path, [*GOOD, {"channel": "sms", "bad": True}, "["])
    code, out, _ = run("run", *files(tmp_path), "--input", messages, "--json", "--quiet")
    summary = json.loads(out)
    assert code == 1
    counts = summary["ledger"]
    assert (counts["accepted"], counts["delivered"], counts["dead_lettered"]) == (11, 10, 1)
    assert (counts["lost"], counts["balanced"], counts["reasons"]) == (0, True, {"rejected": 1})
    assert summary["rejected"] == 1
    assert {"stage": "content_based", "rule": "large", "messages": 3} in summary["routed"]
    assert summary["stats"]["destinations"]["letters"]["successes"] == 4
    assert (summary["events"], summary["stopped_by"], summary["trouble"]) == ([], None, None)


def test_rate_bounds_the_messages_a_second(tmp_path: Path) -> None:
    began = time.monotonic()
    code, out, _ = run("run", *files(tmp_path), "--rate", "100", "--input", ndjson(tmp_path, [{"channel": "sms"}] * 31))
    assert (code, ledger(out)["delivered"]) == (0, 31)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("concurrency", [1, 7])
def test_concurrency_bounds_what_is_under_way(tmp_path: Path, concurrency: int) -> None:
    code = (
        "import asyncio\nnow = most = 0\nasync def send(message, destination):\n    global now, most\n    now += 1\n"
        f"    most = max(now, most)\n    assert most <= {concurrency}\n    await asyncio.sleep(0.001)\n    now -= 1\n"
        "def setup(router): router.transport('send', send)\n"
    )
    messages = ndjson(tmp_path, [{"channel": "sms"}] * 100)
    arguments = ["--concurrency", str(concurrency), "--input", messages]
    exit_code, out, err = run("run", *files(tmp_path, code=code), *arguments)
    assert exit_code == 0, err
    assert ledger(out)["delivered"] == 100


def test_plain_functions_deliver_too(tmp_path: Path) -> None:
    code = "def send(message, destination): pass\ndef setup(router): router.transport('send', send)\n"
    exit_code, out, _ = run("run", *files(tmp_path, code=code), "--input", ndjson(tmp_path, GOOD[:5]))
    assert (exit_code, ledger(out)["delivered"]) == (0, 5)


def test_urgent_message_overtakes_those_that_wait(tmp_path: Path) -> None:
    code = (
        "import asyncio\norder = []\nasync def send(message, destination):\n    order.append(message['n'])\n"
        "    await asyncio.sleep(0.01)\n    print('order', order)\n"
        "def setup(router): router.transport('send', send)\n"
    )
    lines = [{"channel": "sms", "n": n, "priority": 9 if n == 3 else 1} for n in range(4)]
    exit_code, out, _ = run(
        "run", *files(tmp_path, code=code), "--concurrency", "3", "--input", ndjson(tmp_path, lines)
    )
    assert exit_code == 0
    assert "order [0, 1, 3, 2]" in out
