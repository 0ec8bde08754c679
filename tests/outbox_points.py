"""Points of an outbox's work at which a process kills itself, for test_outbox_kills.

Each wraps what is there, in the process that is to die only: it sees what happens, changes nothing, and at the n-th
time ends the process by SIGKILL, between two statements. Where the system is in the middle of writing a file, there is
nothing to wrap: there the kernel ends the process, at the write that passes a limit of file size (SIGXFSZ, whose
default is an end without clean-up too).
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from turnout.delivery import outbox_file, outbox_schema
from turnout.delivery.outbox import Outbox
from turnout.delivery.outbox_file import Batch, OutboxFile
from turnout.delivery.outbox_reserve import Reserve
from turnout.delivery.requests import Requests

Tell = Callable[[Sequence[str]], None]
"""Called with the ids of the messages that are at the point, just before the end of the process."""


class Countdown:
    """Ends the process at the n-th time that a point is reached."""

    def __init__(self, count: int, tell: Tell, only: str = "") -> None:
        """``only``: of messages whose ids begin so."""
        self._left, self._tell, self._only = count, tell, only

    def __call__(self, ids: Sequence[str] | None = None) -> None:
        """``ids``: of the messages at this point, if it is about messages."""
        found = [name for name in ids or () if name.startswith(self._only)]
        if ids is not None and not found:
            return
        self._left -= 1
        if self._left == 0:
            self._tell(found)
            os.kill(os.getpid(), signal.SIGKILL)


def _on_statements(seen: Callable[[sqlite3.Connection, str], None]) -> None:
    """``seen`` gets each statement of connections that are opened from now on, before it is run."""
    connect = sqlite3.connect

    def watched(*given: Any, **named: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*given, **named)
        db.set_trace_callback(lambda statement: seen(db, statement))
        return db

    sqlite3.connect = watched  # type: ignore[assignment]


def _before_commit(of: Callable[[Batch], list[str]], here: Countdown) -> None:
    """Where all of a batch is in the transaction, and its commit has not begun."""
    write = OutboxFile._write
    now: list[Batch] = []

    def writing(self: OutboxFile, db: sqlite3.Connection, batch: Batch) -> None:
        now[:] = [batch]
        write(self, db, batch)
        now.clear()

    def seen(_db: sqlite3.Connection, statement: str) -> None:
        if statement == "COMMIT" and now:
            here(of(now[0]))

    OutboxFile._write = writing  # type: ignore[method-assign]
    _on_statements(seen)


def _after_commit(of: Callable[[Batch], list[str]], here: Countdown) -> None:
    """Where the batch is on disk, and nobody was told."""
    write = OutboxFile.write

    def writing(self: OutboxFile, batch: Batch) -> None:
        write(self, batch)
        here(of(batch))

    OutboxFile.write = writing  # type: ignore[method-assign]


def _added(batch: Batch) -> list[str]:
    return [row.id for row in batch.added]


def _noticing(method: str, seen: Callable[..., None]) -> None:
    """``seen`` is told before each call of a method of outboxes."""
    inner = getattr(Outbox, method)

    def noticed(self: Outbox, *given: Any, **named: Any) -> Any:
        seen(*given, **named)
        return inner(self, *given, **named)

    setattr(Outbox, method, noticed)


def _moved(commit: Callable[[Callable[[Batch], list[str]], Countdown], None], here: Countdown) -> None:
    names: dict[int, str] = {}
    _noticing("rest", lambda job: names.__setitem__(job.seq, job.id))
    commit(lambda batch: [names[seq] for *_, seq in batch.moved], here)


FRESH: Final = ("fanout_sent", "fanout_noted", "sent", "ended")
"""Points of which only messages of the process itself count: others may have arrived before."""


def fanout_sent(here: Countdown) -> None:
    """One of two pools has the message, the other not, and nothing of it is written."""

    def took(run: Any) -> None:
        if any(other.status is None for other in run.job.runs):
            here([run.job.id])

    _noticing("took", took)


def fanout_noted(here: Countdown) -> None:
    """The first pool has the message, and that must be on disk; the other has not yet.

    What was noted before one write began is in that or, if it came too late for its batch, in the next.
    """
    names: dict[int, str] = {}
    before: dict[int, str] = {}
    took, write = Outbox.took, OutboxFile.write

    def noted(self: Outbox, run: Any) -> None:
        took(self, run)
        if run.pool == "p" and any(other.status is None for other in run.job.runs):
            names[run.job.seq] = run.job.id

    def writing(self: OutboxFile, batch: Batch) -> None:
        due, now = dict(before), dict(names)
        write(self, batch)
        here([name for seq, name in due.items() if seq in names])
        before.clear()
        before.update(now)

    Outbox.took = noted  # type: ignore[method-assign]
    OutboxFile.write = writing  # type: ignore[method-assign]
    _noticing("end", lambda job, delivered, letters: names.pop(job.seq, None))
    _noticing("rest", lambda job: names.pop(job.seq, None))  # which writes all of it anew


def sent(here: Countdown) -> None:
    """All pools have the message, and its end is not written."""
    _noticing("end", lambda job, delivered, letters: here([job.id]) if delivered else None)


def ended(here: Countdown) -> None:
    """The end of messages is on disk."""
    names: dict[int, str] = {}
    _noticing("end", lambda job, delivered, letters: names.__setitem__(job.seq, job.id) if delivered else None)
    _after_commit(lambda batch: [names[seq] for (seq,) in batch.ended if seq in names], here)


def vacuum(here: Countdown) -> None:
    """In the middle of giving pages back to the disk, which has no room for the reserve."""
    Reserve._made = lambda self: False  # type: ignore[method-assign]

    def step() -> int:
        here()
        return 0

    def seen(db: sqlite3.Connection, statement: str) -> None:
        if statement.startswith("PRAGMA incremental_vacuum"):
            db.set_progress_handler(step, 10)

    _on_statements(seen)


def migration(here: Countdown, statement: str = "") -> None:
    """While a file of layout 1 becomes one of today's: before any statement of that transaction, and its commit; or
    before one ``statement`` only."""
    upgrade = outbox_schema.upgrade
    under_way: list[bool] = []

    def upgrading(db: sqlite3.Connection) -> None:
        under_way.append(True)
        upgrade(db)
        under_way.clear()

    def seen(_db: sqlite3.Connection, begun: str) -> None:
        if under_way and begun.startswith(statement):
            here()

    outbox_file.upgrade = upgrading  # type: ignore[attr-defined]
    _on_statements(seen)


def revived(here: Countdown) -> None:
    """A message that waited on disk for its time is in memory again, and not begun."""
    _noticing("resumed", lambda job, row, branches: here([row.id]) if row.not_before is not None else None)


def redrive_asked(here: Countdown) -> None:
    """A request of another process was read, and nothing done."""
    one = Requests._one

    async def asked(self: Requests, request: Any) -> bool:
        here()
        return await one(self, request)

    Requests._one = asked  # type: ignore[method-assign]


def redrive_answer(here: Countdown) -> None:
    """A request was done, which is all but on disk."""
    write = OutboxFile.write

    def writing(self: OutboxFile, batch: Batch) -> None:
        if batch.answered:
            here()
        write(self, batch)

    OutboxFile.write = writing  # type: ignore[method-assign]


POINTS: Final[dict[str, Callable[[Countdown], None]]] = {
    "before_commit": lambda here: _before_commit(_added, here),
    "after_commit": lambda here: _after_commit(_added, here),
    "many_before": lambda here: _before_commit(_added, here),
    "many_after": lambda here: _after_commit(_added, here),
    "fanout_sent": fanout_sent,
    "fanout_noted": fanout_noted,
    "sent": sent,
    "ended": ended,
    "vacuum": vacuum,
    "migration": migration,
    "rest_before": lambda here: _moved(_before_commit, here),
    "rest_after": lambda here: _moved(_after_commit, here),
    "revived": revived,
    "redrive_asked": redrive_asked,
    "redrive_before": lambda here: _before_commit(lambda batch: _added(batch) if batch.redriven else [], here),
    "redrive_after": lambda here: _after_commit(lambda batch: _added(batch) if batch.redriven else [], here),
    "redrive_answer": redrive_answer,
    "redrive_alone_before": lambda here: _before_commit(_added, here),
    "redrive_alone_after": lambda here: _after_commit(_added, here),
}


LOG_LIMIT: Final = 1 << 16
"""Bytes, where the kernel ends a process in the middle of writing the log."""


def end_at_size(limit: int) -> None:
    """The kernel ends this process at the first write to a file that passes so many bytes."""
    import resource  # not on every system

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of the outbox and of its write-ahead log."""
    log = path.with_name(path.name + "-wal")
    file, log_size = (one.stat().st_size if one.exists() else 0 for one in (path, log))
    return file, log_size
