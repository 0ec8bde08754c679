"""``kill -9`` at random instants: whatever was accepted is received by both pools, or is a dead letter."""

from __future__ import annotations

import collections
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("TURNOUT_KILLS", "200"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_nothing_accepted_is_lost_when_the_process_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = Path(__file__).with_name("outbox_child.py")
    ended = subprocess.run(
        [sys.executable, child, tmp_path, str(KILLS), "17"], capture_output=True, text=True, timeout=60 + 2 * KILLS
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "damaged" not in ended.stderr
    end = json.loads((tmp_path / "end.json").read_text())
    accepted = (tmp_path / "accepted.log").read_text().split()
    received = collections.Counter(
        map(tuple, (line.split() for line in (tmp_path / "received.log").read_text().splitlines()))
    )
    dead = {(name, pool) for name, pool in end["letters"]}
    missing = [
        (name, pool)
        for name in accepted
        for pool in "pq"
        if (name, pool) not in received and (name, pool) not in dead and (name, None) not in dead
    ]
    duplicates = sum(count - 1 for count in received.values())
    with capsys.disabled():
        print(
            f"\n{KILLS} kills: {len(accepted)} accepted, {len(received)} received, {duplicates} twice, {len(dead)} dead"
        )
    assert missing == []
    assert (end["lost"], end["kept"]) == (0, 0)
    assert len(accepted) == len(set(accepted)) > KILLS
    assert sqlite3.connect(tmp_path / "outbox.db").execute("SELECT count(*) FROM message").fetchone() == (0,)
