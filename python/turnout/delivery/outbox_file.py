"""The outbox on disk: an SQLite file of messages accepted and not settled, dead letters, and ids delivered lately.

Tables, layout 1 (``user_version``): ``message``, one row for each unsettled message; ``took``, the pools of a route
with mode ``all`` that have it already; ``dead``, the dead letters; ``known``, ids of delivered messages, for the
repeats. Rows of ``message`` and ``dead`` carry a CRC-32 of what they hold, because SQLite does not notice a flipped bit
in a value. The index on the ids is a second list of what there should be: with it, a damaged file tells what is gone.

Invariants:

- One process at a time: SQLite's exclusive locking mode, which the kernel ends with the process, however it ends.
- WAL and ``synchronous=FULL``: a transaction that returned is on disk. One :meth:`write` is one transaction, one fsync.
- A damaged file is never written to nor deleted: it is renamed, and what can be read of it goes to a new one. What was
  in a damaged or cut write-ahead log is an exception: SQLite goes back to the last sound transaction and does not tell.
- Beside it lies a reserve, a file of 4 MB: a delete needs room too. When the disk is full the reserve is given up, so
  that ends can still be written, and nothing is added until there is room for it again; the file shrinks to make it.

Of one thread at a time, but for :meth:`OutboxFile.rows`, which may be called beside the writer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import ConfigError

LAYOUT: Final = 1
_RESERVE: Final = 4 << 20
"""Bytes. Above what a checkpoint may add to the file: the log is brought in at 1 MB, or after one transaction."""
_STEP: Final = 128
"""Pages (of 4 KB) given back to the disk at once."""
_APPLICATION: Final = 0x7475726E  # "turn", so that a file of another program is told from ours
_TABLES: Final = """
CREATE TABLE message(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, priority INTEGER NOT NULL, accepted REAL NOT NULL,
                     expires REAL, body BLOB NOT NULL, crc INTEGER NOT NULL, tried INTEGER NOT NULL DEFAULT 0,
                     mark INTEGER NOT NULL);
CREATE INDEX message_id ON message(id, mark);
CREATE TABLE took(seq INTEGER NOT NULL, pool TEXT NOT NULL, PRIMARY KEY(seq, pool)) WITHOUT ROWID;
CREATE TABLE dead(number INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE known(number INTEGER PRIMARY KEY, id TEXT NOT NULL, at REAL NOT NULL);
"""
_COLUMNS: Final = "seq, id, priority, accepted, expires, body, crc, tried"
_INSERT: Final = f"INSERT INTO message({_COLUMNS}, mark) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
_TOOK: Final = "INSERT OR IGNORE INTO took(seq, pool) VALUES (?, ?)"
_DEAD: Final = "INSERT INTO dead(number, body, crc) VALUES (?, ?, ?)"
_KNOWN: Final = "INSERT OR REPLACE INTO known(number, id, at) VALUES (?, ?, ?)"


class Row(NamedTuple):
    """One unsettled message as it is on disk."""

    seq: int
    """Counted from the first message of the file."""
    id: str
    priority: int
    accepted: float
    """Unix seconds."""
    expires: float | None
    """Unix seconds; None: it has no end of its own."""
    body: bytes
    """The message, by ``outbox_codec``."""
    tried: int
    """Attempts in earlier runs: those that failed, and one for each end of a run, as one may have been under way."""


@dataclass(frozen=True)
class Damage:
    """What was found wrong with a file, and what became of it."""

    kept_as: Path
    """Where the damaged file is now."""
    problem: str
    salvaged: int
    """Unsettled messages that are in the new file."""
    gone: tuple[str, ...]
    """Ids of the messages that could not be read."""
    certain: bool
    """Whether that is all that is gone; False: the list of ids was damaged too."""
    letters_gone: int
    """Dead letters that could not be read."""

    def __str__(self) -> str:
        """In words."""
        gone = ", ".join(self.gone[:20]) + (", …" if len(self.gone) > 20 else "")
        more = "" if self.certain else "; the list of ids is damaged too, so there may be more"
        return (
            f"the outbox was damaged ({self.problem}) and is kept as {self.kept_as}: {self.salvaged} unsettled "
            f"messages saved, {len(self.gone)} gone{f' ({gone})' if gone else ''}{more}; "
            f"{self.letters_gone} dead letters gone"
        )


class Batch:
    """Changes that are written together. Additions come first, so that a message may be added and ended in one."""

    __slots__ = ("added", "dead", "ended", "forgotten", "known", "taken", "took", "tried")

    def __init__(self) -> None:
        self.added: list[Row] = []
        self.took: list[tuple[int, str]] = []
        self.tried: list[tuple[int]] = []
        self.ended: list[tuple[int]] = []
        self.dead: list[tuple[int, bytes]] = []
        self.known: list[tuple[int, str, float]] = []
        self.taken: list[tuple[int]] = []
        """Numbers of dead letters that somebody took."""
        self.forgotten = 0
        """Ids known up to this number are forgotten."""

    def __bool__(self) -> bool:
        return bool(
            self.added or self.took or self.tried or self.ended or self.dead or self.known or self.taken
            or self.forgotten
        )  # fmt: skip


class OutboxFile:
    """An open outbox file. Opening one creates, checks and if need be salvages it."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, creating it if it is not there. :attr:`damage` tells what was wrong with it.

        Raises:
            ConfigError: it cannot be opened: another process has it, it is of another program or a later layout, or
                its directory cannot be written.
        """
        self.path = path
        self._lock = threading.Lock()
        self.damage: Damage | None = None
        try:
            self._db, problem = _opened(path)
            self._reserve = path.with_name(path.name + ".reserve")
            if problem is not None:
                self.damage = self._salvage(problem)
            self.reserved()
        except sqlite3.OperationalError as error:
            raise ConfigError(f"outbox {path}: cannot be opened: {error}") from error
        except OSError as error:
            raise ConfigError(f"outbox {path}: its damaged file cannot be put aside: {error}") from error

    def rows(self, after: int, last: int, limit: int) -> list[tuple[Row, frozenset[str]]]:
        """Unsettled messages numbered above ``after`` and up to ``last``, in order, with the pools that have them."""
        query = f"SELECT {_COLUMNS} FROM message WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 - ours
        pools: dict[int, list[str]] = {}
        with self._lock:
            found = [_row(row) for row in self._db.execute(query, (after, last, limit))]
            if found:
                span = (found[0].seq, found[-1].seq)
                for seq, pool in self._db.execute("SELECT seq, pool FROM took WHERE seq BETWEEN ? AND ?", span):
                    pools.setdefault(seq, []).append(pool)
        return [(row, frozenset(pools.get(row.seq, ()))) for row in found]

    def unsettled(self) -> list[tuple[int, str, int]]:
        """Number, id and size in bytes of each unsettled message."""
        return self._db.execute("SELECT seq, id, length(body) FROM message ORDER BY seq").fetchall()

    def dead(self) -> list[tuple[int, bytes]]:
        """Number and content of each dead letter, the oldest first."""
        return self._db.execute("SELECT number, body FROM dead ORDER BY number").fetchall()

    def known(self) -> list[tuple[int, str, float]]:
        """Number, id and time of delivery (Unix seconds) of messages delivered lately."""
        return self._db.execute("SELECT number, id, at FROM known ORDER BY number").fetchall()

    def last(self) -> int:
        """The number of the last message in the file; 0 if there is none."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0])

    def write(self, batch: Batch) -> None:
        """Writes all of the batch, or nothing; on disk when it returns.

        Raises:
            sqlite3.Error: nothing of it was written; a full disk is an ``OperationalError``.
        """
        with self._lock:
            self._write(self._db, batch)

    def _write(self, db: sqlite3.Connection, batch: Batch) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(_INSERT, [(*row[:6], _row_crc(row), row.tried, _mark(row)) for row in batch.added])
            db.executemany(_TOOK, batch.took)
            db.executemany("UPDATE message SET tried = tried + 1 WHERE seq = ?", batch.tried)
            db.executemany("DELETE FROM message WHERE seq = ?", batch.ended)
            db.executemany("DELETE FROM took WHERE seq = ?", batch.ended)
            db.executemany(_DEAD, [(number, body, zlib.crc32(body)) for number, body in batch.dead])
            db.executemany("DELETE FROM dead WHERE number = ?", batch.taken)
            db.executemany(_KNOWN, batch.known)
            if batch.forgotten:
                db.execute("DELETE FROM known WHERE number <= ?", (batch.forgotten,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite ends some transactions by itself, as on a full disk
                db.execute("ROLLBACK")
            raise

    def reserved(self) -> bool:
        """Whether the reserve is there, after making it if there is room or the file can shrink."""
        return self._made() or (self._shrunk() and self._made())

    def _shrunk(self) -> bool:
        """Gives pages that hold nothing back to the disk, a few at a time: each step needs room in the log itself."""
        try:
            with self._lock:
                before, free = -1, self._free()
                while free not in (0, before):
                    self._db.execute(f"PRAGMA incremental_vacuum({_STEP})").fetchall()
                    before, free = free, self._free()
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            return False
        return True

    def _free(self) -> int:
        return int(self._db.execute("PRAGMA freelist_count").fetchone()[0])

    def _made(self) -> bool:
        try:
            if not self._reserve.exists() or self._reserve.stat().st_size < _RESERVE:
                with self._reserve.open("wb") as file:
                    file.write(bytes(_RESERVE))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError:
            self._reserve.unlink(missing_ok=True)
            return False
        return True

    def relieve(self) -> None:
        """Gives up the reserve, and brings the write-ahead log into the file.

        Raises:
            sqlite3.Error: the disk has no room even so, or fails.
        """
        self._reserve.unlink(missing_ok=True)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def started(self) -> None:
        """Counts an attempt for each message left over: one may have been under way when the process ended."""
        self._db.execute("UPDATE message SET tried = tried + 1")

    def close(self) -> None:
        """Brings the write-ahead log into the file and lets go of it."""
        self._db.close()
        self._reserve.unlink(missing_ok=True)

    def _salvage(self, problem: str) -> Damage:
        """Puts the damaged file aside and fills a new one with what can be read of it."""
        self._db.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("-wal", "-shm", ""):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self._db, again = _opened(self.path)
        if again is not None:
            raise sqlite3.OperationalError(f"a new file is damaged too: {again}")
        old = _Reader(aside)
        rows = {row[0]: row for row in old.rows("message", "seq", _COLUMNS) if _sound(row)}
        ids = {seq: name for seq, name in old.listed() if isinstance(seq, int)}
        letters = {row[0]: row for row in old.rows("dead", "number", "number, body, crc")}
        sound = [row for row in letters.values() if isinstance(row[1], bytes) and zlib.crc32(row[1]) == row[2]]
        took = [row for row in old.all("SELECT seq, pool FROM took") if row[0] in rows and isinstance(row[1], str)]
        known = [row for row in old.all("SELECT number, id, at FROM known") if isinstance(row[1], str)]
        certain = old.complete_list and rows.keys() <= ids.keys()
        old.close()
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT, [(*row, _mark(row)) for row in rows.values()])
            self._db.executemany(_TOOK, took)
            self._db.executemany(_DEAD, sound)
            self._db.executemany(_KNOWN, known)
        gone = tuple(str(name) for seq, name in sorted(ids.items()) if seq not in rows)
        return Damage(aside, problem, len(rows), gone, certain, len(letters) - len(sound))


class _Reader:
    """Reads what it can of a damaged file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        self.complete_list = False

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query up to the first that cannot be read."""
        return list(_until_damage(lambda: self._db.execute(query)))

    def rows(self, table: str, key: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """The rows before the first damage and those after the last; then those between, asked for one by one."""
        seen: set[int] = set()
        for direction in ("ASC", "DESC"):
            for row in self.all(f"SELECT {columns} FROM {table} ORDER BY {key} {direction}"):  # noqa: S608 - our names
                if isinstance(row[0], int) and row[0] not in seen:
                    seen.add(row[0])
                    yield row
        for seq, _ in self.listed() if table == "message" else ():
            if seq not in seen:
                yield from _until_damage(
                    lambda seq=seq: self._db.execute(f"SELECT {columns} FROM {table} WHERE {key} = ?", (seq,))  # type: ignore[misc] # noqa: S608
                )

    def listed(self) -> list[tuple[Any, ...]]:
        """Number and id of each message that should be there, by the index on ids."""
        query = "SELECT seq, id, mark FROM message INDEXED BY message_id ORDER BY id"
        found = self.all(query)
        sound = [row[:2] for row in found if _mark(row) == row[2]]
        try:
            self.complete_list = (
                len(sound) == len(found)
                and not any(
                    "message_id" in str(said) for (said,) in self._db.execute("PRAGMA integrity_check(message)")
                )
                and len(found) == len(self._db.execute(query).fetchall())
            )
        except (sqlite3.Error, UnicodeDecodeError):
            self.complete_list = False
        return sound

    def close(self) -> None:
        self._db.close()


def _until_damage(query: Callable[[], Iterable[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    try:
        yield from query()
    except (sqlite3.Error, UnicodeDecodeError):  # the latter is how Python fails at what SQLite says of a damaged name
        return  # what lies behind it cannot be reached this way


def _opened(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """The file, and what is wrong with it if it is damaged."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.2)
    try:
        return db, _prepared(db, path)
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            db.close()
            raise ConfigError(
                f"outbox {path}: another process uses it (or another router of this one); give each its own file"
            ) from error
        # 0: not SQLite's word but Python's, of text that is no UTF-8.
        if code not in (0, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_ERROR):
            db.close()
            raise
        return db, str(error)
    except ConfigError:
        db.close()
        raise
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        return db, str(error)


def _prepared(db: sqlite3.Connection, path: Path) -> str | None:
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=256")
    application, layout = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and layout == 0 and tables == 0:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _begin(db)
        for statement in _TABLES.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id={_APPLICATION}")
        db.execute(f"PRAGMA user_version={LAYOUT}")
    elif application != _APPLICATION and not {"message", "took", "dead", "known"} <= _names(db):
        raise ConfigError(f"outbox {path}: is a database of another program; name another file")
    elif application == _APPLICATION and LAYOUT < layout < 1000:
        raise ConfigError(f"outbox {path}: has layout {layout}, and this release knows {LAYOUT}; use the later release")
    elif (application, layout) != (_APPLICATION, LAYOUT):
        return "its header is damaged"
    else:
        _begin(db)
    db.execute("COMMIT")
    check = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if check != "ok":
        return str(check)
    rows = db.execute(f"SELECT {_COLUMNS} FROM message")  # noqa: S608 - our own names
    bad = sum(not _sound(row) for row in rows)
    bad += sum(zlib.crc32(body) != crc for body, crc in db.execute("SELECT body, crc FROM dead"))
    return f"{bad} rows do not match their checksum" if bad else None


def _begin(db: sqlite3.Connection) -> None:
    """Takes the file for this process; not before it is known to be ours, because it changes the header."""
    db.execute("PRAGMA journal_mode=WAL").fetchone()
    db.execute("BEGIN EXCLUSIVE")


def _names(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master")}


def _row(columns: tuple[Any, ...]) -> Row:
    return Row._make((*columns[:6], columns[7]))


def _row_crc(row: tuple[Any, ...]) -> int:
    seq, name, priority, accepted, expires, body = row[:6]
    return zlib.crc32(body, zlib.crc32(f"{seq} {name} {priority} {accepted!r} {expires!r}".encode()))


def _mark(row: tuple[Any, ...]) -> int:
    """Checks what the index on ids says of a row, which stands there without the row."""
    return zlib.crc32(f"{row[0]} {row[1]}".encode())


def _sound(columns: tuple[Any, ...]) -> bool:
    try:
        return bool(_row_crc(columns) == columns[6]) and isinstance(columns[7], int)
    except (TypeError, ValueError):  # a flipped bit can change a value's type
        return False
