"""A router over a damaged outbox: it delivers what is left, and says exactly what is gone."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from fake_core import FakeCore, answer
from outbox_support import row_of, sent_by, with_outbox
from turnout.delivery.outbox_codec import encode
from turnout.delivery.outbox_file import Batch, OutboxFile

SEEDS = int(os.environ.get("TURNOUT_DAMAGES", "40"))
FAR = 4e9
"""When the messages were accepted: they are not too old."""


def crashed(tmp_path: Path, rng: random.Random) -> tuple[Path, dict[str, int]]:
    """An outbox as a killed process leaves it: some in the file, some in the log; and the messages in it, by id."""
    live, path = tmp_path / "live.db", tmp_path / "o.db"
    file = OutboxFile(live)
    there: dict[str, int] = {}
    seq = 0
    for _ in range(rng.randrange(3, 12)):
        batch = Batch()
        for _ in range(rng.randrange(1, 30)):
            seq += 1
            body = encode({"id": f"id-{seq}", "n": seq, "text": "x" * rng.randrange(2500)})
            batch.added.append(row_of(seq, body, accepted=FAR))
            there[f"id-{seq}"] = seq
        for name in rng.sample(sorted(there), min(len(there), rng.randrange(8))):
            batch.ended.append((there.pop(name),))
        file.write(batch)
        if rng.random() < 0.2:
            file._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{live}{suffix}", f"{path}{suffix}")
    file.close()
    return path, there


def damage(path: Path, rng: random.Random, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "cut":
        del raw[rng.randrange(len(raw)) :]
    else:
        for _ in range(1 if how == "one bit" else rng.choice([3, 30])):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


@pytest.mark.parametrize("how", ["one bit", "bits", "cut"])
@pytest.mark.parametrize("part", ["-wal", ""])
@pytest.mark.parametrize("seed", range(max(1, SEEDS // 8)))
async def test_a_router_delivers_what_is_left_and_says_what_is_gone(
    tmp_path: Path, part: str, how: str, seed: int
) -> None:
    rng = random.Random(f"{part} {how} {seed}")
    path, there = crashed(tmp_path, rng)
    damage(Path(f"{path}{part}"), rng, how)
    core = FakeCore()
    deliveries = with_outbox(core, answer, path, timeout=60.0)
    sent = sent_by(deliveries)
    await deliveries.start()
    assert deliveries._outbox is not None
    found = deliveries._outbox.damage
    await deliveries.join()
    got = {name for name, *_ in sent}
    missing = there.keys() - got
    if found is None:
        assert not missing
    else:
        assert found.kept_as.exists()
        assert missing <= set(found.gone) or not found.certain
        assert not set(found.gone) & got
    assert deliveries.ledger.delivered == len(got)
    assert deliveries.ledger.lost == 0
    assert (await deliveries.dispatch({"id": "after"})).delivered
    await deliveries.close()
    again = with_outbox(core, answer, path)
    await again.start()
    assert again._outbox is not None
    assert again._outbox.damage is None
    assert again.ledger.accepted == 0
    await again.close()


def test_one_bad_page_of_the_log_costs_what_is_on_that_page(tmp_path: Path) -> None:
    path, there = crashed(tmp_path, random.Random(5))
    raw = bytearray(Path(f"{path}-wal").read_bytes())
    raw[32 + 24 + 2000] ^= 1  # in the first frame; SQLite would go back to before all of the log
    Path(f"{path}-wal").write_bytes(raw)
    file = OutboxFile(path)
    assert file.damage is not None
    assert "log" in file.damage.problem
    rows = file.rows(range(1, 1000))
    assert len(rows.keys() & set(there.values())) > len(there) * 0.8
    file.close()


def test_the_log_of_a_killed_process_is_sound(tmp_path: Path) -> None:
    for seed in range(20):
        directory = tmp_path / str(seed)
        directory.mkdir()
        path, there = crashed(directory, random.Random(seed))
        file = OutboxFile(path)
        assert file.damage is None
        assert file.rows(range(1, 1000)).keys() == set(there.values())
        file.close()


@pytest.mark.parametrize("frames", range(0, 7, 2))
@pytest.mark.parametrize("cut", [0, 24, 3000])
def test_a_transaction_that_a_kill_cut_short_is_no_damage_and_is_not_read(
    tmp_path: Path, frames: int, cut: int
) -> None:
    path, live = tmp_path / "o.db", OutboxFile(tmp_path / "live.db")
    there = range(1, 40)
    for first in there[::13]:
        batch = Batch()
        batch.added += [row_of(seq, b"x" * 500, accepted=FAR) for seq in range(first, first + 13)]
        live.write(batch)
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{live.path}{suffix}", f"{path}{suffix}")
    # Pages are split and filled anew, so half of this transaction would cost messages of those before.
    batch = Batch()
    batch.added += [row_of(seq, b"x" * 1500, accepted=FAR) for seq in range(100, 120)]
    batch.ended += [(seq,) for seq in there[::2]]
    live.write(batch)
    log = Path(f"{path}-wal")
    end = log.stat().st_size + frames * (24 + 4096)
    raw = Path(f"{live.path}-wal").read_bytes()
    live.close()
    assert raw.startswith(log.read_bytes())
    assert len(raw) > end + 24 + 4096
    written, torn = raw[:end], raw[end : end + 24 + 4096]
    # Of the frame after them, its head and a part of its page are written; the rest is of before.
    log.write_bytes(written + (torn[:cut] + bytes(24 + 4096 - cut) if cut else b""))
    file = OutboxFile(path)
    assert file.damage is None
    assert file.rows(range(200)).keys() == set(there)
    file.close()
