"""The outbox: what is accepted is on disk, and stays there until it is settled. A ledger, not a second way to deliver.

::

    accept ── add ──▶ one writer thread: all that waits is one transaction, one fsync ──▶ accepted
    branch delivered ── took ──▶ (written behind)       settled ── end ──▶ (written behind)
    start ── rows ──▶ the lanes, as any other message

Acceptance waits for the disk. Ends do not: a process that dies between a delivery and its record sends that message
again at the next start (at least once). While the disk is full or fails, new work is refused in words and ends wait in
memory until they can be written, so deliveries go on. Costs about 30 µs of CPU a message; the fsync is shared.

Sizes count the messages themselves. The file is larger by its write-ahead log (about 4 MB) and pages not yet reused.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..errors import ConfigError, DeliveryError
from .jobs import Job
from .outbox_codec import decode_letter, encode, encode_letter
from .outbox_file import Batch, Damage, OutboxFile, Row
from .records import DeadLetter, Delivery, Status
from .settings import OutboxSettings

_AGAIN: Final = 0.5
"""Seconds until ends that could not be written are tried again."""
_PAGE: Final = 256
"""Messages read at a time when starting."""

_log = logging.getLogger(__name__)
_Waiter = tuple[asyncio.Future[None], Row]


class Outbox:
    """The outbox of one deliverer. Of one event loop, besides its writer thread."""

    def __init__(self, settings: OutboxSettings) -> None:
        self.settings = settings
        self.damage: Damage | None = None
        """What was wrong with the file when it was opened last."""
        self.unsettled: dict[str, Job | None] = {}
        """By id; None: in the file from an earlier run, or being written."""
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._known: dict[str, tuple[int, float]] = {}
        self._last = 0
        self._next = self._next_letter = self._next_known = 1
        self._file: OutboxFile | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        # Shared with the writer, under `_changed`:
        self._batch = Batch()
        self._waiters: list[_Waiter] = []
        self._closing = False
        self._problem: str | None = None
        """Of the writer alone: why nothing is added."""

    def open(self) -> list[tuple[int, DeadLetter]]:
        """Opens the file; the dead letters in it, with their numbers. Blocks while the file is checked.

        Raises:
            ConfigError: see :class:`OutboxFile`.
        """
        file = OutboxFile(Path(self.settings.path))
        try:
            self.damage = file.damage
            if file.damage is not None:
                _log.error("%s", file.damage)
            file.started()
            found, self._last = file.unsettled(), file.last()
            letters = [(number, decode_letter(body)) for number, body in file.dead()]
            known = file.known()
        except sqlite3.Error as error:
            file.close()
            raise ConfigError(f"outbox {file.path}: cannot be used: {error}") from error
        self.unsettled = {name: None for _, name, _ in found}
        self._sizes = {seq: size for seq, _, size in found}
        self._bytes = sum(self._sizes.values())
        self._known = {name: (number, at) for number, name, at in known}
        self._next = max(self._next, *(seq + 1 for seq, _, _ in found), 1)
        self._next_letter = max([number for number, _ in letters], default=0) + 1
        self._next_known = max([number for number, _, _ in known], default=0) + 1
        self._file, self._closing, self._problem = file, False, None
        self._thread = threading.Thread(target=self._write, args=(file,), name="turnout-outbox", daemon=True)
        self._thread.start()
        return letters

    def left_over(self, after: int) -> list[tuple[Row, frozenset[str]]]:
        """The next messages of earlier runs, numbered above ``after``; none when all were read. Blocks for the disk.

        Raises:
            sqlite3.Error: they cannot be read; they stay in the file.
        """
        return [] if self._file is None else self._file.rows(after, self._last, _PAGE)

    async def close(self) -> None:
        """Writes what is to be written and lets go of the file."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(thread.join)
        self._file = None

    def repeated(self, job: Job) -> asyncio.Future[Delivery] | None:
        """What becomes of a message of an id that was accepted before; None if it was not."""
        settled: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        if job.id in self.unsettled:
            first = self.unsettled[job.id]
            if first is None:
                detail = "it is in the outbox from an earlier run, and its turn has not come"
                settled.set_result(_delivery(job, "kept", detail))
            else:
                first.waiters.append(settled)
        elif self.delivered_before(job.id):
            settled.set_result(_delivery(job, "delivered", "a message of this id was delivered before"))
        else:
            return None
        return settled

    def delivered_before(self, name: str) -> bool:
        """Whether a message of that id was delivered within the window."""
        found = self._known.get(name)
        return found is not None and time.time() - found[1] < self.settings.window

    async def add(self, job: Job) -> None:
        """Returns when the message is on disk; its id must not be among the unsettled.

        Raises:
            MessageError: it cannot be written.
            DeliveryError: ``outbox_full``: by its limits, or because the disk is full or fails.
        """
        body = encode(job.message)
        settings = self.settings
        if self._bytes + len(body) > settings.max_bytes:
            raise _full(f"{self._bytes} bytes of messages are unsettled (outbox.max_bytes is {settings.max_bytes})")
        if len(self._sizes) >= settings.max_messages:
            raise _full(f"{len(self._sizes)} messages are unsettled (outbox.max_messages)")
        job.seq = self._next
        self._next += 1
        row = Row(job.seq, job.id, job.priority, time.time(), job.expires, body, 0)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.unsettled[job.id] = job
        self._sizes[job.seq] = len(body)
        self._bytes += len(body)
        with self._changed:
            if self._closing or self._thread is None:
                self._forget(job)
                raise DeliveryError("closed", "the outbox is closed")
            self._batch.added.append(row)
            self._waiters.append((written, row))
            self._changed.notify()
        try:
            await written
        except DeliveryError:
            self._forget(job)
            raise
        except BaseException:  # cancelled: whether or not it is on disk by now, it was not accepted
            self.drop(job)
            raise

    def tried(self, job: Job) -> None:
        """An attempt failed."""
        with self._changed:
            self._batch.tried.append((job.seq,))

    def took(self, job: Job, pool: str) -> None:
        """A branch of the message was delivered, and another start must not do it again."""
        with self._changed:
            self._batch.took.append((job.seq, pool))
            self._changed.notify()

    def drop(self, job: Job) -> None:
        """Takes a message out that was not accepted after all."""
        self._forget(job)
        with self._changed:
            self._batch.ended.append((job.seq,))
            self._changed.notify()

    def end(self, job: Job, *, delivered: bool, letters: Iterable[DeadLetter]) -> list[int]:
        """The message is settled; the numbers of its dead letters."""
        self._forget(job)
        kept = [(self._next_letter + place, encode_letter(letter)) for place, letter in enumerate(letters)]
        self._next_letter += len(kept)
        forgotten, now = 0, time.time()
        if delivered and self.settings.window:
            self._known.pop(job.id, None)
            self._known[job.id] = number, _ = (self._next_known, now)
            self._next_known += 1
            while len(self._known) > self.settings.max_ids or self._oldest() < now - self.settings.window:
                forgotten, _ = self._known.pop(next(iter(self._known)))
        with self._changed:
            self._batch.ended.append((job.seq,))
            self._batch.dead.extend(kept)
            if delivered and self.settings.window:
                self._batch.known.append((number, job.id, now))
            self._batch.forgotten = max(self._batch.forgotten, forgotten)
            self._changed.notify()
        return [number for number, _ in kept]

    def taken(self, numbers: Iterable[int]) -> None:
        """Dead letters were taken out by the user."""
        with self._changed:
            self._batch.taken.extend((number,) for number in numbers)
            self._changed.notify()

    def _oldest(self) -> float:
        return next(iter(self._known.values()))[1] if self._known else float("inf")

    def _forget(self, job: Job) -> None:
        if self.unsettled.get(job.id) in (job, None):
            self.unsettled.pop(job.id, None)
        self._bytes -= self._sizes.pop(job.seq, 0)

    # -- the writer's thread

    def _write(self, file: OutboxFile) -> None:
        """Writes all that waits, again and again; ends when closing, with nothing left or no way to write it."""
        logged = ""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batch or self._closing, None)
                batch, self._batch = self._batch, Batch()
                waiters, self._waiters = self._waiters, []
                closing = self._closing
            if not batch:
                break
            if self._problem is not None and file.reserved():
                self._problem = None
            problem = refused = self._problem or _problem(file, batch)
            if refused is not None:
                batch.added = []
                never = {row.seq for _, row in waiters}
                batch.took = [entry for entry in batch.took if entry[0] not in never]
                problem = _relieved(file, batch)
                self._problem = refused
            error = None if refused is None else _full(f"it cannot be written: {refused}")
            _tell([waiter for waiter, _ in waiters], error)
            if problem is None:
                continue
            if problem != logged:
                _log.error("outbox %s: ends of messages cannot be written, and wait in memory: %s", file.path, problem)
                logged = problem
            if closing:
                _log.error("outbox %s: closed with ends unwritten; those messages will be sent again", file.path)
                break
            with self._changed:
                _put_back(batch, self._batch)
                self._changed.wait(_AGAIN)
        file.close()


def _relieved(file: OutboxFile, ends: Batch) -> str | None:
    """Why the ends could not be written, after making what room there can be."""
    try:
        file.relieve()
    except (sqlite3.Error, OSError) as error:
        return _problem(file, ends) and str(error)
    return _problem(file, ends)


def _problem(file: OutboxFile, batch: Batch) -> str | None:
    """Why the batch could not be written; None if it was."""
    if not batch:
        return None
    try:
        file.write(batch)
    except sqlite3.Error as error:
        return str(error)
    return None


def _put_back(old: Batch, new: Batch) -> None:
    for name in ("took", "tried", "ended", "dead", "known", "taken"):
        setattr(new, name, getattr(old, name) + getattr(new, name))
    new.forgotten = max(old.forgotten, new.forgotten)


def _tell(waiters: list[asyncio.Future[None]], error: DeliveryError | None) -> None:
    """Ends the waiting of tasks, each group on its own loop, from the writer's thread."""
    if not waiters:
        return

    def tell() -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(DeliveryError(*error.args))

    try:
        waiters[0].get_loop().call_soon_threadsafe(tell)
    except RuntimeError:
        _log.warning("outbox: the event loop ended before %d messages were told that they are on disk", len(waiters))


def _full(why: str) -> DeliveryError:
    return DeliveryError("outbox_full", f"the outbox takes nothing new: {why}; deliveries go on, try again later")


def _delivery(job: Job, status: Status, detail: str) -> Delivery:
    return Delivery(job.id, status, None, None, None, None, (), None, detail, None, 0.0)
