"""Many rows by few statements: each row is written once, whatever their number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from turnout.delivery.outbox_batch import Batch
from turnout.delivery.outbox_file import OutboxFile
from turnout.delivery.outbox_groups import in_groups
from turnout.delivery.outbox_schema import Row


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE t(number INTEGER PRIMARY KEY, text TEXT)")
        yield db


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 15, 16, 63, 64, 65, 84, 85, 200])
def test_each_row_is_written_and_each_number_deleted(db: sqlite3.Connection, count: int) -> None:
    rows = [(number, f"row {number}") for number in range(count)]
    in_groups(db, "INSERT INTO t(number, text) VALUES (?, ?)", rows)
    assert db.execute("SELECT number, text FROM t ORDER BY number").fetchall() == rows
    in_groups(db, "DELETE FROM t WHERE number IN (?)", [(number,) for number in range(0, count, 2)])
    assert db.execute("SELECT number, text FROM t ORDER BY number").fetchall() == rows[1::2]


def test_the_last_of_equal_rows_stands(db: sqlite3.Connection) -> None:
    in_groups(db, "INSERT OR REPLACE INTO t(number, text) VALUES (?, ?)", [(1, str(time)) for time in range(100)])
    assert db.execute("SELECT number, text FROM t").fetchall() == [(1, "99")]


def test_few_statements_write_many_rows(db: sqlite3.Connection) -> None:
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    in_groups(db, "INSERT INTO t(number, text) VALUES (?, ?)", [(number, "") for number in range(1_000)])
    assert len(seen) < 30


def test_a_conflict_leaves_nothing_of_a_batch(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / "o.db")
    batch = Batch()
    batch.added = [Row(number, "m", 4, 1.0, None, None, None, None, 0, b"j{}") for number in [*range(1, 100), 99]]
    with pytest.raises(sqlite3.IntegrityError):
        file.write(batch)
    assert file.unsettled() == []
    batch.added.pop()
    file.write(batch)
    assert len(file.unsettled()) == 99
    file.close()
