"""The commands ``dlq``: on an outbox that no router has, and beside a living router; whichever process is killed."""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli_support import ledger, process, run
from turnout.delivery.letter_file import read

CONFIG = """\
message_router:
  rules:
    - {{id: texts, when: 'message.channel == "sms"', to: sms}}
    - {{id: both, when: 'message.channel == "both"', to: [sms, mail], mode: all, on_partial_failure: any}}
    - {{id: all, when: 'message.channel == "all"', to: [sms, mail], mode: all}}
  pools: {{sms: {{destinations: [one]}}, mail: {{destinations: [two]}}, spare: {{destinations: [three]}}}}
  destinations: {{one: {{url: "callable:f"}}, two: {{url: "callable:f"}}, three: {{url: "callable:f"}}}}
  outbox: {{path: {outbox}}}
  retries: {{max_attempts: 1}}
"""

APP = """\
import os, pathlib
from turnout import DeliveryError
here = pathlib.Path(__file__).parent
log = os.open(here / "received.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def f(message, destination):
    if (here / destination).exists():
        raise DeliveryError("down", "no answer", retryable=False)
    os.write(log, f"{message['id']} {destination}\\n".encode())

def setup(router):
    router.transport("f", f)
"""
PATIENCE_S = 60.0


class Place:
    """A folder with a configuration, an app, an outbox, and a log of what was received."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outbox = path / "outbox.db"
        self.config = str(path / "router.yaml")
        (path / "router.yaml").write_text(CONFIG.format(outbox=self.outbox))
        (path / "app.py").write_text(APP)
        self.router = ("run", self.config, "--app", str(path / "app.py"), "-q")

    def down(self, *destinations: str) -> None:
        """Makes these destinations refuse, and no others."""
        for name in ("one", "two", "three"):
            (self.path / name).unlink(missing_ok=True)
        for name in destinations:
            (self.path / name).touch()

    def bring(self, *messages: dict[str, Any]) -> str:
        """Runs a router on them, and on what is left over."""
        code, out, err = run(*self.router, input="".join(json.dumps(one) + "\n" for one in messages))
        assert code in (0, 1), err
        return out

    @contextmanager
    def alive(self) -> Iterator[subprocess.Popen[str]]:
        """A router that waits for input."""
        with process(*self.router) as running:
            until = time.monotonic() + PATIENCE_S
            while self.owner_of_lock() is None:
                assert time.monotonic() < until
                assert running.poll() is None
                time.sleep(0.02)
            try:
                yield running
            finally:
                if running.poll() is None:
                    running.send_signal(signal.SIGCONT)
                    running.terminate()
                out, err = running.communicate(timeout=PATIENCE_S)
                if running.returncode >= 0:
                    assert ledger(out)["lost"] == 0, err

    def owner_of_lock(self) -> bool | None:
        """True if a router has the outbox."""
        import fcntl

        try:
            with Path(f"{self.outbox}.lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return None

    def letters(self) -> list[str]:
        return [letter.id for letter in read(self.outbox)[0]]

    def received(self) -> Counter[tuple[str, str]]:
        lines = (self.path / "received.log").read_text().splitlines()
        return Counter((line.split()[0], line.split()[1]) for line in lines)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With three letters: m1 and m2 for pool sms, and m3 without a route."""
    made = Place(tmp_path)
    made.down("one")
    made.bring({"id": "m1", "channel": "sms", "n": 1}, {"id": "m2", "channel": "sms", "n": 2}, {"id": "m3"})
    assert made.letters() == ["m1", "m2", "m3"]
    return made


def listed(place: Place, *arguments: str) -> list[str]:
    code, out, err = run("dlq", "list", place.config, *arguments, "--json")
    assert code == 0, err
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_letters_are_listed_by_what_they_are(place: Place) -> None:
    assert listed(place) == ["m1", "m2", "m3"]
    assert listed(place, "m2", "3") == ["m2", "m3"]
    assert listed(place, "--reason", "no_route") == ["m3"]
    assert listed(place, "--pool", "sms", "--limit", "1") == ["m1"]
    assert listed(place, "--destination", "one", "--where", "message.n > 1") == ["m2"]
    assert listed(place, "--rule", "texts", "--rule", "both") == ["m1", "m2"]
    assert listed(place, "--since", "1h") == ["m1", "m2", "m3"]
    assert listed(place, "--until", "1h") == []
    assert listed(place, "--since", "2001-01-01T00:00:00Z", "--until", "2001-01-01T00:00:00+02:00") == []
    assert listed(place, "--outbox", str(place.outbox), "--limit", "2") == ["m1", "m2"]
    code, out, _ = run("dlq", "list", place.config)
    assert code == 0
    assert re.search(r"1\s+m1\s+\d.*\s+rejected\s+sms\s+texts\s+1\s+0\s+one: down: down: no answer", out)
    code, out, err = run("dlq", "list", place.config, "m1", "gone")
    assert (code, "no such dead letters: gone" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "no duration such as 2h, and no time such as"),
        (["--until", "2025-01-01T00:00:00"], "no time zone"),
        (["--where", "message.n >"], "--where: "),
        (["--outbox", "/no/such/outbox"], "there is none"),
        (["--outbox", __file__], "file is not a database"),
    ],
)
def test_bad_usage_is_said(place: Place, arguments: list[str], said: str) -> None:
    code, out, err = run("dlq", "list", place.config, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_configuration_without_an_outbox_is_bad_usage(place: Place) -> None:
    Path(place.config).write_text(Path(place.config).read_text().replace("  outbox:", "  # outbox:"))
    code, _, err = run("dlq", "list", place.config)
    assert (code, "names no outbox" in err) == (2, True)


def test_a_letter_is_shown_with_its_message_and_every_attempt(place: Place) -> None:
    code, out, _ = run("dlq", "show", place.config, "m2")
    assert code == 0
    assert "{'id': 'm2', 'channel': 'sms', 'n': 2}" in out
    assert re.search(r"reason\s+rejected: one: down: down: no answer", out)
    assert re.search(r"1\s+one\s+sms\s+failure\s+down\s+\d.*no answer", out)
    assert "m1" not in out


def test_looking_changes_nothing(place: Place) -> None:
    before = place.outbox.read_bytes()
    run("dlq", "list", place.config)
    run("dlq", "redrive", place.config, "--dry-run", "--app", str(place.path / "app.py"))
    run("dlq", "purge", place.config, "--dry-run")
    assert place.outbox.read_bytes() == before


def test_a_dry_run_tells_where_each_would_go(place: Place) -> None:
    place.down("two")
    place.bring({"id": "m4", "channel": "both"}, {"id": "m5", "channel": "all"})
    code, out, _ = run("dlq", "redrive", place.config, "--dry-run")
    assert code == 0
    assert re.search(r"1\s+m1\s+sms \(rule texts\)", out)
    assert re.search(r"m3\s+nowhere: ", out)
    assert re.search(r"m4\s+mail$", out, re.MULTILINE)
    assert re.search(r"m5\s+mail \(rule all; sms have it\)", out)
    code, out, _ = run("dlq", "redrive", place.config, "m1", "--to", "three", "--dry-run")
    assert re.search(r"m1\s+three$", out, re.MULTILINE)
    assert sorted(place.letters()) == ["m1", "m2", "m3", "m4", "m5"]


def test_without_a_router_the_next_start_delivers_what_was_redriven(place: Place) -> None:
    place.down("two")
    place.bring({"id": "m4", "channel": "both"}, {"id": "m5", "channel": "all"})
    place.down()
    code, out, err = run("dlq", "redrive", place.config, "m1", "m4", "m5")
    assert (code, out) == (0, "3 redriven: the next start delivers them\n"), err
    code, out, _ = run("dlq", "redrive", place.config, "m3", "--to", "spare")
    assert (code, out[:10]) == (0, "1 redriven")
    assert place.letters() == ["m2"]
    assert ledger(place.bring())["delivered"] == 4
    assert place.letters() == ["m2"]
    expected = {("m1", "one"): 1, ("m4", "one"): 1, ("m4", "two"): 1, ("m5", "one"): 1, ("m5", "two"): 1}
    assert place.received() == {**expected, ("m3", "three"): 1}


def test_what_fails_again_is_a_letter_that_knows_its_past(place: Place) -> None:
    for times in (1, 2, 3):
        run("dlq", "redrive", place.config, "m1")
        place.bring()
        (letter,) = (one for one in read(place.outbox)[0] if one.id == "m1")
        assert (letter.redriven, letter.rule) == (times, "texts")
        assert letter.tried > times


def test_a_target_that_is_not_there_is_bad_usage(place: Place) -> None:
    code, _, err = run("dlq", "redrive", place.config, "--to", "spar")
    assert (code, "did you mean 'spare'" in err) == (2, True)
    assert place.letters() == ["m1", "m2", "m3"]


def test_purging_asks_first(place: Place) -> None:
    code, _, err = run("dlq", "purge", place.config, "--pool", "sms", input="n\n")
    assert (code, "Delete 2 dead letters" in err) == (1, True)
    assert place.letters() == ["m1", "m2", "m3"]
    code, out, _ = run("dlq", "purge", place.config, "--pool", "sms", "--dry-run")
    assert (code, "2 dead letters would be deleted" in out) == (0, True)
    code, out, _ = run("dlq", "purge", place.config, "--pool", "sms", input="y\n")
    assert (code, out.endswith("2 deleted\n")) == (0, True)
    code, out, _ = run("dlq", "purge", place.config, "--yes")
    assert (code, out, place.letters()) == (0, "1 deleted\n", [])


def test_a_living_router_redrives_and_purges_at_once(place: Place) -> None:
    place.down()
    with place.alive():
        code, out, err = run("dlq", "redrive", place.config, "m1")
        assert (code, out) == (0, "1 redriven\n"), err
        code, out, err = run("dlq", "redrive", place.config, "m3", "--to", "three")
        assert (code, out) == (0, "1 redriven\n"), err
        code, out, err = run("dlq", "purge", place.config, "m2", "--yes")
        assert (code, out) == (0, "1 deleted\n"), err
        assert place.letters() == []
        assert sqlite3.connect(place.outbox).execute("SELECT count(*) FROM request").fetchone() == (0,)
    assert place.received() == {("m1", "one"): 1, ("m3", "three"): 1}
    assert ledger(place.bring())["accepted"] == 0


def test_what_a_router_has_no_time_for_is_queued_and_done_later(place: Place) -> None:
    place.down()
    with place.alive() as router:
        router.send_signal(signal.SIGSTOP)
        code, out, _ = run("dlq", "redrive", place.config, "m1", "--wait", "300ms")
        assert code == 1
        assert "1 queued: the router" in out
        router.kill()
        router.wait()
    assert place.letters() == ["m1", "m2", "m3"]
    with place.alive():
        until = time.monotonic() + PATIENCE_S
        while place.letters() != ["m2", "m3"]:
            assert time.monotonic() < until
            time.sleep(0.02)
    assert place.received() == {("m1", "one"): 1}


def test_what_a_living_router_cannot_do_is_told(place: Place, tmp_path: Path) -> None:
    text = Path(place.config).read_text()
    with place.alive():
        Path(place.config).write_text(text.replace("spare", "new"))
        code, out, _ = run("dlq", "redrive", place.config, "m1", "--to", "new")
    assert code == 1
    assert "1 still there" in out
    assert place.letters() == ["m1", "m2", "m3"]


def test_no_letter_is_lost_when_the_router_or_the_command_is_killed(place: Place) -> None:
    rng = random.Random(7)
    ids = [f"k{number}" for number in range(1500)]
    place.down("one")
    place.bring(*({"id": name, "channel": "sms"} for name in ids))
    expected = sorted(["m1", "m2", "m3", *ids])
    assert sorted(place.letters()) == expected
    place.down("two")  # and one is up again, while redrives to mail fail and come back
    for number in range(12):
        router = process(*place.router) if number % 4 else None
        time.sleep(0.6 if router is not None else 0.0)
        to = ["--to", "mail"] if number % 3 == 0 else []
        some = rng.sample(ids, 150)
        command = process("dlq", "redrive", place.config, *to, *some, "--wait", "5s")
        time.sleep(rng.random() * 1.2)
        killed = [command] if number % 2 else [one for one in (router,) if one is not None]
        for one in killed:
            one.kill()
        if router is not None and router not in killed:
            time.sleep(rng.random() * 0.5)
            router.kill()
        for other in (command, router):
            if other is not None:
                other.communicate(timeout=PATIENCE_S)
    assert ledger(place.bring())["lost"] == 0
    received = {name for name, _ in place.received()}
    assert set(expected) == received | set(place.letters())
    assert len(received) > 100
