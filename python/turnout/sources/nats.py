"""``nats://HOST?stream=S&consumer=C``: a durable pull consumer of a JetStream stream, which processes share.

A consumer that is not there is made (acknowledged one by one, ``ack_wait``, of ``subject``); one that is there is taken
as it is. Messages are pulled as there is room, so no process gets more than it can hold. While one is worked on, the
server is told so three times in ``ack_wait``; those of a process that died come again after it. A message that could
not be taken is given back with a delay, one that is no message is terminated: it stays in the stream, as its retention
says, and JetStream tells of it by an advisory. ``Nats-Msg-Id`` is the message's id, else stream and sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import unquote

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from ..config import SourceOptions
from ..config.sources import NatsSourceOptions
from ..errors import ConfigError
from ..security import client_context
from .base import Backoff, Incoming, Window

_EXPIRES: Final = 2.0
"""Seconds that a pull waits at the server. One that is lost with its connection is made anew after twice as long."""
_DOWN: Final = (NatsError, OSError, TimeoutError)
"""What the client raises where the server cannot be reached, or refuses."""

_log = logging.getLogger(__name__)


class NatsSource:
    """One puller of a consumer."""

    keeps = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        """Raises ConfigError: the file of certificates cannot be read."""
        if not isinstance(options, NatsSourceOptions):
            raise ConfigError("a nats: source needs the options `stream` and `consumer`")
        self._options, self._url = options, url
        self.name = f"nats stream {options.stream}, consumer {options.consumer}"
        self.nack_delay = options.nack_delay
        self.window = Window(options.prefetch)
        self._tls = client_context(options.ca_file) if options.tls else None
        self._client: Client | None = None
        self._inbox = ""
        self._found: deque[Msg] = deque()
        self._open: set[_Incoming] = set()
        """Handed over, and not ended."""
        self._asked = 0
        """Messages that the server was asked for and has not sent."""
        self._asked_at = 0.0
        self._ack_wait = options.ack_wait
        self._living: asyncio.Task[None] | None = None
        self._backoff = Backoff()

    async def open(self) -> None:
        """See :meth:`Source.open`."""
        self._living = asyncio.create_task(self._live())

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        """See :class:`Source`."""
        while True:
            if self._found:
                incoming = _Incoming(self, self._found.popleft())
                self._open.add(incoming)
                yield incoming
                continue
            try:
                if self._client is None:
                    self._client = await self._connect()
                    self._backoff.reset()
                await self._pull(self._client)
            except _DOWN as error:
                await self._backoff.failed(f"{self.name}: waits for the server: {error}")
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXPIRES):
                    await self.window.changed()

    async def close(self) -> None:
        """See :meth:`Source.close`."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait([self._living])
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(*_DOWN):  # what the server is not told comes again after `ack_wait`
            for message in self._found:
                await message.nak()
            await client.flush(timeout=max(1, round(self._options.timeout)))
        self._found.clear()
        with contextlib.suppress(*_DOWN):
            await client.close()

    def ended(self, incoming: _Incoming) -> None:
        """It was acknowledged, one way or another."""
        self._open.discard(incoming)

    async def _connect(self) -> Client:
        """A client that goes on connecting by itself, with the consumer there and its inbox heard."""
        options = self._options
        try:
            async with asyncio.timeout(options.timeout):  # the client itself would try for ever
                client = await nats.connect(
                    self._url,
                    connect_timeout=max(1, round(options.timeout)),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.2,
                    tls=self._tls,
                    error_cb=_seen,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._reconnected,
                )
        except TimeoutError:
            raise TimeoutError(f"not connected within {options.timeout:g} s") from None
        try:
            jetstream = client.jetstream(timeout=options.timeout)
            try:
                info = await jetstream.consumer_info(options.stream, options.consumer)
            except NotFoundError:
                wanted = ConsumerConfig(
                    durable_name=options.consumer,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=options.ack_wait,
                    filter_subject=options.subject,
                )
                info = await jetstream.add_consumer(options.stream, wanted)
            self._ack_wait = info.config.ack_wait or options.ack_wait
            self._inbox = client.new_inbox()
            await client.subscribe(self._inbox, cb=self._came)
        except BaseException:
            await client.close()
            raise
        return client

    async def _pull(self, client: Client) -> None:
        """Asks for as many as there is room for, unless that was done."""
        now = asyncio.get_running_loop().time()
        if now > self._asked_at + 2 * _EXPIRES:
            self._asked = 0
        more = self.window.free - self._asked
        if more <= 0 or (self._asked and more < self.window.size // 2):
            return
        request = {"batch": more, "expires": round(_EXPIRES * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._options.stream}.{self._options.consumer}"
        await client.publish(subject, json.dumps(request).encode(), self._inbox)
        self._asked += more
        self._asked_at = now

    async def _came(self, message: Msg) -> None:
        headers = message.headers or {}
        if "Status" not in headers:
            self._asked -= 1
            self.window.take()
            self._found.append(message)
        elif headers["Status"] != "100":  # a pull has ended: its time is over, or the consumer is busy or gone
            self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
        self._asked = max(0, self._asked)
        self.window.wake()

    async def _disconnected(self) -> None:
        if self._client is not None:  # else it is being closed
            _log.warning("%s: the connection was lost, and is made anew", self.name)

    async def _reconnected(self) -> None:
        self._asked = 0
        self.window.wake()

    async def _live(self) -> None:
        """Says of what is held that it is being worked on."""
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            for message in [*self._found, *(incoming.raw for incoming in self._open)]:
                with contextlib.suppress(*_DOWN):  # said again in a while
                    await message.in_progress()


class _Incoming(Incoming):
    """A message of the stream."""

    __slots__ = ("_source", "raw")

    def __init__(self, source: NatsSource, message: Msg) -> None:
        given = (message.headers or {}).get("Nats-Msg-Id")
        if given is None:
            given = f"{message.metadata.stream}-{message.metadata.sequence.stream}"
        super().__init__(unquote(given), message.data, source.window)
        self.raw = message
        self._source = source

    async def _ack(self) -> None:
        await self._tell(self.raw.ack())

    async def _nack(self, delay: float) -> None:
        await self._tell(self.raw.nak(delay or None))

    async def _reject(self, why: str) -> None:
        await self._tell(self.raw.term())

    async def _tell(self, telling: Any) -> None:
        self._source.ended(self)
        with contextlib.suppress(*_DOWN):  # then it comes again
            await telling


async def _seen(error: Exception) -> None:
    """Errors of the connection show in what waits for it; nobody needs them in a log besides."""
