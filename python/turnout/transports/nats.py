"""``nats://HOST:4222``: a message is published to a subject of a JetStream stream, with its id as ``Nats-Msg-Id``.

It is delivered when the stream has acknowledged it. JetStream leaves out what has the same id within the stream's
duplicate window (two minutes unless set), so an attempt whose acknowledgement was lost does no harm. A NATS server
acknowledges before its disk is synced, unless it is told otherwise (``sync_interval: always``).

Publishes are pipelined: any number may wait for their acknowledgements at once, on one connection.

Classes of errors: a stream that is full or a server without resources: overloaded, for a second. A message above the
server's or the stream's size: the message's fault. No stream for the subject, no answer, no connection: of the
destination, so another may take it.
"""

from __future__ import annotations

from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from ..config.channels import NatsOptions
from ..errors import ConfigError, DeliveryError
from ..security import client_context
from .base import Target
from .connection import Connection, describe
from .encoding import body_of, header_id

_PAUSE: Final = 1.0
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
            lambda made: made[0].close(),
            lambda made: made[0].is_connected,
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
        headers = {"Nats-Msg-Id": header_id(message_id)}
        async with self._connection.use() as (_, stream):
            try:
                return await stream.publish(
                    options.subject, body, timeout=options.timeout, stream=options.stream, headers=headers
                )
            except (NatsError, OSError) as error:
                raise _judged(error) from error

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        await self._connection.close()

    async def _connect(self) -> tuple[Client, JetStreamContext]:
        made = await nats.connect(
            self._url, allow_reconnect=False, connect_timeout=self._options.timeout, tls=self._tls, error_cb=_seen
        )
        return made, made.jetstream()


async def _seen(error: Exception) -> None:
    """Errors of the connection end the sends that wait on it; nobody needs them in a log besides."""


def _judged(error: Any) -> DeliveryError:
    said = describe(error)
    if isinstance(error, MaxPayloadError):
        return DeliveryError("too_large", said, retryable=False)
    if isinstance(error, NoStreamResponseError):
        return DeliveryError("no_stream", "no stream has the subject, or JetStream is off")
    if isinstance(error, APIError):
        if error.err_code == _TOO_LARGE:
            return DeliveryError("too_large", said, retryable=False)
        if error.err_code in _FULL or isinstance(error, ServiceUnavailableError):
            return DeliveryError("overloaded", said, retry_after=_PAUSE)
        return DeliveryError("refused", said)
    return DeliveryError("timeout" if isinstance(error, NatsTimeoutError) else "connection", said)
