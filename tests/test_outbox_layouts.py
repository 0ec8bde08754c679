"""The outbox file and its neighbours: earlier layouts and letters, the lock, other processes at the file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fake_core import FakeCore, answer, failing
from outbox_support import layout_1, row_of, sent_by, with_outbox
from turnout.delivery.outbox_codec import decode_letter, encode, encode_letter
from turnout.delivery.outbox_file import Batch, OutboxFile
from turnout.delivery.outbox_schema import LAYOUT
from turnout.delivery.records import DeadLetter
from turnout.errors import ConfigError


async def test_a_file_of_layout_1_is_upgraded_and_delivered(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    layout_1(path)
    core = FakeCore(pools={"p": ["a"], "q": ["b"]}, mode="all", quorum=2)
    deliveries = with_outbox(core, answer, path)
    seen = sent_by(deliveries)
    await deliveries.start()
    await deliveries.join()
    assert deliveries._outbox is not None
    assert deliveries._outbox.damage is None
    assert deliveries.ledger.delivered == 3
    # One attempt more may have been under way when that process ended; nobody knows.
    assert sorted(seen) == [("m1", "a", 2), ("m1", "b", 2), ("m2", "a", 4), ("m2", "b", 4), ("m3", "b", 2)]
    (letter,) = deliveries.dead_letters
    assert (letter.id, letter.message, letter.attempts[0].destination) == ("d", {"id": "d"}, "a")
    assert (await deliveries.dispatch({"id": "k"})).attempts == ()  # known to be delivered
    await deliveries.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (LAYOUT,)
        assert not db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'old%' OR name = 'took'").fetchall()
    assert not any("damaged" in name for name in os.listdir(tmp_path))  # noqa: PTH208 - a short look


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_before_the_commit_of_an_upgrade_loses_nothing_and_the_next_start_upgrades(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    layout_1(path, 5_000)  # more pages than SQLite's cache, so that some of them are in the log before the commit
    script = (
        "import pathlib, sys\n"
        "from outbox_points import Countdown, migration\n"
        "from turnout.delivery.outbox_file import OutboxFile\n"
        "migration(Countdown(1, lambda ids: print('here', flush=True)), 'COMMIT')\n"
        "OutboxFile(pathlib.Path(sys.argv[1]))\n"
    )
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.run([sys.executable, "-c", script, path], env=here, capture_output=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"here\n"), killed.stderr
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    file = OutboxFile(path)
    try:
        assert file.damage is None
        rows = file.rows(range(1, 5_001))
        assert {seq: row.body for seq, (row, _) in rows.items()} == {
            seq: encode({"id": f"m{seq}", "n": seq}) for seq in range(1, 5_001)
        }
        assert (rows[2][1][""].earlier, rows[3][1]["p"].took) == (2, 1)
        assert [number for number, _ in file.dead()] == [1]
        assert [name for _, name, _ in file.known()] == ["k"]
    finally:
        file.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (LAYOUT,)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_sound_of_a_damaged_file_of_layout_1_is_saved(tmp_path: Path, seed: int) -> None:
    path, rng = tmp_path / "o.db", random.Random(seed)
    layout_1(path, 300)
    raw = bytearray(path.read_bytes())
    for _ in range(3):
        raw[rng.randrange(8192, len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    file = OutboxFile(path)
    rows = [one for one, _ in file.rows(range(1, 301)).values()]
    assert all(one.body == encode({"id": f"m{one.seq}", "n": one.seq}) for one in rows)
    assert len(rows) > 150
    assert file.damage is None or file.damage.salvaged == len(rows)
    if file.damage is not None and file.damage.certain:
        assert set(file.damage.gone) == {f"m{seq}" for seq in range(1, 301)} - {one.id for one in rows}
    file.close()


def test_every_column_of_a_message_is_covered_by_its_checksum(tmp_path: Path) -> None:
    path, batch = tmp_path / "o.db", Batch()
    changes = {
        "id": "'other'", "priority": "5", "accepted": "7.5", "expires": "NULL", "not_before": "3.5",
        "ordering": "'l'", "target": "'c'", "round": "1", "body": "x'6a5b5d'",
    }  # fmt: skip
    full = {"expires": 9.0, "not_before": 2.0, "ordering": "k", "target": "b"}
    batch.added = [row_of(seq, b"j{}", **full) for seq in range(1, len(changes) + 2)]
    file = OutboxFile(path)
    file.write(batch)
    file.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for seq, (column, value) in enumerate(changes.items(), 1):
            db.execute(f"UPDATE message SET {column} = {value} WHERE seq = {seq}")  # noqa: S608
    file = OutboxFile(path)
    assert file.damage is not None
    assert file.damage.problem == f"{len(changes)} rows do not match their checksum"
    assert [one.seq for one, _ in file.rows(range(99)).values()] == [len(changes) + 1]
    file.close()


def test_a_letter_of_another_release_is_read_as_far_as_it_goes() -> None:
    letter = decode_letter(json.dumps({"id": "d", "message": "ant9", "attempts": [{"number": 2}]}).encode())
    assert (letter.id, letter.message, letter.status, letter.reason) == ("d", {}, "dead_lettered", "internal")
    assert (letter.attempts[0].number, letter.attempts[0].kind, letter.partial, letter.at) == (2, None, False, 0.0)
    assert isinstance(letter, DeadLetter)
    assert decode_letter(encode_letter(letter)) == letter
    with pytest.raises(ValueError, match="without a message"):
        decode_letter(b"{}")


async def test_another_process_reads_and_writes_while_the_router_lives(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    deliveries = with_outbox(FakeCore(), failing("a", "b", "c"), path, max_attempts=1)
    await deliveries.start()
    assert not (await deliveries.dispatch({"id": "m"})).delivered
    script = (
        "import sqlite3, sys, time\n"
        "db = sqlite3.connect(sys.argv[1], timeout=10)\n"
        "for _ in range(500):\n"
        "    if db.execute('SELECT count(*) FROM dead').fetchone() == (1,): break\n"
        "    time.sleep(0.01)\n"
        "with db: db.execute('INSERT INTO request(action, letter, target) VALUES (?, 1, NULL)', ('redrive',))\n"
        "print(db.execute('SELECT number FROM dead').fetchall())\n"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), stdout=asyncio.subprocess.PIPE
    )
    messages = asyncio.gather(*(deliveries.dispatch({"n": number}) for number in range(200)))
    assert (await other.communicate())[0] == b"[(1,)]\n" or other.returncode == 0
    await messages
    await deliveries.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT action, letter, target FROM request").fetchall() == [("redrive", 1, None)]
        assert db.execute("SELECT count(*) FROM dead").fetchone() == (201,)


def test_the_lock_ends_with_the_process_and_a_forked_child_does_not_hold_it(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys, time\n"
        "from turnout.delivery.outbox_file import OutboxFile\n"
        "file = OutboxFile(pathlib.Path(sys.argv[1]))\n"
        "there, here = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.write(here, b'.')\n"
        "    time.sleep(60)\n"
        "os.read(there, 1)\n"
        "print(child, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path / "o.db"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.wait()
    try:
        OutboxFile(tmp_path / "o.db").close()
    finally:
        os.kill(child, 9)


def test_the_lock_is_named_where_it_is_taken(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / "o.db")
    with pytest.raises(ConfigError, match=r"holds .*o\.db\.lock"):
        OutboxFile(tmp_path / "o.db")
    file.close()
    OutboxFile(tmp_path / "o.db").close()
