"""The command line as a process: pipes, signals, terminals, and the extra it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli_support import files, ledger, ndjson, process

SLOW = """\
import asyncio, pathlib
HERE = pathlib.Path(__file__).parent

async def send(message, destination):
    (HERE / "begun").touch()
    await asyncio.sleep({seconds})

def setup(router):
    router.transport("send", send)
"""
PATIENCE_S = 30.0
"""Far more than anything here takes, even on a busy machine."""


def begun(folder: Path) -> None:
    """Waits until a delivery is under way."""
    until = time.monotonic() + PATIENCE_S
    while not (folder / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def lines(count: int) -> str:
    return '{"channel": "sms"}\n' * count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_reading_settles_what_is_in_flight_and_prints_the_ledger(
    tmp_path: Path, number: signal.Signals
) -> None:
    arguments = files(tmp_path, code=SLOW.format(seconds=0.3))
    with process("run", *arguments, "--concurrency", "2") as running:
        assert running.stdin is not None
        running.stdin.write(lines(100))
        running.stdin.flush()  # and stays open: the signal comes while more is awaited
        begun(tmp_path)
        running.send_signal(number)
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    counts = ledger(out)
    assert 2 <= counts["accepted"] == counts["delivered"] < 100
    assert counts["lost"] == 0
    assert f"by {number.name}, before the input ended" in out
    assert "what is in flight is settled" in err


@pytest.mark.parametrize(("arguments", "signals"), [(["--drain", "0.1"], 1), ([], 2)])
def test_what_does_not_settle_in_time_is_a_dead_letter(tmp_path: Path, arguments: list[str], signals: int) -> None:
    command = [*files(tmp_path, code=SLOW.format(seconds=60)), "--concurrency", "2", *arguments]
    letters = tmp_path / "letters"
    with process("run", *command, "--dead-letters", str(letters)) as running:
        assert running.stdin is not None
        running.stdin.write(lines(100))
        running.stdin.flush()
        begun(tmp_path)
        for _ in range(signals):
            running.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, err
    counts = ledger(out)
    assert 2 <= counts["accepted"] == counts["dead"] < 100
    assert counts["lost"] == 0
    written = [json.loads(line) for line in letters.read_text().splitlines()]
    assert {letter["reason"] for letter in written} == {"closed"}
    assert sorted(letter["line"] for letter in written) == list(range(1, counts["dead"] + 1))


def test_live_input_is_delivered_and_answered_as_it_comes(tmp_path: Path) -> None:
    (config, *_) = files(tmp_path)
    with process("route", config) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for number in range(3):
            running.stdin.write(json.dumps({"channel": "sms", "id": str(number)}) + "\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["id"] == str(number)
        running.stdin.close()
        assert running.wait(PATIENCE_S) == 0


def test_reader_that_leaves_ends_a_command_quietly(tmp_path: Path) -> None:
    (config, *_) = files(tmp_path)
    with process("route", config, "--input", ndjson(tmp_path, [{"channel": "sms"}] * 20_000)) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert (running.wait(PATIENCE_S), running.stderr.read()) == (0, "")


def test_run_without_a_reader_delivers_all_the_same(tmp_path: Path) -> None:
    arguments = files(tmp_path)
    (tmp_path / "app.py").write_text(
        "import pathlib\ncount = 0\nasync def send(message, destination):\n    global count\n    count += 1\n"
        "    pathlib.Path(__file__).with_name('count').write_text(str(count))\n"
        "def setup(router): router.transport('send', send)\n"
    )
    messages = ndjson(tmp_path, [{"channel": "sms"}] * 200 + ["["])
    with process("run", *arguments, "--input", messages) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stderr.close()
        assert running.wait(PATIENCE_S) == 1  # for the line that is no message
    assert (tmp_path / "count").read_text() == "200"


def test_pipe_gets_plain_lines(tmp_path: Path) -> None:
    arguments = files(tmp_path, code=SLOW.format(seconds=0.001))
    messages = ndjson(tmp_path, [{"channel": "sms"}] * 60)
    with process("run", *arguments, "--rate", "50", "--input", messages) as running:
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0
    assert ledger(out)["delivered"] == 60
    assert "accepted · " in err
    assert "\x1b" not in out + err
    assert "\r" not in out + err


def test_terminal_gets_a_bar_and_tables_that_fit(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    arguments = files(tmp_path, code=SLOW.format(seconds=0.001))
    messages = ndjson(tmp_path, [{"channel": "sms"}] * 60)
    control, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "turnout", "run", *arguments, "--rate", "100", "--input", messages]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as running:
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(control, 65536):
                shown += data
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(control)
        assert running.wait(PATIENCE_S) == 0
    text = shown.decode()
    assert "━" in text  # the bar
    assert " delivered" in text
    assert "…" not in text  # nothing is cut
    assert ledger(text)["delivered"] == 60


def test_command_without_the_extra_says_which_to_install() -> None:
    for missing in ("typer", "rich"):
        code = f"import sys; sys.modules[{missing!r}] = None; from turnout.cli import main; sys.exit(main())"
        done = subprocess.run([sys.executable, "-c", code, "schema"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "pip install 'turnout[cli]'" in done.stderr
        assert missing in done.stderr


def test_importing_turnout_imports_neither_typer_nor_rich() -> None:
    code = "import sys, turnout, turnout.router, turnout.cli; sys.exit(bool({'typer', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_error_of_the_program_itself_shows_where(tmp_path: Path) -> None:
    code = "import asyncio\nclass Odd(BaseException): pass\nasync def send(m, d): raise Odd('bug')\n"
    code += "def setup(router): router.transport('send', send)\n"
    with process("run", *files(tmp_path, code=code), "--input", ndjson(tmp_path, [{"channel": "sms"}] * 5)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    assert "Odd: bug" in err
