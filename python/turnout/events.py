"""Events as they happen: any number of streams over the log that the core keeps of a router's destinations.

The log is every stream's queue: a stream is the number of the event it read last, so one that nobody reads costs
nothing and holds nobody up. A stream that has read everything asks the core to be woken: one native thread a router
waits for that, and wakes the event loops of all who wait at once. It is there only while a stream is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Self

from ._core import EventLog, EventWatch
from .reports import Event

MOST = 1_024
"""Events that the core keeps, and the most that a stream may be behind."""


class EventStream(AsyncIterator[Event]):
    """Events of a router's destinations, oldest first, until the router closes. Made by ``Router.events``.

    Reading may be cancelled at any time; no event is lost by it. Several tasks may read one stream, of one event loop
    or of several: each event goes to one of them.
    """

    dropped: int
    """Events that were not read in time: so many newer ones had come that they were passed over."""

    def __init__(self, streams: EventStreams, seq: int, size: int) -> None:
        """Reads events above number ``seq``, and is ``size`` events behind at most."""
        self.dropped = 0
        self._streams = streams
        self._seq = seq
        self._size = size
        self._ended = False
        self._leave = weakref.finalize(self, streams.left)
        self._leave.atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            with self._streams.lock:  # against readers on other event loops
                found = self._streams.log.next(self._seq, self._size) if self._leave.alive else None
                if found is not None:
                    event = Event.from_core(found[0])
                    self._seq = event.seq
                    self.dropped += found[1]
                    return event
            if self._ended:
                self._leave()
                raise StopAsyncIteration
            await self._streams.wait(self, self._seq)

    def end(self) -> None:
        """No further event is waited for: what is there may be read, then the stream ends."""
        self._ended = True

    @property
    def ended(self) -> bool:
        """Whether no further event will be waited for."""
        return self._ended

    async def aclose(self) -> None:
        """Ends the stream at once, for tasks that are reading it too."""
        self.end()
        self._leave()
        self._streams.wake()


class EventStreams:
    """The open streams of one router. For any thread."""

    def __init__(self, log: EventLog) -> None:
        """``log``: the core's."""
        self.log = log
        # Reentrant: a collection may end a stream wherever an object is made.
        self.lock = threading.RLock()
        self._open = 0
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._watch: EventWatch | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def open(self, since: int | None, size: int) -> EventStream:
        """A stream of the events above number ``since``; None for those to come."""
        with self.lock:
            self._open += 1
            stream = EventStream(self, self.log.last if since is None else since, size)
            self._streams.add(stream)
            return stream

    def left(self) -> None:
        """A stream was closed, came to its end, or was forgotten."""
        with self.lock:
            self._open -= 1
            if self._open == 0:
                self._watch = None  # its thread ends

    def close(self) -> None:
        """Ends the streams that are open now."""
        with self.lock:
            streams = list(self._streams)
        for stream in streams:
            stream.end()
        self.wake()

    async def wait(self, stream: EventStream, seq: int) -> None:
        """Returns when there may be an event above ``seq``, or the stream has ended."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self.lock:
            if stream.ended:
                return
            self._waiting.add(future)
            if self._watch is None:
                self._watch = self.log.watch(partial(_wake, weakref.ref(self)))
            self._watch.ask(seq)
        try:
            await future
        finally:
            with self.lock:
                self._waiting.discard(future)

    def wake(self) -> None:
        """Lets all who wait look again. From any thread."""
        with self.lock:
            waiting, self._waiting = self._waiting, set()
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for future in waiting:
            loops.setdefault(future.get_loop(), []).append(future)
        for loop, futures in loops.items():
            # A loop that was closed with a reader waiting has nobody to wake.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_release, futures)


def _wake(streams: weakref.ref[EventStreams]) -> None:
    """What the core's thread calls; it must not keep alive what ends it."""
    if (found := streams()) is not None:
        found.wake()


def _release(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
