"""Input read by a thread and taken by the event loop, which a slow source therefore never blocks.

The thread reads ahead by :data:`BATCHES_AHEAD` batches and then waits: that, and the window of messages in flight,
bounds the memory of a run. It is a daemon and reads file descriptors without Python's buffers, whose locks a thread
that is still reading would hold while the interpreter shuts down.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from .ndjson import Line, LineReader

BATCHES_AHEAD = 4
"""Batches read and not yet taken: enough that the loop never waits for a file."""
STDIN = "-"
"""How standard input is written where a file could be."""


class Source:
    """Bytes from a file, or from standard input where the path is ``-``."""

    def __init__(self, path: str) -> None:
        """Opens it.

        Raises:
            OSError: it cannot be opened, or is a directory.
        """
        self.name = "standard input" if path == STDIN else path
        self.size: int | None = None
        """Bytes in all; None for what has no end that is known, such as a pipe."""
        self.read: Callable[[int], bytes]
        self._file: io.FileIO | None = None
        if path != STDIN:
            self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed by close()
            self.read = self._file.read
            # A pipe or a device may stand at a path too, and has no size.
            self.size = os.fstat(self._file.fileno()).st_size or None
        elif (descriptor := _descriptor()) is not None:
            self.read = lambda size: os.read(descriptor, size)
        else:
            self.read = sys.stdin.buffer.read

    def close(self) -> None:
        """Closes the file; standard input stays open."""
        if self._file is not None:
            self._file.close()


def _descriptor() -> int | None:
    """Standard input's file descriptor; None where something else stands for it."""
    try:
        return sys.stdin.fileno()
    except (OSError, ValueError):
        return None


class Feed:
    """The batches of a reader, one ``await`` at a time."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader
        self._queue: asyncio.Queue[list[Line] | None] = asyncio.Queue(BATCHES_AHEAD)
        self._failure: BaseException | None = None
        self._closed = False

    def start(self) -> None:
        """Starts reading; call it on the event loop that takes the batches."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="turnout-input", daemon=True).start()

    def close(self) -> None:
        """Lets the thread end at the next batch; what it read ahead is forgotten."""
        self._closed = True
        while not self._queue.empty():
            self._queue.get_nowait()

    async def next(self) -> list[Line] | None:
        """The next batch; None at the end.

        Raises:
            OSError: the source cannot be read any further.
        """
        batch = await self._queue.get()
        if batch is None and self._failure is not None:
            raise self._failure
        return batch

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for batch in self._reader.batches():
                if not self._put(loop, batch):
                    return
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            self._failure = error
        self._put(loop, None)

    def _put(self, loop: asyncio.AbstractEventLoop, batch: list[Line] | None) -> bool:
        """Waits for room; False if nobody takes batches any more."""
        if self._closed or loop.is_closed():
            return False
        putting = self._queue.put(batch)
        try:
            asyncio.run_coroutine_threadsafe(putting, loop).result()
        except RuntimeError:  # the loop closed in between
            putting.close()
            return False
        return not self._closed
