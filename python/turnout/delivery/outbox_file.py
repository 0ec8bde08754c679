"""The outbox on disk: an SQLite file of messages accepted and not settled, dead letters, and ids delivered lately.

:mod:`.outbox_schema` has its tables. Invariants:

- One router at a time, by a lock file beside it. Others may read meanwhile, and write small transactions.
- WAL and ``synchronous=FULL``: a transaction that returned is on disk. One :meth:`OutboxFile.write` is one transaction,
  one fsync.
- A damaged file is never written to nor deleted: it is renamed, and what can be read of it, and page by page of its
  write-ahead log, goes to a new one.

Of one thread at a time, but for :meth:`OutboxFile.rows`, which may be called beside the writer.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import ConfigError
from .outbox_batch import Batch
from .outbox_groups import in_groups
from .outbox_lock import SHARED, FileLock
from .outbox_log import read_log, rebuilt
from .outbox_reserve import Reserve
from .outbox_salvage import Damage, put_aside, salvage
from .outbox_schema import (
    ADD_MANY,
    APPLICATION,
    BRANCH,
    COLUMNS,
    COLUMNS_1,
    DEAD,
    KNOWN,
    LAYOUT,
    RUN,
    RUN_BITS,
    BranchRow,
    Request,
    Row,
    branch_values,
    create,
    known_crc,
    row_values,
    sound,
    sound_1,
    upgrade,
)

_log = logging.getLogger(__name__)

_NOT_SHARED: Final = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMLOCK, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}  # fmt: skip
"""What SQLite says where it cannot make the ``-shm`` file by which processes share the log: mostly of a full disk."""
_BUSY: Final = 10.0
"""Seconds to wait for a transaction of another process; they are short."""

_OLD_RUNS: Final = "DELETE FROM run WHERE number < (SELECT coalesce(min(seq) >> ?, ?) FROM message)"

_MESSAGE: Final = f"SELECT {COLUMNS['message']} FROM message WHERE seq = ?"  # noqa: S608 - our own names
_BRANCHES: Final = f"SELECT {COLUMNS['branch']} FROM branch WHERE seq = ?"  # noqa: S608


class Listed(NamedTuple):
    """What there is to know of an unsettled message before it is read. Times in Unix seconds."""

    seq: int
    id: str
    priority: int
    accepted: float
    expires: float | None
    not_before: float | None
    ordering: str | None
    size: int


class OutboxFile:
    """An open outbox file. Opening one locks, creates, upgrades, checks and if need be salvages it."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, creating it if it is not there. :attr:`damage` tells what was wrong with it.

        Raises:
            ConfigError: it cannot be opened: another process has it, it is of another program or a later layout, or
                its directory cannot be written.
        """
        self.path = path
        self.damage: Damage | None = None
        self._mutex = threading.Lock()
        self._version: int | None = None
        """Of the file, as :meth:`asked` saw it last."""
        self._lock = FileLock(path)
        try:
            self._db = self._opened()
            self._reserve = Reserve(path, self._db, self._mutex)
            self._reserve.kept()
        except sqlite3.OperationalError as error:
            self._lock.close()
            raise ConfigError(f"outbox {path}: cannot be opened: {error}") from error
        except OSError as error:
            self._lock.close()
            raise ConfigError(f"outbox {path}: its damaged file cannot be put aside: {error}") from error
        except BaseException:
            self._lock.close()
            raise

    def rows(self, numbers: Iterable[int]) -> dict[int, tuple[Row, dict[str, BranchRow]]]:
        """Unsettled messages by their numbers, with their branches by pool; those of the numbers that are there."""
        found: dict[int, tuple[Row, dict[str, BranchRow]]] = {}
        with self._mutex:
            for number in numbers:
                for row in self._db.execute(_MESSAGE, (number,)):
                    found[number] = Row._make(row[:-1]), {}
                for row in self._db.execute(_BRANCHES, (number,)):
                    branch = BranchRow._make(row[:-1])
                    if number in found:
                        found[number][1][branch.pool] = branch
        return found

    def unsettled(self) -> list[Listed]:
        """Each unsettled message, in order of acceptance."""
        query = "SELECT seq, id, priority, accepted, expires, not_before, ordering, length(body) FROM message"
        return [Listed._make(row) for row in self._db.execute(f"{query} ORDER BY seq")]

    def dead(self) -> list[tuple[int, bytes]]:
        """Number and content of each dead letter, the oldest first."""
        return self._db.execute("SELECT number, body FROM dead ORDER BY number").fetchall()

    def known(self) -> list[tuple[int, str, float]]:
        """Number, id and time of delivery (Unix seconds) of messages delivered lately."""
        return self._db.execute("SELECT number, id, at FROM known ORDER BY number").fetchall()

    def runs(self) -> Mapping[int, bool]:
        """The earlier runs that are known of, and whether they were closed; those that left nothing may be missing."""
        found = {number: bool(clean) for number, clean in self._db.execute("SELECT number, clean FROM run")}
        (last,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()
        return {last >> RUN_BITS: False, **found}

    def asked(self) -> list[Request] | None:
        """All requests, if another process has changed the file since the last call or there was none; else None.

        Raises:
            sqlite3.Error: the file cannot be read now.
        """
        with self._mutex:
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return None
            found = self.requests()
            self._version = version
        return found

    def requests(self) -> list[Request]:
        """What other processes ask, the oldest first."""
        query = f"SELECT {COLUMNS['request']} FROM request ORDER BY number"  # noqa: S608 - our own names
        return [Request._make(row) for row in self._db.execute(query)]

    def write(self, batch: Batch) -> None:
        """Writes all of the batch, or nothing; on disk when it returns.

        Raises:
            sqlite3.Error: nothing of it was written; a full disk is an ``OperationalError``.
        """
        with self._mutex:
            self._write(self._db, batch)

    def _write(self, db: sqlite3.Connection, batch: Batch) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            in_groups(db, ADD_MANY, [row_values(row) for row in batch.added])
            db.executemany(BRANCH, map(branch_values, batch.branches.values()))
            db.executemany("UPDATE message SET not_before = ?, round = ?, crc = ? WHERE seq = ?", batch.moved)
            in_groups(db, "DELETE FROM message WHERE seq IN (?)", batch.ended)
            in_groups(db, "DELETE FROM branch WHERE seq IN (?)", batch.unnoted)
            db.executemany(DEAD, [(number, body, zlib.crc32(body)) for number, (_, body) in batch.dead.items()])
            db.executemany("DELETE FROM dead WHERE number = ?", batch.taken + batch.redriven)
            db.executemany("DELETE FROM request WHERE number = ?", batch.answered)
            in_groups(db, KNOWN, [(*row, known_crc(row)) for row in batch.known])
            if batch.forgotten:
                db.execute("DELETE FROM known WHERE number <= ?", (batch.forgotten,))
            if batch.runs:
                db.execute(_OLD_RUNS, (RUN_BITS, max(batch.runs)))
                db.executemany(RUN, batch.runs.items())
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite ends some transactions by itself, as on a full disk
                db.execute("ROLLBACK")
            raise

    def reserved(self) -> bool:
        """Whether there is room to write ends even when the disk is full, after trying to make it."""
        return self._reserve.kept()

    def relieve(self) -> None:
        """Gives up the reserve, so that ends can be written.

        Raises:
            sqlite3.Error: the disk has no room even so, or fails.
        """
        self._reserve.give_up()

    def roomy(self) -> bool:
        """Whether something more can be written and room is left for deleting it again."""
        return self._reserve.roomy()

    def close(self) -> None:
        """Brings the write-ahead log into the file and lets go of it."""
        self._db.close()
        self._reserve.close()
        self._lock.close()

    def _opened(self) -> sqlite3.Connection:
        """The file, fit for use; a damaged one is put aside first."""
        log = read_log(self.path)  # before SQLite does, which goes back to before what is damaged in it
        if log.problem is None:
            db, problem = _opened(self.path)
            if problem is None:
                return db
            db.close()
        else:
            problem = log.problem
        aside = put_aside(self.path)
        db, again = _opened(self.path)
        if again is not None:
            raise sqlite3.OperationalError(f"a new file is damaged too: {again}")
        source = aside
        if log.problem is not None:
            source = aside.with_name(aside.name + "-rebuilt")
            rebuilt(aside, log, source)
        self.damage = salvage(source, problem, db, kept_as=aside, certain=log.lost <= 1)
        if source != aside:
            source.unlink()
        return db


def _opened(path: Path, *, alone: bool = not SHARED) -> tuple[sqlite3.Connection, str | None]:
    """The file, and what is wrong with it if it is damaged.

    ``alone``: no other process can read it meanwhile. So it works on a disk that has no room for a ``-shm`` file.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY)
    try:
        if alone:
            path.with_name(path.name + "-shm").unlink(missing_ok=True)  # it would speak of an older log later
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
        return db, _prepared(db, path)
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _NOT_SHARED and not alone:
            db.close()
            _log.warning("outbox %s: no other process can read it until the next start (%s)", path, error)
            return _opened(path, alone=True)
        code &= 0xFF
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
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=256")
    # Some builds of SQLite overwrite what is deleted with zeros, and then a delete needs as much room as an insert.
    db.execute("PRAGMA secure_delete=FAST")
    application, layout = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if application == 0 and layout == 0 and not tables:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _begin_logging(db)
        db.execute("BEGIN EXCLUSIVE")
        create(db)
        db.execute("COMMIT")
        return None
    if application != APPLICATION and not {"message", "dead", "known"} <= tables:
        raise ConfigError(f"outbox {path}: is a database of another program; name another file")
    if application == APPLICATION and LAYOUT < layout < 1000:
        raise ConfigError(f"outbox {path}: has layout {layout}, and this release knows {LAYOUT}; use the later release")
    if application != APPLICATION or layout not in (1, LAYOUT):
        return "its header is damaged"
    _begin_logging(db)
    check = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if check != "ok":
        return str(check)
    columns, is_sound = (COLUMNS_1, sound_1) if layout == 1 else (COLUMNS, sound)
    bad = sum(
        not is_sound(table, row)
        for table in columns
        for row in db.execute(f"SELECT {columns[table]} FROM {table}")  # noqa: S608 - our own names
    )
    if bad:
        return f"{bad} rows do not match their checksum"
    if layout == 1:
        upgrade(db)
    return None


def _begin_logging(db: sqlite3.Connection) -> None:
    """Not before the file is known to be ours, because it changes the header."""
    db.execute("PRAGMA journal_mode=WAL").fetchone()
