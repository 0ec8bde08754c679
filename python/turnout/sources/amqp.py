"""``amqp://USER@HOST/VHOST?queue=Q``: a queue of RabbitMQ, which the broker shares out among processes that read it.

``prefetch`` messages at most are under way (``basic.qos``); those of a process that dies, or closes, go back to the
queue at once. RabbitMQ knows no delay: a message that could not be taken is held here for ``nack_delay`` and given back
then. A quorum queue counts that, and after its ``delivery-limit`` (20) it does with the message what it does with
rejected ones: give it a dead-letter exchange, or no limit. What is no message is rejected: without a dead-letter
exchange RabbitMQ deletes it. ``message_id`` (or the header ``x-message-id``) is the message's id; one without has a new
id each time it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Final
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from ..config import SourceOptions
from ..config.sources import AmqpSourceOptions
from ..errors import ConfigError
from ..security import client_context
from .base import Backoff, Incoming, Window

_DOWN: Final = (AMQPError, OSError, RuntimeError, TimeoutError)
"""What the client raises where the broker cannot be reached, or refuses; RuntimeError of what is closed."""

# What goes wrong is told by Backoff; without a handler of the program's, the client's own log would tell it besides,
# each time, on standard error.
logging.getLogger("aiormq").addHandler(logging.NullHandler())
logging.getLogger("aio_pika").addHandler(logging.NullHandler())


class AmqpSource:
    """One consumer of a queue."""

    keeps = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        """Raises ConfigError: the file of certificates cannot be read."""
        if not isinstance(options, AmqpSourceOptions):
            raise ConfigError("an amqp: source needs the option `queue`")
        self._options, self._url = options, url
        self.name = f"amqp queue {options.queue}"
        self.nack_delay = options.nack_delay
        self.window = Window(options.prefetch)
        self._tls = client_context(options.ca_file) if urlsplit(url).scheme == "amqps" else None
        self._connection: AbstractConnection | None = None
        self._found: deque[AbstractIncomingMessage] = deque()
        self._delayed: set[asyncio.Task[None]] = set()
        self._backoff = Backoff()

    async def open(self) -> None:
        """See :meth:`Source.open`. The connection is made when messages are asked for."""

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        """See :class:`Source`."""
        while True:
            if self._found:
                yield _Incoming(self, self._found.popleft())
            elif self._connection is None:
                try:
                    self._connection = await self._connect()
                    self._backoff.reset()
                except _DOWN as error:
                    await self._backoff.failed(f"{self.name}: waits for the broker: {error!r}")
            else:
                await self.window.changed()

    async def close(self) -> None:
        """See :meth:`Source.close`. What is not acknowledged goes back to the queue."""
        for task in list(self._delayed):
            task.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_DOWN):  # it is gone all the same
                async with asyncio.timeout(self._options.timeout):
                    await connection.close()

    def give_back_later(self, message: AbstractIncomingMessage, delay: float) -> None:
        """Gives a message back to the queue after a while, in which it keeps its room."""
        self.window.take()
        task = asyncio.create_task(self._give_back(message, delay))
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)

    async def tell(self, telling: Awaitable[None]) -> None:
        """Tells the broker; where that cannot be, it gives the message out again by itself."""
        with contextlib.suppress(*_DOWN):
            await telling

    async def _give_back(self, message: AbstractIncomingMessage, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            await self.tell(message.nack(requeue=True))
        finally:
            self.window.give_back()

    async def _connect(self) -> AbstractConnection:
        options = self._options
        connection = await aio_pika.connect(self._url, timeout=options.timeout, ssl_context=self._tls)
        try:
            async with asyncio.timeout(options.timeout):
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=options.prefetch)
                queue = await channel.get_queue(options.queue)
                channel.close_callbacks.add(lambda *_: self._lost(connection))
                connection.close_callbacks.add(lambda *_: self._lost(connection))
                await queue.consume(self._came)
        except BaseException:
            with contextlib.suppress(*_DOWN):
                await connection.close()
            raise
        return connection

    async def _came(self, message: AbstractIncomingMessage) -> None:
        self.window.take()
        self._found.append(message)
        self.window.wake()

    def _lost(self, connection: AbstractConnection) -> None:
        """What came and was not handed over comes again on the next connection."""
        if self._connection is connection:
            self._connection = None
            while self._found:
                self._found.pop()
                self.window.give_back()
            self.window.wake()


class _Incoming(Incoming):
    """A message of the queue."""

    __slots__ = ("_message", "_source")

    def __init__(self, source: AmqpSource, message: AbstractIncomingMessage) -> None:
        name = message.headers.get("x-message-id") or message.message_id or ""
        super().__init__(str(name), message.body, source.window)
        self._source, self._message = source, message

    async def _ack(self) -> None:
        await self._source.tell(self._message.ack())

    async def _nack(self, delay: float) -> None:
        if delay:
            self._source.give_back_later(self._message, delay)
        else:
            await self._source.tell(self._message.nack(requeue=True))

    async def _reject(self, why: str) -> None:
        await self._source.tell(self._message.reject(requeue=False))
