"""The dead letters in an outbox, for another process than its router's: they are read, redriven and purged.

Where no router has the outbox, this process takes its lock, and one transaction for some hundred letters at a time
makes messages of them, which the next start delivers, or deletes them. Where a router lives, it is asked: a row for
each letter in the table ``request``. Either process may be killed at any instant: a letter is there, or its message is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..errors import ConfigError
from .outbox_batch import Batch
from .outbox_codec import decode_letter, encode
from .outbox_file import OutboxFile
from .outbox_lock import InUseError
from .outbox_rows import rows_of
from .outbox_schema import APPLICATION, LAYOUT, REQUEST, RUN_BITS
from .records import DeadLetter
from .redrives import redriven

Action = Literal["redrive", "purge"]

_TOGETHER: Final = 500
"""Letters of one transaction."""
_BUSY: Final = 10.0
"""Seconds to wait for a transaction of the router."""
_LOOK: Final = 0.1
"""Seconds between looks for what the router has done."""


@dataclass(frozen=True)
class Outcome:
    """What became of letters that were to be redriven or purged; counts."""

    alive: bool
    """Whether a router has the outbox."""
    done: int
    queued: int = 0
    """Asked for, and not done by the router in the time it was given."""
    refused: int = 0
    """Still there although the router has answered: its log says why."""


def read(path: Path) -> tuple[list[DeadLetter], int]:
    """The letters in an outbox, the oldest first, and how many more are damaged. Changes nothing.

    Raises:
        ConfigError: there is no such outbox, or it cannot be read.
    """
    letters, damaged = [], 0
    with _open(path, "ro") as db:
        for number, body, crc in db.execute("SELECT number, body, crc FROM dead ORDER BY number"):
            try:
                letter = _letter(number, body) if zlib.crc32(body) == crc else None
            except (TypeError, ValueError, KeyError):  # a flipped bit can change a value's type
                letter = None
            if letter is None:
                damaged += 1
            else:
                letters.append(letter)
    return letters, damaged


def act(path: Path, action: Action, letters: Sequence[DeadLetter], to: str | None, *, wait: float) -> Outcome:
    """Redrives or purges letters that :func:`read` found; waits up to ``wait`` seconds for a router that lives.

    Raises:
        ConfigError: the outbox cannot be used, or there is no room on the disk; what was not done is as it was.
    """
    try:
        file = OutboxFile(path)
    except InUseError:
        return _ask(path, action, letters, to, wait)
    try:
        with closing(file):
            return Outcome(alive=False, done=_do(file, action, letters, to))
    except sqlite3.Error as error:
        raise ConfigError(f"outbox {path}: cannot be written: {error}") from error


def _do(file: OutboxFile, action: Action, letters: Sequence[DeadLetter], to: str | None) -> int:
    """Does it in this process, which has the lock."""
    there = dict(file.dead())
    letters = [one for one in letters if one.number in there and _letter(one.number, there[one.number]) == one]
    run = max(file.runs(), default=0) + 1
    for begin in range(0, len(letters), _TOGETHER):
        batch = Batch()
        batch.runs[run] = True
        for place, letter in enumerate(letters[begin : begin + _TOGETHER], begin):
            batch.taken.append((letter.number,))
            if action == "redrive":
                job = redriven(letter, to, place)
                job.seq = (run << RUN_BITS) + place
                row, branches = rows_of(job, run, encode(job.message))
                batch.added.append(row)
                batch.branches.update({(branch.seq, branch.pool): branch for branch in branches})
        file.write(batch)
    return len(letters)


def _ask(path: Path, action: Action, letters: Sequence[DeadLetter], to: str | None, wait: float) -> Outcome:
    """Asks the router that has the outbox, and waits for it."""
    numbers = [letter.number for letter in letters]
    with _open(path, "rw") as db:
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout != LAYOUT:
            raise ConfigError(f"outbox {path}: the router that uses it is of an earlier release; start it anew first")
        db.execute("BEGIN IMMEDIATE")
        (last,) = db.execute("SELECT coalesce(max(number), 0) FROM request").fetchone()
        asked = range(last + 1, last + 1 + len(numbers))
        db.executemany(REQUEST, [(mine, action, one, to) for mine, one in zip(asked, numbers, strict=True)])
        db.execute("COMMIT")
        until = time.monotonic() + wait
        while (queued := _queued(db, asked)) and time.monotonic() < until:
            time.sleep(_LOOK)
        left = {number for (number,) in db.execute("SELECT number FROM dead")}.intersection(numbers)
    queued &= left
    return Outcome(True, done=len(numbers) - len(left), queued=len(queued), refused=len(left - queued))


def _queued(db: sqlite3.Connection, asked: range) -> set[int]:
    """The letters of those requests that the router has not answered."""
    query = "SELECT letter FROM request WHERE number BETWEEN ? AND ?"
    return {letter for (letter,) in db.execute(query, (asked[0], asked[-1]))}


def _letter(number: int, body: bytes) -> DeadLetter:
    return dataclasses.replace(decode_letter(body), number=number)


@contextlib.contextmanager
def _open(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection for short transactions beside a router's.

    Raises:
        ConfigError: see :func:`read`.
    """
    if not path.is_file():
        raise ConfigError(f"outbox {path}: there is none; it is made when a router that names it starts")
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=_BUSY)
        with closing(db):
            db.execute("PRAGMA synchronous=FULL")
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (layout,) = db.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION:
                raise ConfigError(f"outbox {path}: is no outbox")
            if layout > LAYOUT:
                raise ConfigError(f"outbox {path}: has layout {layout}, and this release knows {LAYOUT}")
            yield db
    except sqlite3.Error as error:
        raise ConfigError(f"outbox {path}: cannot be read or written: {error}") from error
