"""The command run with an outbox: what earlier runs left over is settled, dead letters stay or go to a file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cli_support import CONFIG, files, ledger, ndjson, process, row, run
from servers import webhook_receiver
from turnout import Router
from turnout.delivery import DeadLetter
from turnout.testing import account, read_log

BAD = {"channel": "sms", "bad": True}


def with_outbox(folder: Path, more: str = "") -> list[str]:
    return files(folder, f"{CONFIG}  outbox: {{path: {folder / 'outbox.db'}}}\n{more}")


def kept_letters(folder: Path) -> list[DeadLetter]:
    """The dead letters that a router finds in the outbox when it starts."""

    async def look() -> list[DeadLetter]:
        router = Router.from_yaml(folder / "router.yaml")
        router.transport("send", lambda message, destination: None)
        async with router:
            return list(router.dead_letters)

    return asyncio.run(look())


def leave_over(folder: Path, *messages: dict[str, Any]) -> None:
    """Leaves messages unsettled in the outbox."""

    async def leave() -> None:
        router = Router.from_yaml(folder / "router.yaml")

        async def hang(message: object, destination: str) -> None:
            await asyncio.Event().wait()

        router.transport("send", hang)
        await router.start()
        for message in messages:
            await router.accept(message)
        await router.close(drain=0)
        assert router.ledger.kept == len(messages)

    asyncio.run(leave())


def test_dead_letters_stay_in_the_outbox_unless_a_file_is_named(tmp_path: Path) -> None:
    arguments = with_outbox(tmp_path)
    messages = ndjson(tmp_path, [{"id": "one", **BAD}, {"id": "fine", "channel": "sms"}])
    code, out, err = run("run", *arguments, "--input", messages)
    assert code == 1
    assert "line 1, one: dead-lettered: rejected" in err
    assert row(out, "texts") == ["texts", "content_based", "2"]
    code, out, err = run("run", *arguments, input='{"id": "two", "channel": "sms", "bad": 1}\n')
    assert "1 dead letters of earlier runs are in the outbox" in err
    assert ledger(out)["dead"] == 1
    assert [letter.id for letter in kept_letters(tmp_path)] == ["one", "two"]
    letters = tmp_path / "letters"
    code, out, _ = run(
        "run", *arguments, "--dead-letters", str(letters), input='{"id": "three", "channel": "sms", "bad": 1}\n'
    )
    assert code == 1
    written = [json.loads(line) for line in letters.read_text().splitlines()]
    assert [(letter["id"], letter["line"]) for letter in written] == [("one", None), ("two", None), ("three", 1)]
    assert kept_letters(tmp_path) == []


def test_what_the_outbox_had_left_over_is_settled_though_there_is_no_input(tmp_path: Path) -> None:
    arguments = with_outbox(tmp_path)
    leave_over(tmp_path, {"id": "a", "channel": "sms"}, {"id": "b", "channel": "sms", "bad": 1})
    code, out, err = run("run", *arguments, input="")
    assert code == 1
    assert ledger(out) == {"accepted": 2, "delivered": 1, "dead": 1, "expired": 0, "waiting": 0, "lost": 0}
    assert "b: dead-lettered: rejected" in err
    code, out, _ = run("run", *arguments, input="")
    assert (code, ledger(out)["accepted"]) == (0, 0)


def test_a_signal_ends_the_settling_of_what_was_left_over_which_is_kept_again(tmp_path: Path) -> None:
    code = "import asyncio, pathlib\nasync def send(m, d):\n    pathlib.Path(__file__).with_name('begun').touch()\n"
    code += "    await asyncio.sleep(60)\ndef setup(router): router.transport('send', send)\n"
    arguments = with_outbox(tmp_path, "  performance: {timeout: 60s}\n")
    (tmp_path / "app.py").write_text(code)
    leave_over(tmp_path, {"id": "a", "channel": "sms"})
    with process("run", *arguments, "--drain", "0", "--input", ndjson(tmp_path, [])) as running:
        until = time.monotonic() + 30
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, "1 kept for the next start" in out) == (1, True), err


@pytest.mark.parametrize(("drain", "keeps"), [("30", False), ("0", True)])
def test_a_signal_under_flow_loses_nothing_and_what_is_kept_goes_on_at_the_next_start(
    tmp_path: Path, drain: str, keeps: bool
) -> None:
    pytest.importorskip("aiohttp")
    receiver = webhook_receiver(tmp_path / "receiver")
    slow = tmp_path / "slow"
    slow.write_text(json.dumps([{"delay": 0.05, "count": 400}]))
    receiver.command = [*receiver.command, "--script", str(slow)]
    receiver.start()
    try:
        hook = f'url: "http://127.0.0.1:{receiver.port}/", options: {{allow: [127.0.0.0/8]}}'
        (tmp_path / "router.yaml").write_text(
            f"message_router:\n  default: d\n  destinations: {{d: {{{hook}}}}}\n  pools: {{d: {{destinations: [d]}}}}\n"
            f"  outbox: {{path: {tmp_path / 'outbox.db'}}}\n"
        )
        config, names = str(tmp_path / "router.yaml"), [f"m-{number}" for number in range(5_000)]
        messages = ndjson(tmp_path, [{"id": name} for name in names])
        command = ["run", config, "-q", "--input", messages, "--concurrency", "20", "--drain", drain]
        with process(*command) as running:
            until = time.monotonic() + 30
            while len(read_log(tmp_path / "receiver" / "log")) < 50:
                assert time.monotonic() < until
                assert running.poll() is None
                time.sleep(0.01)
            running.send_signal(signal.SIGTERM)
            out, err = running.communicate(timeout=60)
        assert running.returncode == keeps, err
        assert ("kept for the next start" in out) == keeps
        first = ledger(out)
        assert (first["lost"], first["dead"]) == (0, 0)
        code, out, err = run("run", config, input="")
        assert code == 0, err
        assert ledger(out)["delivered"] == first["accepted"] - first["delivered"]
        # What was accepted is known by its number alone: the file is read in order.
        found = account(names[: first["accepted"]], read_log(tmp_path / "receiver" / "log"))
        assert (found.lost, found.unknown, 50 <= found.sent < 5_000) == (set(), set(), True)
        if not keeps:
            assert not found.twice
    finally:
        receiver.kill()


def test_a_full_store_of_dead_letters_ends_the_run_in_words(tmp_path: Path) -> None:
    arguments = with_outbox(tmp_path, "  dead_letters: {max_kept: 2}\n")
    messages = ndjson(tmp_path, [BAD] * 50)
    code, out, _ = run("run", *arguments, "--input", messages, "--concurrency", "1")
    assert code == 1
    assert "as many dead letters are kept as may be: see turnout dlq" in out
    assert 2 <= ledger(out)["dead"] == len(kept_letters(tmp_path)) < 50
    letters = tmp_path / "letters"
    more = ["--dead-letters", str(letters), "--concurrency", "1"]
    code, out, _ = run("run", *arguments, "--input", messages, *more)
    assert ledger(out)["dead"] == 50
    assert kept_letters(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_letters_that_cannot_be_written_to_the_file_stay_in_the_outbox(tmp_path: Path) -> None:
    arguments = with_outbox(tmp_path)
    code, _, err = run("run", *arguments, "--dead-letters", "/dev/full", input=json.dumps({"id": "m", **BAD}) + "\n")
    assert code == 1
    assert "No space left on device; they stay in the outbox" in err
    assert [letter.id for letter in kept_letters(tmp_path)] == ["m"]


def test_a_letter_is_in_the_file_or_in_the_outbox_whenever_the_process_is_killed(tmp_path: Path) -> None:
    arguments, letters = with_outbox(tmp_path), tmp_path / "letters"
    settled = tmp_path / "settled"
    code = (
        "import os\nfrom turnout import DeliveryError\n"
        f"log = os.open({str(settled)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "async def send(message, destination):\n    os.write(log, f\"{message['id']}\\n\".encode())\n"
        "    raise DeliveryError('refused', 'never', retryable=False)\n"
        "def setup(router): router.transport('send', send)\n"
    )
    (tmp_path / "app.py").write_text(code)
    for round_ in range(8):
        lines = (json.dumps({"id": f"{round_}-{n}", "channel": "sms"}) for n in range(20_000))
        messages = ndjson(tmp_path, lines)
        before = settled.stat().st_size if settled.exists() else 0
        with process("run", *arguments, "-q", "--input", messages, "--dead-letters", str(letters)) as running:
            until = time.monotonic() + 30
            while (settled.stat().st_size if settled.exists() else 0) < before + 500 * (round_ + 1):
                assert time.monotonic() < until
                time.sleep(0.002)
            running.kill()
            running.communicate()
    _, out, _ = run("run", *arguments, "-q", "--dead-letters", str(letters), input="")
    assert ledger(out)["lost"] == 0
    assert kept_letters(tmp_path) == []
    written = set()
    for line in letters.read_text().splitlines():
        with contextlib.suppress(ValueError):  # a kill may have cut one in writing, which was then still in the outbox
            written.add(json.loads(line)["id"])
    tried = set(settled.read_text().split())
    assert len(tried) > 100
    assert tried <= written
