"""The writer of an outbox: one thread that writes all that waits as one transaction, with one fsync, again and again.

Acceptance waits for it; ends do not. While the disk is full or fails, additions are refused in words, and all else
waits in memory until it can be written.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final

from ..errors import DeliveryError
from .outbox_batch import Batch
from .outbox_file import OutboxFile
from .outbox_schema import Request

_AGAIN: Final = 0.5
"""Seconds until what could not be written is tried again."""

_LOOK: Final = 0.5
"""Seconds between looks for requests of other processes; one costs a few µs."""

_log = logging.getLogger(__name__)
_Waiter = asyncio.Future[None]


class Writer:
    """Writes to a file until it is closed. Who changes :attr:`batch` does so under :attr:`lock`, and calls
    :meth:`changed`."""

    def __init__(self, file: OutboxFile, batch: Batch) -> None:
        """``batch``: what is to be written first."""
        self.lock = threading.Lock()
        self._woken = threading.Condition(self.lock)
        self._sleeps = False
        self.batch = batch
        self.adding: list[_Waiter] = []
        """Who waits for additions in the batch; refused if it cannot be written."""
        self.noting: list[_Waiter] = []
        """Who waits for anything else in it; told when it was tried, written or not."""
        self.closing = False
        self._file = file
        self.asked: Callable[[list[Request]], None] | None = None
        """Called, from the writer's thread, with the requests of other processes, whenever there may be new ones."""
        self._look_at = 0.0
        self._problem: str | None = None
        """Why nothing is added."""
        self._thread = threading.Thread(target=self._run, name="turnout-outbox", daemon=True)
        self._thread.start()

    def close(self) -> Batch:
        """Writes what is to be written and closes the file; what could not be written. Blocks."""
        with self.lock:
            self.closing = True
            self.changed()
        self._thread.join()
        return self.batch

    def changed(self) -> None:
        """Wakes the thread if it sleeps; called under the lock, after a change."""
        if self._sleeps:
            self._sleeps = False
            self._woken.notify()

    def _sleep(self, seconds: float) -> None:
        """Waits for a change, under the lock, for at most so long."""
        self._sleeps = True
        self._woken.wait(seconds)
        self._sleeps = False

    def _run(self) -> None:
        """Ends when closing, with nothing left or no way to write it."""
        file, logged = self._file, ""
        while True:
            with self.lock:
                if not (self.batch or self.noting or self.closing):
                    self._sleep(_LOOK)
                batch, self.batch = self.batch, Batch()
                adding, self.adding = self.adding, []
                noting, self.noting = self.noting, []
                closing = self.closing
            if not batch and not noting and closing:
                break
            self._look()
            if not batch and not noting:
                continue
            refused, problem, batch = self._write(batch)
            _tell(adding, None if refused is None else full(f"it cannot be written: {refused}"))
            _tell(noting, None if problem is None else full(f"it cannot be written: {problem}"))
            if problem is None:
                del batch, adding, noting  # not kept while there is nothing to write
                continue
            if problem != logged:
                _log.error("outbox %s: ends of messages cannot be written, and wait in memory: %s", file.path, problem)
                logged = problem
            with self.lock:
                self.batch.put_back(batch)
                if not closing:
                    self._sleep(_AGAIN)
            if closing:
                _log.error("outbox %s: closed with ends unwritten; those messages will be sent again", file.path)
                break
        file.close()

    def _write(self, batch: Batch) -> tuple[str | None, str | None, Batch]:
        """Why the additions could not be written, why not all else could, and what of it is left; None if they were."""
        if self._problem is not None and self._file.reserved():
            self._problem = None
        refused = self._problem or _problem(self._file, batch)
        if refused is None:
            return None, None, Batch()
        # What was not accepted has no branches either, for its attempts never begin; and is a dead letter still.
        never = {row.seq for row in batch.added}
        batch.added, batch.redriven = [], []
        batch.branches = {key: row for key, row in batch.branches.items() if key[0] not in never}
        self._problem = refused
        return refused, *_relieved(self._file, batch)

    def _look(self) -> None:
        """Looks for requests, every now and then."""
        asked = self.asked
        if asked is None or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK
        try:
            found = self._file.asked()
        except sqlite3.Error as error:
            _log.warning("outbox %s: requests of other processes cannot be read now: %s", self._file.path, error)
            return
        if found:
            asked(found)


def _relieved(file: OutboxFile, ends: Batch) -> tuple[str | None, Batch]:
    """Writes the ends after making what room there can be, part by part, because a transaction needs room in the log
    for all that it changes. Why not all could be written, and what is left."""
    why = None
    try:
        file.relieve()
    except (sqlite3.Error, OSError) as error:
        why = str(error)
    left = Batch()
    for part in ends.parts():
        problem = _problem(file, part) if not part.dead or file.roomy() else "the disk has no room for dead letters"
        if problem is not None:
            why = problem
            part.put_back(left)
            left = part
    return (why, left) if left else (None, left)


def _problem(file: OutboxFile, batch: Batch) -> str | None:
    """Why the batch could not be written; None if it was."""
    if not batch:
        return None
    try:
        file.write(batch)
    except sqlite3.Error as error:
        return str(error)
    return None


def _tell(waiters: list[_Waiter], error: DeliveryError | None) -> None:
    """Ends the waiting of tasks, all on one loop, from the writer's thread."""
    if not waiters:
        return

    def tell() -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(copy.copy(error))

    try:
        waiters[0].get_loop().call_soon_threadsafe(tell)
    except RuntimeError:
        _log.warning("outbox: the event loop ended before %d messages were told that they are on disk", len(waiters))


def full(why: str) -> DeliveryError:
    """The error for a message that the outbox does not take."""
    return DeliveryError("outbox_full", f"the outbox takes nothing new: {why}; deliveries go on, try again later")
