"""What stands in an outbox file: its tables, the checksums of their rows, and how a file of layout 1 becomes one of 2.

Layout 2 (``user_version``):

- ``message``, one row for each unsettled message. ``seq`` counts up within a run of the router, whose number stands
  above bit 36: so no number is ever given out twice, and rows are in order of acceptance across runs.
- ``branch``: of a pool of a route with mode ``all`` (with mode ``first`` the pool is ``''``), what is known of earlier
  attempts, and whether it has the message.
- ``dead``, the dead letters; ``known``, ids of delivered messages, for the repeats.
- ``request``: what another process asks the living router to do with a dead letter.
- ``run``: the runs of the router, and which of them were closed.

Rows carry a CRC-32 of what they hold, because SQLite does not notice a flipped bit in a value. The index on the ids is
a second list of what there should be: with it, a damaged file tells what is gone.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any, Final, NamedTuple

LAYOUT: Final = 2
APPLICATION: Final = 0x7475726E  # "turn", so that a file of another program is told from ours
RUN_BITS: Final = 36
"""Bits of ``seq`` below the number of the run: 68 thousand million messages a run."""

TABLES: Final = """
CREATE TABLE message(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, priority INTEGER NOT NULL, accepted REAL NOT NULL,
                     expires REAL, not_before REAL, ordering TEXT, target TEXT, round INTEGER NOT NULL,
                     body BLOB NOT NULL, crc INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE INDEX message_id ON message(id, mark);
CREATE TABLE branch(seq INTEGER NOT NULL, pool TEXT NOT NULL, run INTEGER NOT NULL, tried INTEGER NOT NULL,
                    earlier INTEGER NOT NULL, begun INTEGER NOT NULL, took INTEGER NOT NULL, record BLOB,
                    crc INTEGER NOT NULL, PRIMARY KEY(seq, pool)) WITHOUT ROWID;
CREATE TABLE dead(number INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE known(number INTEGER PRIMARY KEY, id TEXT NOT NULL, at REAL NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE request(number INTEGER PRIMARY KEY, action TEXT NOT NULL, letter INTEGER NOT NULL, target TEXT);
CREATE TABLE run(number INTEGER PRIMARY KEY, clean INTEGER NOT NULL);
"""
COLUMNS: Final = {
    "message": "seq, id, priority, accepted, expires, not_before, ordering, target, round, body, crc",
    "branch": "seq, pool, run, tried, earlier, begun, took, record, crc",
    "dead": "number, body, crc",
    "known": "number, id, at, crc",
    "request": "number, action, letter, target",
    "run": "number, clean",
}
"""Of each table, without the mark."""
COLUMNS_1: Final = {
    "message": "seq, id, priority, accepted, expires, body, crc, tried",
    "took": "seq, pool",
    "dead": "number, body, crc",
    "known": "number, id, at",
}
"""The same in layout 1."""


def _insert(table: str, verb: str, *more: str) -> str:
    names = ", ".join((COLUMNS[table], *more))
    return f"{verb} INTO {table}({names}) VALUES ({', '.join('?' * (names.count(',') + 1))})"


ADD: Final = _insert("message", "INSERT", "mark")
ADD_MANY: Final = _insert("message", "INSERT OR ROLLBACK", "mark")
"""For many rows at once. A conflict, which is a bug, ends the whole transaction: so SQLite need not note how each page
was before the statement, in a file where that is much."""
BRANCH: Final = _insert("branch", "INSERT OR REPLACE")
DEAD: Final = _insert("dead", "INSERT OR REPLACE")
KNOWN: Final = _insert("known", "INSERT OR REPLACE")
REQUEST: Final = _insert("request", "INSERT OR REPLACE")
RUN: Final = _insert("run", "INSERT OR REPLACE")


class Row(NamedTuple):
    """One unsettled message as it is on disk. Times in Unix seconds."""

    seq: int
    id: str
    priority: int
    accepted: float
    expires: float | None
    """None: it has no end of its own."""
    not_before: float | None
    """None: it was due at once, or is."""
    ordering: str | None
    """Messages of one such key are attempted in their order."""
    target: str | None
    """Of a dead letter that was redriven: where to, and what else :class:`~.jobs.Redrive` says, by ``outbox_rows``."""
    round: int
    """Rounds of attempts that it has behind it; see ``retries.schedule``."""
    body: bytes
    """The message, by ``outbox_codec``."""


class BranchRow(NamedTuple):
    """What is known of the attempts at a message in one pool, or of all of them with mode ``first``."""

    seq: int
    pool: str
    """Empty with mode ``first``."""
    run: int
    """The run of the router that wrote this."""
    tried: int
    """Attempts of this round that failed, or were under way when the process died."""
    earlier: int
    """Further attempts: of earlier rounds, and one where nobody knows whether it was made."""
    begun: int
    """1 while an attempt is under way whose beginning was written."""
    took: int
    """1 if the pool has the message."""
    record: bytes | None
    """Its :class:`~turnout.delivery.records.Branch` so far, by ``outbox_codec``; None where nobody needed it."""


class Request(NamedTuple):
    """What another process asks the living router to do with a dead letter."""

    number: int
    action: str
    """``redrive`` or ``purge``."""
    letter: int
    """Its number."""
    target: str | None
    """The pool or destination of a redrive; None: routing says."""


def row_values(row: Row) -> tuple[Any, ...]:
    """What :data:`ADD` takes."""
    return (*row, row_crc(row), mark(row))


def branch_values(row: BranchRow) -> tuple[Any, ...]:
    """What :data:`BRANCH` takes."""
    return (*row, branch_crc(row))


def row_crc(row: tuple[Any, ...]) -> int:
    """Of the columns of a message but its checksum; they may be damaged."""
    seq, name, priority, accepted, expires, not_before, ordering, target, rounds, body = row[:10]
    return head_crc(zlib.crc32(body), seq, name, priority, accepted, expires, not_before, ordering, target, rounds)


def head_crc(body_crc: int, *columns: Any) -> int:
    """The same, where of the body only its checksum is known."""
    seq, name, priority, accepted, expires, not_before, ordering, target, rounds = columns
    words = f"{seq} {name} {priority} {accepted!r} {expires!r} {not_before!r} {ordering!r} {target!r} {rounds}"
    return zlib.crc32(words.encode(), body_crc)


def branch_crc(row: tuple[Any, ...]) -> int:
    """Of the columns of a branch but its checksum."""
    return zlib.crc32(row[7] or b"", zlib.crc32(repr(row[:7]).encode()))


def known_crc(row: tuple[Any, ...]) -> int:
    """Of number, id and time."""
    return zlib.crc32(f"{row[0]} {row[1]} {row[2]!r}".encode())


def mark(row: tuple[Any, ...]) -> int:
    """Checks what the index on ids says of a row, which stands there without the row."""
    return zlib.crc32(f"{row[0]} {row[1]}".encode())


def sound(table: str, row: tuple[Any, ...]) -> bool:
    """Whether a row of a table of layout 2 is what was written. Tables without a checksum are taken as they are."""
    try:
        match table:
            case "message":
                return bool(row_crc(row) == row[10])
            case "branch":
                return bool(branch_crc(row) == row[8])
            case "dead":
                return bool(zlib.crc32(row[1]) == row[2])
            case "known":
                return bool(known_crc(row) == row[3])
            case _:
                return True
    except (TypeError, ValueError):  # a flipped bit can change a value's type
        return False


def sound_1(table: str, row: tuple[Any, ...]) -> bool:
    """The same of layout 1."""
    try:
        match table:
            case "message":
                seq, name, priority, accepted, expires, body, crc, tried = row
                words = f"{seq} {name} {priority} {accepted!r} {expires!r}"
                return bool(zlib.crc32(body, zlib.crc32(words.encode())) == crc) and isinstance(tried, int)
            case "dead":
                return bool(zlib.crc32(row[1]) == row[2])
            case _:
                return isinstance(row[1], str)
    except (TypeError, ValueError):
        return False


def from_layout_1(table: str, row: tuple[Any, ...]) -> list[tuple[str, tuple[Any, ...]]]:
    """The rows of layout 2, each with its table, that a sound one of layout 1 becomes."""
    match table:
        case "message":
            seq, name, priority, accepted, expires, body, _, tried = row
            new = Row(seq, name, priority, accepted, expires, None, None, None, 0, body)
            rows = [("message", row_values(new))]
            if tried:
                rows.append(("branch", branch_values(BranchRow(seq, "", 0, 0, tried, 0, 0, None))))
            return rows
        case "took":
            return [("branch", branch_values(BranchRow(row[0], row[1], 0, 0, 0, 0, 1, None)))]
        case "known":
            return [("known", (*row, known_crc(row)))]
        case _:
            return [(table, row)]


INTO: Final = {"message": ADD, "branch": BRANCH, "dead": DEAD, "known": KNOWN, "request": REQUEST, "run": RUN}
"""How a row gets into each table."""


def create(db: sqlite3.Connection) -> None:
    """Makes the tables, in the transaction that is open."""
    for statement in TABLES.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id={APPLICATION}")
    db.execute(f"PRAGMA user_version={LAYOUT}")


def upgrade(db: sqlite3.Connection) -> None:
    """Makes a sound file of layout 1 one of layout 2, in one transaction: after a crash it is the one or the other.

    Raises:
        sqlite3.Error: there is no room for that; the file is as it was.
    """
    db.execute("BEGIN EXCLUSIVE")
    try:
        db.execute("DROP INDEX message_id")
        for table in COLUMNS_1:
            db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        create(db)
        for table, columns in COLUMNS_1.items():
            for row in db.execute(f"SELECT {columns} FROM old_{table}"):  # noqa: S608 - our own names
                for into, values in from_layout_1(table, row):
                    db.execute(INTO[into], values)
            db.execute(f"DROP TABLE old_{table}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
