"""One connection that many sends share: made by the first, made anew by the first after it broke.

The clients' own reconnecting is turned off: a message waits in turnout, where its deadline and other destinations are
known, and not in a client's buffer.

A connection may be dead and not know it, as behind a firewall that forgot it. So it is let go when a send has waited in
vain for its whole time, or for :data:`_SILENCE`, and no other send has succeeded on it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from ..errors import DeliveryError

T = TypeVar("T")

_PAUSE: Final = 0.1
"""Seconds after a failed connecting in which sends fail at once: many messages wait for a server that is down, and each
attempt would otherwise try it again."""
_SILENCE: Final = 5.0
"""Seconds without any answer after which a connection is let go if nobody wants to wait longer: above what a broker's
disk or election takes, below what messages have."""


class Connection(Generic[T]):
    """Of one event loop; not for threads."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[T]],
        disconnect: Callable[[T], Awaitable[object]],
        is_alive: Callable[[T], bool],
        *,
        timeout: float,
        broken: tuple[type[Exception], ...],
    ) -> None:
        """``timeout``: seconds for connecting and for disconnecting. ``broken``: what connecting raises if it fails;
        it becomes a DeliveryError of kind ``connection``; a DeliveryError stays what it is."""
        self._connect, self._disconnect, self._is_alive = connect, disconnect, is_alive
        self._timeout = timeout
        self._broken = broken
        self._client: T | None = None
        self._connecting: asyncio.Task[T] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._users = 0
        self._failed: tuple[float, DeliveryError] | None = None  # when, in the loop's time, and how connecting failed
        self._heard = 0.0  # when a block last succeeded, in the loop's time

    def use(self) -> Use[T]:
        """``async with`` gives a client that is connected, as far as is known; :meth:`close` waits for its end.

        Raises:
            DeliveryError: ``connection``: it cannot be had. Or, of a client that ended its own tasks while the block
                waited for them, that the connection was lost.
        """
        return Use(self)

    def drop(self, client: T) -> None:
        """Lets go of a client that is of no use any more; the next block gets a new one."""
        if self._client is client:
            self._client = None
            self._leave(client)

    async def close(self) -> None:
        """Disconnects, after the blocks under way have ended."""
        await self._idle.wait()
        if self._connecting is not None:  # everyone who asked for it was cancelled
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._failed = None
        client, self._client = self._client, None
        if client is not None:
            self._leave(client)
        if self._leaving:
            await asyncio.wait(self._leaving)

    def began(self) -> None:
        """For :class:`Use`: a block was entered."""
        self._users += 1
        self._idle.clear()

    def ended(self) -> None:
        """For :class:`Use`: a block was left."""
        self._users -= 1
        if not self._users:
            self._idle.set()

    def heard(self, at: float) -> None:
        """For :class:`Use`: a block succeeded."""
        self._heard = at

    def unheard(self, client: T, since: float, now: float) -> None:
        """For :class:`Use`: a block waited in vain."""
        if self._heard <= since and now - since >= min(_SILENCE, 0.99 * self._timeout):
            self.drop(client)

    async def connected(self) -> T:
        """For :class:`Use`: the client."""
        client = self._client
        if client is not None and self._is_alive(client):
            return client
        if self._connecting is None:
            if self._failed is not None:
                at, error = self._failed
                if asyncio.get_running_loop().time() < at + _PAUSE:
                    raise DeliveryError(*error.args, retryable=error.retryable, retry_after=error.retry_after)
                self._failed = None
            if self._client is not None:
                self.drop(self._client)
            self._connecting = asyncio.create_task(self._make())
            self._connecting.add_done_callback(self._made)
        # Shielded: who is cancelled while waiting must not take the connection from the others.
        return await asyncio.shield(self._connecting)

    async def _make(self) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._connect()
        except TimeoutError as error:
            said = f"not connected within {self._timeout:g} s"
            raise self._not_connected(DeliveryError("connection", said)) from error
        except DeliveryError as error:
            raise self._not_connected(error) from error.__cause__
        except self._broken as error:
            said = f"cannot connect: {describe(error)}"
            raise self._not_connected(DeliveryError("connection", said)) from error
        self._client = client
        return client

    def _not_connected(self, error: DeliveryError) -> DeliveryError:
        self._failed = asyncio.get_running_loop().time(), error
        return error

    def _made(self, task: asyncio.Task[T]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # seen, if only by those who were cancelled meanwhile

    def _leave(self, client: T) -> None:
        task = asyncio.create_task(self._left(client))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _left(self, client: T) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._disconnect(client)
        except Exception:  # noqa: BLE001, S110 - a connection that cannot even be closed is gone all the same
            pass


class Use(Generic[T]):
    """A block that uses a connection; written out because a generator would cost a third of a fast publish."""

    __slots__ = ("_client", "_connection", "_loop", "_since")

    def __init__(self, connection: Connection[T]) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> T:
        self._connection.began()
        try:
            self._client = await self._connection.connected()
        except BaseException:
            self._connection.ended()
            raise
        self._since = self._loop.time()
        return self._client

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        connection = self._connection
        connection.ended()
        if error is None:
            connection.heard(self._loop.time())
        elif isinstance(error, asyncio.CancelledError) or getattr(error, "kind", None) == "timeout":
            connection.unheard(self._client, self._since, self._loop.time())
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                # Not this task was cancelled, but what the client waited for when its connection was lost.
                raise DeliveryError("connection", "the connection was lost") from error


def describe(error: BaseException) -> str:
    """What a client said, in one line, with the name of the exception; urls are left out."""
    text = " ".join(str(error).split())
    return type(error).__name__ if not text or "://" in text else f"{type(error).__name__}: {text}"
