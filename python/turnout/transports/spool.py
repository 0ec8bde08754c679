"""``spool:DIR``: messages appended to a file, one line of JSON each; a send returns once its line is on the disk.

The file is ``DIR/<destination>.jsonl``; a line is ``{"id": ..., "destination": ..., "attempt": ..., "message": ...}``.

Group commit: whatever is sent while one write is under way goes out together with the next one, under a single fsync,
in a thread. So the cost of an fsync (0.1-10 ms) is shared by all who wait for it.

Invariants:

- What :meth:`SpoolTransport.send` returned for survives a power loss (as far as the disk keeps its word).
- The file holds whole lines only: what a failed write left behind is cut off again, and the tail that a crash left
  gets a newline when the file is opened, so that the next line stands on its own.
- One writer a file, held by a lock where the system has ``flock``: cutting off a failed write needs it.

A send that is cancelled, or fails after the write began, may have been written: delivery is at least once, and the id
tells duplicates.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import sys
import threading
from pathlib import Path
from typing import Final

from ..errors import ConfigError, DeliveryError
from .batching import Batches
from .encoding import json_line

_UNSAFE = re.compile(rb"^\.|[^A-Za-z0-9._-]")
_LONGEST_NAME: Final = 200
"""Bytes of a file name before its suffix; file systems allow 255 in all."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SpoolTransport:
    """Appends one destination's messages to its file."""

    def __init__(self, directory: str, destination: str) -> None:
        """``directory``: relative to the working directory, ``~`` allowed; made when it does not exist."""
        self.path = Path(directory).expanduser() / f"{_file_name(destination)}.jsonl"
        self._fd: int | None = None
        self._size = 0
        self._torn = False
        self._lock = threading.Lock()  # a group's thread may outlive a loop that is being torn down
        self._lines = Batches(self._write)

    def open(self) -> None:
        """Opens the file, makes its directory, and repairs the tail that a crash may have left.

        Raises:
            ConfigError: the directory or the file cannot be written, or another writer holds the file.
        """
        try:
            with self._lock:
                self._open()
        except OSError as error:
            raise ConfigError(self._unusable(error)) from error

    async def send(
        self,
        message: object,
        destination: str,
        *,
        message_id: str,
        attempt: int,
        deadline: float | None = None,
        expires: float | None = None,
    ) -> None:
        """Returns once the message's line is on the disk.

        Raises:
            DeliveryError: ``unencodable`` (not retryable): JSON cannot hold the message. ``spool_full``: no room on
                the disk. ``spool_failed``: the file cannot be opened, written or synced.
        """
        line = json_line({"id": message_id, "destination": destination, "attempt": attempt, "message": message})
        await self._lines.add(line)

    async def close(self) -> None:
        """Writes what is waiting, then closes the file."""
        await self._lines.close()
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    async def _write(self, lines: list[bytes]) -> list[None]:
        """Puts a group of lines on the disk, or none of them."""
        try:
            await asyncio.to_thread(self._append, b"".join(lines))
        except OSError as error:
            raise DeliveryError(
                "spool_full" if error.errno in _FULL else "spool_failed", self._unusable(error)
            ) from error
        except Exception as error:  # such as no thread, or no memory for the group
            raise DeliveryError("spool_failed", f"{self.path}: {type(error).__name__}: {error}") from error
        return [None] * len(lines)

    def _append(self, data: bytes) -> None:
        """In a thread: writes and syncs ``data``, or leaves the file as it was."""
        with self._lock:
            fd = self._open()
            if self._torn:
                self._cut(fd)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
                os.fsync(fd)
            except OSError:
                self._torn = True
                # Not to hide the first error: a cut that fails now is tried again before the next write.
                with contextlib.suppress(OSError):
                    self._cut(fd)
                raise
            self._size += len(data)

    def _cut(self, fd: int) -> None:
        os.ftruncate(fd, self._size)
        os.fsync(fd)
        self._torn = False

    def _open(self) -> int:
        if self._fd is not None:
            return self._fd
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(fd)
            self._size = os.fstat(fd).st_size
            if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
                self._size += os.write(fd, b"\n")
            os.fsync(fd)
            _sync_directory(self.path.parent)
        except BaseException:
            os.close(fd)
            raise
        self._torn = False
        self._fd = fd
        return fd

    def _unusable(self, error: OSError) -> str:
        if isinstance(error, BlockingIOError):
            return f"{self.path} is being written by another router or process; give each a directory of its own"
        why = error.strerror or str(error)
        if error.errno in _FULL:
            return f"{self.path}: {why}; make room on the disk"
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            return f"{self.path.parent} is not a directory; name one in the url spool:DIR"
        if isinstance(error, IsADirectoryError):
            return f"{self.path} is a directory; move it away"
        return f"{self.path} cannot be written: {why}; make {self.path.parent} writable, or name another directory"


def _file_name(destination: str) -> str:
    """A file name for any destination id, one for each: what is not a plain letter is written ``%XX``."""
    name = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], destination.encode("utf-8", "surrogatepass")).decode()
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[: _LONGEST_NAME - 17]}-{digest}"
    return name


if sys.platform == "win32":

    def _lock(fd: int) -> None:
        """Windows: no lock."""

    def _sync_directory(directory: Path) -> None:
        """Windows: directories cannot be synced."""

else:
    import fcntl

    def _lock(fd: int) -> None:
        """Takes the file for this writer alone; BlockingIOError if another has it."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _sync_directory(directory: Path) -> None:
        """A new file's name must survive a power loss too."""
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
