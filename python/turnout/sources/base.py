"""What every source is: the one interface between a broker, or a file, and the router."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from .ndjson import parse_message

T = TypeVar("T")

_FIRST: Final = 0.05
_LONGEST: Final = 2.0

_log = logging.getLogger(__name__)


class Incoming(ABC):
    """One message that a source handed over. It is ended once: by ``ack``, ``nack`` or ``reject``; more do nothing.

    None of the three raises because the broker is gone: a broker that was not told hands the message over again, to
    this process or another.
    """

    __slots__ = ("_window", "body", "id")

    def __init__(self, name: str, body: bytes, window: Window) -> None:
        self.id = name
        """Names it, the same whenever it comes again: the id that its producer gave it, else the broker's; empty where
        there is neither."""
        self.body = body
        self._window: Window | None = window

    def message(self) -> dict[str, Any]:
        """What is in it.

        Raises:
            ValueError: it is no message; the text says why.
        """
        return parse_message(self.body)

    @property
    def line(self) -> int | None:
        """The line of the file that it stands in."""
        return None

    @property
    def place(self) -> str:
        """Where it comes from, for people."""
        return self.id or "a message without an id"

    @property
    def ended(self) -> bool:
        """Whether it was ended, or is being so."""
        return self._window is None

    async def ack(self) -> None:
        """It is settled, or on disk: the broker may forget it."""
        await self._end(self._ack())

    async def nack(self, delay: float) -> None:
        """It could not be taken; it comes again, here or elsewhere, after ``delay`` seconds or more."""
        await self._end(self._nack(delay))

    async def reject(self, why: str) -> None:
        """It is no message and never will be: it goes where the broker puts such, and does not come again."""
        await self._end(self._reject(why))

    @abstractmethod
    async def _ack(self) -> None: ...

    @abstractmethod
    async def _nack(self, delay: float) -> None: ...

    @abstractmethod
    async def _reject(self, why: str) -> None: ...

    async def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        window, self._window = self._window, None
        if window is None:
            ending.close()
            return
        try:
            await ending
        finally:
            window.give_back()


@runtime_checkable
class Source(Protocol):
    """Hands messages over, at least once each. Of one event loop; not for threads.

    ``async for`` gives messages, at most ``prefetch`` that are not ended, and waits for more; it ends where the source
    does, as a file does. A broker that is down, or goes down, is waited for. Cancelling what iterates ends it: then
    :meth:`close` gives back what was fetched and not handed over. Several processes may open the same source: the
    broker shares the messages out.
    """

    name: str
    """For people, without secrets."""
    keeps: bool
    """Whether what is not acknowledged is kept, and comes again in another run, or in another process."""
    nack_delay: float
    """Seconds that a message is to stay away after it could not be taken."""

    async def open(self) -> None:
        """Acquires what fetching needs. Called once.

        Raises:
            ConfigError: it can never work as configured.
        """

    def __aiter__(self) -> AsyncIterator[Incoming]:
        """See above; once."""

    async def close(self) -> None:
        """Tells the broker what it was not told yet, gives back what was not handed over, and disconnects."""


class Window:
    """Room for messages that were fetched and are not ended."""

    __slots__ = ("_changed", "held", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        """Messages that are not ended."""
        self._changed = asyncio.Event()

    @property
    def free(self) -> int:
        """How many more may be fetched."""
        return max(0, self.size - self.held)

    def take(self) -> None:
        """One was fetched."""
        self.held += 1

    def give_back(self) -> None:
        """One was ended."""
        self.held -= 1
        self._changed.set()

    def wake(self) -> None:
        """Something else happened that is worth looking at."""
        self._changed.set()

    async def changed(self) -> None:
        """Returns when something was ended, or has happened, since the last time."""
        await self._changed.wait()
        self._changed.clear()


class Again(Generic[T]):
    """What is to come again after a while, where the broker has no way of its own for that. It keeps its room."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._due: deque[T] = deque()

    def put(self, item: T, delay: float) -> None:
        """Lets it come again after ``delay`` seconds."""
        self._window.take()
        asyncio.get_running_loop().call_later(delay, self._ready, item)

    def pop(self) -> T | None:
        """One whose time has come."""
        return self._due.popleft() if self._due else None

    def _ready(self, item: T) -> None:
        self._due.append(item)
        self._window.wake()


class Backoff:
    """How long to wait for a broker that is down: twice as long each time, from 0.05 to 2 seconds."""

    def __init__(self) -> None:
        self._next = _FIRST
        self._said = False

    def reset(self) -> None:
        """It answered."""
        self._next, self._said = _FIRST, False

    async def failed(self, why: str) -> None:
        """Waits; the first time, ``why`` is logged."""
        if not self._said:
            self._said = True
            _log.warning("%s", why)
        delay, self._next = self._next, min(_LONGEST, self._next * 2)
        await asyncio.sleep(delay)
