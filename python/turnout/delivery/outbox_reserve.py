"""The reserve of an outbox: a file of 4 MB beside it, because a delete needs room too.

When the disk is full the reserve is given up, so that ends can still be written, and nothing is added until there is
room for it again; the outbox file shrinks to make it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Final

RESERVE: Final = 4 << 20
"""Bytes. Above what a checkpoint may add to the file: the log is brought in at 1 MB, or after one transaction."""
LAST: Final = 3 << 19
"""Bytes of it that dead letters must leave: above a log of 1 MB and one part of a batch, which must fit into the file
before the log can be written anew."""
_STEP: Final = 128
"""Pages (of 4 KB) given back to the disk at once."""


class Reserve:
    """Room on the disk for the ends of what is in the outbox."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock: Lock) -> None:
        """``path``: the outbox; ``lock``: held while its ``db`` is used."""
        self._path = path.with_name(path.name + ".reserve")
        self._db = db
        self._lock = lock

    def kept(self) -> bool:
        """Whether it is there, after making it if there is room or the outbox file can shrink."""
        return self._made() or (self._shrunk() and self._made())

    def give_up(self) -> None:
        """Gives its room to others, and brings the write-ahead log into the file.

        Raises:
            sqlite3.Error: the disk has no room even so, or fails.
        """
        self.close()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def roomy(self) -> bool:
        """Whether the disk has room for more than the last deletes."""
        return shutil.disk_usage(self._path.parent).free > LAST

    def close(self) -> None:
        """Gives its room back."""
        self._path.unlink(missing_ok=True)

    def _made(self) -> bool:
        try:
            if not self._path.exists() or self._path.stat().st_size < RESERVE:
                with self._path.open("wb") as file:
                    file.write(bytes(RESERVE))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True

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
