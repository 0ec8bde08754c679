"""A file of JSON lines, or standard input: read by a thread, and taken by the event loop, which it never blocks.

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
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from ..config import SourceOptions
from ..errors import ConfigError
from .base import Again, Incoming, Window
from .ndjson import Line, LineReader

BATCHES_AHEAD = 4
"""Batches read and not yet taken: enough that the loop never waits for a file."""
STDIN = "-"
"""How standard input is written where a file could be."""


class Bytes:
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


class FileSource:
    """Lines as messages. A line that could not be taken is handed over again; nothing of it outlives the process."""

    keeps = False

    def __init__(self, path: str, options: SourceOptions) -> None:
        """Opens the file.

        Raises:
            ConfigError: it cannot be opened.
        """
        try:
            self.bytes = Bytes(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        self.name = self.bytes.name
        self.nack_delay = options.nack_delay
        self.reader = LineReader(self.bytes.read)
        self._feed = Feed(self.reader)
        self._window = Window(options.prefetch)
        self._again: Again[Line] = Again(self._window)

    async def open(self) -> None:
        """See :meth:`Source.open`."""
        self._feed.start()

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        """See :class:`Source`. Ends when every line was ended.

        Raises:
            OSError: the file cannot be read any further.
        """
        window, lines, is_over = self._window, deque[Line](), False
        next_batch: asyncio.Task[list[Line] | None] | None = None
        changed = asyncio.create_task(window.changed())
        try:
            while not is_over or lines or window.held:
                if (again := self._again.pop()) is not None:
                    yield _Line(again, window, self._again)
                elif lines and window.free:
                    window.take()
                    yield _Line(lines.popleft(), window, self._again)
                else:
                    if not lines and not is_over and next_batch is None:
                        next_batch = asyncio.create_task(self._feed.next())
                    waits: set[asyncio.Task[Any]] = {changed} if next_batch is None else {changed, next_batch}
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    if changed.done():
                        changed = asyncio.create_task(window.changed())
                    if next_batch is not None and next_batch.done():
                        batch, next_batch = next_batch.result(), None
                        is_over = batch is None
                        lines.extend(batch or ())
        finally:
            changed.cancel()
            if next_batch is not None:
                next_batch.cancel()

    async def close(self) -> None:
        """See :meth:`Source.close`."""
        self._feed.close()
        self.bytes.close()


class _Line(Incoming):
    __slots__ = ("_again", "_line")

    def __init__(self, line: Line, window: Window, again: Again[Line]) -> None:
        super().__init__("", b"", window)
        self._line = line
        self._again = again

    @property
    def line(self) -> int:
        return self._line.number

    @property
    def place(self) -> str:
        return f"line {self._line.number}"

    def message(self) -> dict[str, Any]:
        if self._line.message is None:
            raise ValueError(self._line.problem)
        return self._line.message

    async def _ack(self) -> None:
        return

    async def _nack(self, delay: float) -> None:
        self._again.put(self._line, delay)

    async def _reject(self, why: str) -> None:
        return
