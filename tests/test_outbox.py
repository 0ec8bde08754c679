"""The outbox: what is kept, what is resumed, what is refused; damage of the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fake_core import FakeCore, answer, failing, hang
from outbox_support import kept, row_of, with_outbox
from turnout import Router
from turnout.delivery import DeliverySettings
from turnout.delivery.outbox_codec import decode, encode
from turnout.delivery.outbox_file import Batch, OutboxFile
from turnout.delivery.settings import OutboxSettings
from turnout.errors import ConfigError, DeliveryError, MessageError
from turnout.message import Message


@pytest.mark.parametrize(
    "message",
    [
        {"id": "m", "text": "grün", "deep": {"list": [1, None, 2.5]}},
        {"id": "m", "raw": b"\x00\xff"},
        b'{"id":  "m"}',
        Message({"a": b"1"}, id="m", channel="sms", headers={"x": "y"}, priority=7, key="k"),
        Message("text", id="m", deadline=datetime(2040, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_message_comes_back_from_the_file_as_it_was(message: Any) -> None:
    assert decode(encode(message)) == message


async def test_what_a_close_leaves_unsettled_is_delivered_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await kept(path, {"id": "low", "priority": 1}, {"id": "high", "priority": 9})
    got: list[str] = []

    async def receive(message: Any, _destination: str) -> None:
        got.append(message["id"])

    deliveries = with_outbox(FakeCore(), receive, path, concurrency=1)
    await deliveries.start()
    await deliveries.join()
    assert sorted(got) == ["high", "low"]
    assert (deliveries.ledger.accepted, deliveries.ledger.delivered) == (2, 2)
    await deliveries.close()
    again = with_outbox(FakeCore(), receive, path)
    await again.start()
    await again.join()
    assert again.ledger.accepted == 0
    await again.close()


async def test_an_id_is_delivered_once_within_the_window_in_this_run_and_the_next(tmp_path: Path) -> None:
    core = FakeCore()
    for repeated in (1, 2):
        deliveries = with_outbox(core, answer, tmp_path / "o.db")
        await deliveries.start()
        first, second = await asyncio.gather(deliveries.dispatch({"id": "m"}), deliveries.dispatch({"id": "m"}))
        assert (first.status, second.status) == ("delivered", "delivered")
        assert await deliveries.accept({"id": "m"}) == "m"
        assert deliveries.ledger.repeated == repeated + 1
        await deliveries.close()
    assert len(core.leases) == 1


async def test_a_message_that_was_dead_lettered_may_be_brought_again(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), failing("a", "b", "c"), tmp_path / "o.db", max_attempts=1)
    await deliveries.start()
    assert not (await deliveries.dispatch({"id": "m"})).delivered
    assert not (await deliveries.dispatch({"id": "m"})).delivered
    assert (deliveries.ledger.dead_lettered, deliveries.ledger.repeated) == (2, 0)
    await deliveries.close()


async def test_dead_letters_are_there_after_a_restart_until_they_are_taken(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), failing("a", "b", "c"), tmp_path / "o.db", max_attempts=2)
    await deliveries.start()
    await deliveries.dispatch({"id": "m"})
    (letter,) = deliveries.dead_letters
    await deliveries.close()
    for left in (1, 0):
        again = with_outbox(FakeCore(), answer, tmp_path / "o.db")
        await again.start()
        assert again.dead_letters.take() == [letter] * left
        await again.close()


async def test_a_message_older_than_max_age_expires_at_the_start(tmp_path: Path) -> None:
    await kept(tmp_path / "o.db", {"id": "m"})
    await asyncio.sleep(0.02)
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db", max_age=0.01)
    await deliveries.start()
    await deliveries.join()
    assert deliveries.ledger.expired == 1
    assert [letter.id for letter in deliveries.dead_letters] == ["m"]
    await deliveries.close()


@pytest.mark.parametrize(("limit", "word"), [({"max_bytes": 20}, "max_bytes"), ({"max_messages": 1}, "max_messages")])
async def test_a_full_outbox_refuses_in_words(tmp_path: Path, limit: dict[str, int], word: str) -> None:
    deliveries = with_outbox(FakeCore(), hang, tmp_path / "o.db", **limit)
    await deliveries.start()
    await deliveries.accept({"id": "m"})
    with pytest.raises(DeliveryError, match=word) as raised:
        await deliveries.accept({"id": "n"})
    assert raised.value.kind == "outbox_full"
    assert (deliveries.ledger.accepted, deliveries.ledger.refused) == (1, 1)
    await deliveries.close(drain=0)


async def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    with pytest.raises(MessageError, match="outbox"):
        await deliveries.accept({"id": "m", "what": object()})
    assert (await deliveries.dispatch({"id": "m"})).delivered
    await deliveries.close()
    assert deliveries.ledger.balanced


async def test_a_second_user_of_the_file_is_told(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), answer, tmp_path / "o.db")
    await deliveries.start()
    script = (
        "import sys, pathlib; from turnout.delivery.outbox_file import OutboxFile; "
        "OutboxFile(pathlib.Path(sys.argv[1]))"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "o.db"), stderr=asyncio.subprocess.PIPE
    )
    assert b"another process uses it" in (await other.communicate())[1]
    with pytest.raises(ConfigError, match="another process uses it"):
        OutboxFile(tmp_path / "o.db")
    await deliveries.close()
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]  # noqa: PTH208 - a short look


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as other:
        other.execute("CREATE TABLE theirs(x)")
    before = (tmp_path / "o.db").read_bytes()
    with pytest.raises(ConfigError, match="another program"):
        OutboxFile(tmp_path / "o.db")
    assert (tmp_path / "o.db").read_bytes() == before


def test_a_later_layout_is_left_alone(tmp_path: Path) -> None:
    OutboxFile(tmp_path / "o.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as other:
        other.execute("PRAGMA user_version=3")
    with pytest.raises(ConfigError, match="layout 3"):
        OutboxFile(tmp_path / "o.db")


async def test_the_path_cannot_change_in_a_reload(tmp_path: Path) -> None:
    router = Router({"outbox": {"path": str(tmp_path / "o.db")}})
    with pytest.raises(ConfigError, match="path cannot change"):
        router.reload({"outbox": {"path": str(tmp_path / "other.db")}})


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_file_is_kept_and_what_is_gone_is_named(tmp_path: Path, seed: int) -> None:
    path, rng = tmp_path / "o.db", random.Random(seed)
    file, batch = OutboxFile(path), Batch()
    bodies = {seq: rng.randbytes(rng.randrange(1500)) for seq in range(1, 201)}
    batch.added = [row_of(seq, body) for seq, body in bodies.items()]
    file.write(batch)
    file.close()
    raw = bytearray(path.read_bytes())
    if seed % 3 == 0:
        del raw[rng.randrange(len(raw)) :]
    else:
        for _ in range(rng.choice([1, 5, 50])):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    opened = OutboxFile(path)
    rows = [row for row, _ in opened.rows(range(1, 201)).values()]
    assert all(bodies[row.seq] == row.body and row.id == f"id-{row.seq}" for row in rows)
    missing = {f"id-{seq}" for seq in bodies} - {row.id for row in rows}
    if opened.damage is None:
        assert not missing or len(raw) == 0  # an empty file is a new one to SQLite
    else:
        assert opened.damage.kept_as.exists()
        assert opened.damage.salvaged == len(rows)
        if opened.damage.certain:
            assert set(opened.damage.gone) == missing
    opened.close()
    again = OutboxFile(path)
    assert again.damage is None
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no small tmpfs can be mounted here")
    yield disk
    subprocess.run([shutil.which("umount") or "umount", disk], check=True)


async def tried(deliveries: Any, message: dict[str, Any]) -> str:
    """How the message went: the status of its delivery, or why it was refused."""
    try:
        return (await deliveries.dispatch(message)).status
    except DeliveryError as error:
        return error.kind


async def test_a_full_disk_refuses_new_work_while_deliveries_go_on(small_disk: Path) -> None:
    go = asyncio.Event()

    async def receive(_message: Any, _destination: str) -> None:
        await go.wait()

    deliveries = with_outbox(FakeCore(), receive, small_disk / "o.db", timeout=60)
    await deliveries.start()
    accepted, refused = 0, ""
    while not refused and accepted < 10_000:
        try:
            await deliveries.accept({"text": "x" * 10_000})
            accepted += 1
        except DeliveryError as error:
            refused = str(error)
    assert re.search("cannot be written: .*full", refused)
    assert refused.count("outbox_full") == 1
    assert accepted > 10
    go.set()
    await deliveries.join()
    assert deliveries.ledger.delivered == accepted
    for _ in range(600):  # the writer makes room when something is to be written
        if await tried(deliveries, {"id": "after"}) != "outbox_full":
            break
        await asyncio.sleep(0.05)
    assert deliveries.ledger.delivered == accepted + 1
    await deliveries.close()
    again = with_outbox(FakeCore(), answer, small_disk / "o.db")
    await again.start()
    await again.join()
    assert again.ledger.accepted == 0
    await again.close()


async def test_a_full_disk_does_not_keep_the_router_from_starting(small_disk: Path) -> None:
    await kept(small_disk / "o.db", *({"id": f"m{number}", "text": "x" * 2000} for number in range(300)))
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))
    deliveries = with_outbox(FakeCore(), answer, small_disk / "o.db")
    await deliveries.start()
    await deliveries.join()
    assert deliveries.ledger.delivered == 300
    with pytest.raises(DeliveryError, match="full"):
        await deliveries.accept({"id": "more"})
    (small_disk / "filler").unlink()
    for _ in range(600):
        if await tried(deliveries, {"id": "after"}) != "outbox_full":
            break
        await asyncio.sleep(0.05)
    await deliveries.close()
    again = with_outbox(FakeCore(), answer, small_disk / "o.db")
    await again.start()
    await again.join()
    assert again.ledger.accepted == 0
    await again.close()


async def test_a_branch_that_was_delivered_is_not_sent_again_and_attempts_count_on(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    hold, both = True, asyncio.Event()

    async def receive(_message: Any, destination: str) -> None:
        seen.append(("send", destination))
        if len(seen) == 2:
            both.set()
        if destination == "b" and hold:
            await asyncio.Event().wait()

    def router() -> Router:
        made = Router(
            {"outbox": {"path": str(tmp_path / "o.db")}},
            rules=[{"id": "r", "when": "message.n == 1", "to": ["p", "q"], "mode": "all"}],
            pools={"p": {"destinations": ["a"]}, "q": {"destinations": ["b"]}},
            destinations={"a": {"url": "callable:f"}, "b": {"url": "callable:f"}},
        )
        made.transport("f", receive)
        return made

    first = router()
    await first.start()
    await first.accept({"id": "m", "n": 1})
    await both.wait()
    await first.close(drain=0)
    assert first.ledger.kept == 1
    seen.clear()
    hold = False
    second = router()
    await second.start()
    await second.join()
    await second.close()
    assert seen == [("send", "b")]
    assert (second.ledger.delivered, second.ledger.lost) == (1, 0)


def test_settings_are_those_of_the_configuration() -> None:
    config = Router({"outbox": {"path": "o.db", "window": "1h"}}).config
    settings = DeliverySettings.of(config).outbox
    assert settings == OutboxSettings("o.db", window=3600.0)
