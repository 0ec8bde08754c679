"""What the tests of the command line share: a configuration, an app, and ways to run a command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from turnout.cli.app import app

CONFIG = """\
message_router:
  routing: {routing_rules: [content_based, priority_based, destination_based, custom_rules]}
  rules:
    - {id: texts, priority: 5, when: 'message.channel == "sms"', to: sms}
    - {id: large, priority: 4, match: {amount: [{numeric: [">", 100]}]}, to: [mail, sms], mode: all}
    - {id: old, priority: 3, when: '!(message.age < 30)', to: mail}
  urgent: {min_priority: 8, to: sms}
  pools:
    sms: {destinations: [one, two]}
    mail: {destinations: [letters]}
  destinations:
    one: {url: "callable:send"}
    two: {url: "callable:send"}
    letters: {url: "callable:send"}
  retries: {base_delay: 1ms, max_delay: 10ms}
"""

APP = """\
from turnout import DeliveryError

async def send(message, destination):
    if message.get("bad"):
        raise DeliveryError("refused", "not this one", retryable=False)

def to_mail(message):
    return "mail" if message.get("wants") == "mail" else None

def setup(router):
    router.transport("send", send)
    router.custom_rule("wishes", to_mail)
"""


def files(folder: Path, config: str = CONFIG, code: str = APP) -> list[str]:
    """Writes a configuration and an app; returns the arguments that name them."""
    (folder / "router.yaml").write_text(config)
    (folder / "app.py").write_text(code)
    return [str(folder / "router.yaml"), "--app", str(folder / "app.py")]


def ndjson(folder: Path, lines: Iterable[Mapping[str, Any] | str | bytes]) -> str:
    """Writes a file of messages; text and bytes stand in it as they are."""
    path = folder / "messages.ndjson"
    with path.open("wb") as file:
        for line in lines:
            raw = (
                line
                if isinstance(line, bytes)
                else line.encode()
                if isinstance(line, str)
                else json.dumps(line).encode()
            )
            file.write(raw + b"\n")
    return str(path)


def run(*arguments: str, input: str | bytes | None = None) -> tuple[int, str, str]:  # noqa: A002
    """A command in this process: exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(arguments), input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A command in a process of its own, with pipes to all three streams."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "turnout", *arguments]
    return subprocess.Popen(command, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **{**pipes, **options})


def ledger(stdout: str) -> dict[str, int]:
    """The numbers of the ledger's line."""
    pattern = (
        r"Ledger: (?P<accepted>[\d,]+) accepted = (?P<delivered>[\d,]+) delivered \+ (?P<dead>[\d,]+) dead-lettered"
        r" \+ (?P<expired>[\d,]+) expired(?: \+ [\d,]+ kept for the next start)?"
        r" \+ (?P<waiting>[\d,]+) waiting; lost = (?P<lost>-?[\d,]+)"
    )
    found = re.search(pattern, stdout)
    assert found, stdout
    return {name: int(count.replace(",", "")) for name, count in found.groupdict().items()}


def row(stdout: str, first: str) -> list[str]:
    """The cells of the table row that begins with ``first``."""
    for line in stdout.splitlines():
        if line.split()[:1] == [first]:
            return line.split()
    raise AssertionError(f"no row {first!r} in:\n{stdout}")
