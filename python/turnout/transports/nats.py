"""``nats://HOST:4222``: a message is published to a subject of a JetStream stream, with its id as ``Nats-Msg-Id``.

It is delivered when the stream has acknowledged it. JetStream leaves out what has the same id within the stream's
duplicate window (two minutes unless set), so an attempt whose acknowledgement was lost does no harm. A NATS server
acknowledges before its disk is synced, unless it is told otherwise (``sync_interval: always``).

Publishes are pipelined: any number may wait for their acknowledgements at once, on one connection, which ends their
waiting when it is lost.

Classes of errors: a stream that is full or a server without resources: overloaded, for a second. A message above the
server's or the stream's size: the message's fault. No stream for the subject, no answer, no connection: of the
destination, so another may take it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError
from nats.js.api import Header, PubAck
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from ..config.channels import NatsOptions
from ..errors import ConfigError, DeliveryError
from ..security import client_context
from .base import Target, limit_of
from .connection import Connection, describe
from .encoding import body_of, header_id

_PAUSE: Final = 1.0
_PREAMBLE: Final = len("NATS/1.0\r\n\r\n")
_AROUND: Final = len(": \r\n")
"""Bytes of headers besides their names and values; they count into what a server takes."""
_NO_RESPONDERS: Final = "503"
_TOO_LARGE: Final = 10054
_FULL: Final = frozenset({10023, 10047, 10049, 10077, 10167})
"""JetStream's codes for: no resources, no storage, no memory, a full stream, too many waiting."""


class NatsTransport:
    """Publishes one destination's messages."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the options are missing, or the file of certificates cannot be read."""
        if not isinstance(target.options, NatsOptions):
            raise ConfigError("a nats: url needs the option `subject`")
        self._options = target.options
        self._url = target.url_with_password()
        self._tls = client_context(target.options.ca_file) if target.options.tls else None
        self._connection = Connection(
            self._connect,
            lambda made: made.client.close(),
            lambda made: made.client.is_connected,
            timeout=self._options.timeout,
            broken=(NatsError, OSError, ValueError),
        )

    def open(self) -> None:
        """Nothing is acquired before the first send."""

    async def send(
        self,
        message: object,
        destination: str,
        *,
        message_id: str,
        attempt: int,
        deadline: float | None = None,
        expires: float | None = None,
    ) -> object:
        """See :meth:`Transport.send`; returns JetStream's acknowledgement, with ``stream``, ``seq``, ``duplicate``.

        Raises:
            DeliveryError: kinds ``unencodable``, ``too_large``, ``overloaded``, ``no_stream``, ``timeout``,
                ``connection``, ``refused``.
        """
        options = self._options
        body = body_of(message, options.body)
        headers: dict[str, str] = {Header.MSG_ID: header_id(message_id)}
        if options.stream is not None:
            headers[Header.EXPECTED_STREAM] = options.stream
        size = len(body) + _PREAMBLE + sum(len(name) + len(value) + _AROUND for name, value in headers.items())
        async with self._connection.use() as made:
            if size > made.client.max_payload:  # the client would lose a place for each, and the server hang up
                text = f"{size} bytes with its headers; the server takes {made.client.max_payload}"
                raise DeliveryError("too_large", text, retryable=False)
            try:
                async with asyncio.timeout(limit_of(options.timeout, deadline)):
                    return await made.published(options.subject, body, headers)
            except TimeoutError:
                raise DeliveryError("timeout", f"no acknowledgement within {options.timeout:g} s") from None
            except (NatsError, OSError, ValueError, KeyError, TypeError) as error:
                raise _judged(error) from error

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        await self._connection.close()

    async def _connect(self) -> _Made:
        made = _Made()
        await made.client.connect(
            self._url,
            allow_reconnect=False,
            connect_timeout=self._options.timeout,  # type: ignore[arg-type]
            tls=self._tls,
            error_cb=_seen,
            closed_cb=made.lost,
        )
        await made.listen()
        return made


class _Made:
    """A connection, and what waits on it.

    Publishes as JetStream's protocol has it: with a subject to answer to, of which there is one subscription for all.
    The client's own ``publish`` makes a timer for each, and its ``publish_async`` (2.16) never ends for one that the
    stream refuses.
    """

    def __init__(self) -> None:
        self.client = Client()
        self._waiting: dict[str, asyncio.Future[PubAck]] = {}
        self._numbers = itertools.count()
        self._inbox = ""

    async def listen(self) -> None:
        """Subscribes to the answers; once, when it is connected."""
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def published(self, subject: str, body: bytes, headers: dict[str, str]) -> PubAck:
        """The stream's answer. Raises what the client does."""
        answer: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        token = str(next(self._numbers))
        self._waiting[token] = answer
        try:
            await self.client.publish(subject, body, reply=f"{self._inbox}.{token}", headers=headers)
            return await answer
        finally:
            del self._waiting[token]

    async def lost(self) -> None:
        """Ends what waits, which the client leaves to its time limit."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionClosedError())

    async def _answered(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is None or answer.done():  # nobody waits for it any more
            return
        try:
            answer.set_result(_acknowledged(message))
        except (NatsError, ValueError, KeyError, TypeError) as error:
            answer.set_exception(error)


def _acknowledged(message: Msg) -> PubAck:
    """What the stream answered; raises NatsError if it is a refusal, others if it is nothing that can be read."""
    if message.headers and message.headers.get(Header.STATUS) == _NO_RESPONDERS:
        raise NoStreamResponseError
    found = json.loads(message.data)
    if "error" in found:
        raise APIError.from_error(found["error"])
    return PubAck.from_response(found)


async def _seen(error: Exception) -> None:
    """Errors of the connection end the sends that wait on it; nobody needs them in a log besides."""


def _judged(error: Any) -> DeliveryError:
    said = describe(error)
    if isinstance(error, NoStreamResponseError):
        return DeliveryError("no_stream", "no stream has the subject, or JetStream is off")
    if isinstance(error, APIError):
        if error.err_code == _TOO_LARGE:
            return DeliveryError("too_large", said, retryable=False)
        if error.err_code in _FULL or isinstance(error, ServiceUnavailableError):
            return DeliveryError("overloaded", said, retry_after=_PAUSE)
        return DeliveryError("refused", said)
    return DeliveryError("connection", said)
