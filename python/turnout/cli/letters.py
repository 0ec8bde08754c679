"""What a run does about dead letters: tells of them, and moves them to the file that the user named, if one was.

Without a file they stay where they are: with an outbox on disk, for ``turnout dlq``; else in memory, where they are let
go of once they were told, or the router's store would fill up. With a file they leave the store only after an fsync, so
a kill may leave a letter in both places and in none never.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Iterable
from io import FileIO
from typing import Any, Final

from ..delivery import DeadLetter, DeadLetters
from .progress import Watcher

_NAMED: Final = 20
"""Dead letters that are told one by one; the rest are in the summary's counts, and in the file if there is one."""
_NO_DISK: Final = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
"""How fsync refuses what is no file on a disk, such as a pipe."""


class Letters:
    """The dead letters of one run. Of one event loop."""

    def __init__(
        self,
        store: DeadLetters,
        watcher: Watcher,
        file: FileIO | None,
        *,
        durable: bool,
        returns: bool,
        on_trouble: Callable[[str], None],
    ) -> None:
        """``file``: without a buffer, and opened for appending. ``durable``: whether the store is on disk. ``returns``:
        whether what the router has no time for goes back to where it came from, and is not given up on.

        ``on_trouble`` is told, once, why letters cannot be written.
        """
        self._store, self._watcher, self._file, self._durable = store, watcher, file, durable
        self._returns = returns
        self._on_trouble = on_trouble
        self._seen = 0
        self._named = 0
        self._broken = False
        self._unwritten: list[tuple[str, DeadLetter | None]] = []
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Those of earlier runs, which are in an outbox: to the file, if there is one; else they are mentioned."""
        found = list(self._store)
        if not found:
            return
        self._seen = found[-1].number
        if self._file is None:
            self._watcher.note(f"{len(found):,} dead letters of earlier runs are in the outbox: see turnout dlq")
        else:
            self._write([(_line(letter, None), letter) for letter in found])

    def look(self, line_of: Callable[[DeadLetter], int | None]) -> None:
        """Tells of those that came since the last look. ``line_of``: the number of its message's line, if known."""
        found = self._store.after(self._seen)
        if not found:
            return
        self._seen = found[-1].number
        if self._returns:
            self._store.purge(letter for letter in found if letter.reason == "closed")
            found = [letter for letter in found if letter.reason != "closed"]
        new = [(letter, line_of(letter)) for letter in found]
        for letter, line in new:
            if self._named < _NAMED:
                self._named += 1
                self._watcher.note(_told(letter, line))
                if self._named == _NAMED:
                    self._watcher.note("further dead letters are not named here")
        if self._file is not None:
            self._write([(_line(letter, line), letter) for letter, line in new])
        elif not self._durable:
            self._store.purge(letter for letter, _ in new)

    @property
    def in_memory(self) -> bool:
        """Whether letters are nowhere on disk."""
        return self._file is None and not self._durable

    @property
    def full(self) -> bool:
        """Whether the router accepts nothing until somebody takes letters out, which this will not do."""
        return self._store.full and (self._file is None or self._broken)

    async def room(self) -> None:
        """Returns when the store has room again, or will have none."""
        while self._store.full and self._writing is not None:
            await asyncio.wait([self._writing])

    async def on_disk(self) -> bool:
        """Whether those that were told are in a file, after waiting for that."""
        await self.written()
        return self._file is not None and not self._broken

    async def write_rejected(self, name: str, body: bytes, why: str) -> None:
        """Adds what was no message to the file, if there is one: its broker may not keep it. Then it is on disk."""
        if self._file is not None:
            record = {"line": None, "id": name, "rejected": why, "body": body.decode("utf-8", "backslashreplace")}
            self._write([(_json(record), None)])
            await self.written()

    async def written(self) -> None:
        """Returns when all that were told are in the file, or cannot be."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def _write(self, entries: Iterable[tuple[str, DeadLetter | None]]) -> None:
        self._unwritten.extend(entries)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        """Writes what there is, and what comes meanwhile, each time with one fsync."""
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, []
                if not self._broken:
                    try:
                        await asyncio.to_thread(_append, self._file, "".join(line for line, _ in batch).encode())
                    except OSError as error:
                        self._fail(error)
                if not self._broken or not self._durable:
                    self._store.purge(letter for _, letter in batch if letter is not None)
                if self._broken and not self._durable:
                    for line, _ in batch:
                        self._watcher.note(line.rstrip("\n"))
        finally:
            self._writing = None

    def _fail(self, error: OSError) -> None:
        self._broken = True
        rest = "they stay in the outbox" if self._durable else "they follow here instead"
        self._on_trouble(f"dead letters cannot be written: {error.strerror or error}; {rest}")


def _append(file: FileIO | None, data: bytes) -> None:
    """Writes all of it; on disk when it returns, if the file is on one."""
    if file is None:
        return
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NO_DISK:
            raise


def _line(letter: DeadLetter, line: int | None) -> str:
    return _json({"line": line, **letter.as_dict()})


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str) + "\n"


def _told(letter: DeadLetter, line: int | None) -> str:
    """A dead letter in a line for people."""
    place = f"{letter.id}" if line is None else f"line {line}, {letter.id}"
    what = f"not delivered to {letter.pool}, though elsewhere" if letter.partial else letter.status.replace("_", "-")
    return f"{place}: {what}: {letter.reason}: {letter.detail}"
