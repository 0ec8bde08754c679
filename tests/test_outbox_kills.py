"""``kill -9`` at random instants and at every point that matters: what was accepted arrives in both pools, in order.

Three kinds of process take part: the one that is killed, which only sends (:mod:`outbox_child`); its parent, which gets
to know through a pipe what was accepted (:mod:`outbox_killer`); and for each pool a receiver of webhooks, whose log is
all that says what arrived. Every next start settles what was left, and the books are compared there.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from outbox_points import LOG_LIMIT
from servers import webhook_receiver
from turnout.testing import accounts, read_log

KILLS = int(os.environ.get("TURNOUT_KILLS", "200"))
POOLS = "pq"


@dataclass
class Books:
    """What the parent of the killed processes noted of one outbox, beside the logs of the receivers."""

    logs: dict[str, bytes]
    offered: dict[str, list[str]] = field(default_factory=lambda: {pool: [] for pool in POOLS})
    """By pool: what was about to be accepted; whether it was may be known to nobody."""
    accepted: dict[str, list[str]] = field(default_factory=lambda: {pool: [] for pool in POOLS})
    letters: list[tuple[str, str | None]] = field(default_factory=list)
    """As of the last settlement: the message, and the pool if it is of one branch only."""
    settlements: int = 0
    _open: set[tuple[str, str]] = field(default_factory=set)
    _read: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POOLS, 0))

    def dead(self, pool: str) -> set[str]:
        return {name for name, of in self.letters if of in (None, pool)}

    def unsure(self, pool: str) -> set[str]:
        """What may have arrived, or not: nobody was told that it is accepted, or it is a dead letter."""
        return (set(self.offered[pool]) - set(self.accepted[pool])) | self.dead(pool)

    def take(self, line: dict[str, Any]) -> None:
        """The next line of the journal."""
        for to in line.get("to", ""):
            self.offered[to] += line.get("offered", ())
            self.accepted[to] += line.get("accepted", ())
            self._open.update((name, to) for name in line.get("accepted", ()))
        if "settled" in line:
            self._settle(line)

    def _settle(self, line: dict[str, Any]) -> None:
        """Nothing is left: all that was accepted before has arrived by now, or is a dead letter."""
        assert line["settled"] == {"lost": 0, "balanced": True}
        self.settlements += 1
        self.letters = [(name, pool) for name, pool, _ in line["letters"]]
        for pool, size in zip(POOLS, line["logs"], strict=True):
            new = self.logs[pool][self._read[pool] : size]
            self._read[pool] = size
            self._open -= {(json.loads(one)["id"], pool) for one in new.splitlines()}
            self._open -= {(name, pool) for name in self.dead(pool)}
        assert not self._open, sorted(self._open)[:10]


def misbehaving(path: Path, rng: random.Random) -> Path:
    """The script of a receiver that refuses one request in ten, and takes its time for as many."""
    kinds = [{"count": 1}] * 8 + [{"status": 500, "count": 1}, {"delay": 0.01, "count": 1}]
    path.write_text(json.dumps([rng.choice(kinds) for _ in range(20 * KILLS)]))
    return path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_nothing_accepted_is_lost_when_the_process_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp")
    servers = [webhook_receiver(tmp_path / pool) for pool in POOLS]
    servers[1].command = [*servers[1].command, "--script", str(misbehaving(tmp_path / "script", random.Random(17)))]
    killer = Path(__file__).with_name("outbox_killer.py")
    try:
        for server in servers:
            server.start()
        ports = [str(server.port) for server in servers]
        command = [sys.executable, killer, tmp_path, str(KILLS), "17", *ports]
        # No TLS here: reading all authorities, which takes 30 ms a destination, would be most of what each start does.
        environment = {**os.environ, "SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": str(tmp_path)}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * KILLS, env=environment)
        assert ended.returncode == 0, ended.stderr[-4000:]
    finally:
        for server in servers:
            server.kill()
    assert "damaged" not in ended.stderr
    journal = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    logs = {pool: (tmp_path / pool / "log").read_bytes() for pool in POOLS}
    books: dict[str, Books] = {}
    for line in journal:
        books.setdefault(line["of"], Books(logs)).take(line)
    received = [noted for pool in POOLS for noted in read_log(tmp_path / pool / "log")]
    found = accounts(
        {pool: [name for one in books.values() for name in one.offered[pool]] for pool in POOLS},
        received,
        elsewhere={pool: [name for one in books.values() for name in one.unsure(pool)] for pool in POOLS},
    )
    count = sum(len(one.accepted[pool]) for one in books.values() for pool in POOLS)
    letters = sum(len(one.letters) for one in books.values())
    ends = Counter(line["end"] for line in journal if "end" in line and line["end"] != "end")
    with capsys.disabled():
        print(f"\n{KILLS} kills: {', '.join(f'{number} {name}' for name, number in sorted(ends.items()))}")
        for pool, one in found.items():
            print(
                f"{pool}: {one.received} received, {len(one.lost)} lost, {one.twice} twice, {one.reordered} reordered"
            )
        print(f"{count} accepted, {letters} dead letters, {sum(one.settlements for one in books.values())} settlements")
    assert {pool: (one.lost, one.unknown, one.reordered) for pool, one in found.items()} == {
        pool: (set(), set(), 0) for pool in POOLS
    }
    assert sum(ends.values()) == KILLS
    # The limit of size was passed by the log; or by the file, which only a checkpoint writes, and not the log.
    assert {line["sizes"][1] for line in journal if line.get("end") == "log"} <= {LOG_LIMIT}
    assert all(file > log for file, log in (line["sizes"] for line in journal if line.get("end") == "checkpoint"))
    assert count > 10 * KILLS
    dead = {pool: {name for one in books.values() for name in one.dead(pool)} for pool in POOLS}
    arrivals = Counter((one.id, one.destination or "") for one in received)
    for line in journal:
        if "point" in line:
            for name in line["ids"]:
                there = {pool: arrivals[name, pool] for pool in POOLS}
                gone = {pool for pool in POOLS if name in dead[pool]}
                assert as_the_point_says(line["point"], there, gone), (line["point"], name, there, gone)
    for outbox in books:
        assert _left(tmp_path / outbox) == {"message": 0, "branch": 0, "request": 0}


def as_the_point_says(point: str, arrivals: Mapping[str, int], dead: Set[str]) -> bool:
    """Whether a message that was at this point when its process ended has arrived as often as it must.

    ``arrivals``: by pool; ``dead``: the pools of which it is a dead letter.
    """
    match point:
        case "before_commit" | "many_before" | "log":  # it is not on disk
            return sum(arrivals.values()) == 0
        case "fanout_sent":  # it arrived, and nobody knows: it is sent again
            return sum(arrivals.values()) > len(POOLS)
        case "ended":
            return all(count == 1 for count in arrivals.values())
        case "fanout_noted":  # it is not sent again where it arrived
            return arrivals["p"] == 1 <= arrivals["q"]
        case "redrive_before" | "redrive_after" | "redrive_alone_before" | "redrive_alone_after":
            return arrivals["p"] > 0 or "p" in dead
        case _:
            return all(arrivals[pool] or pool in dead for pool in POOLS)


def _left(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        tables = ("message", "branch", "request")
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608
