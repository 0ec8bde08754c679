"""``amqp://USER@HOST/VHOST``: a message is published to an exchange of RabbitMQ, persistent, with its id as
``message_id`` (of one longer than 255 bytes the beginning, and all of it in the header ``x-message-id``).

Delivered when the broker confirmed it, so when every queue it was routed to has it; for a queue that survives the loss
of a node, declare a quorum queue. ``mandatory``: a message that no queue wants comes back and is not lost in silence.
Publishes are pipelined: any number may wait for their confirms, on one channel. Nothing is declared here; exchange and
queue must be there. A confirm that is lost may stand for a message that was taken; a reader can tell by ``message_id``.
A message with a deadline of its own has what is left of it as ``expiration``: later no reader gets it.

Classes of errors: a message that the broker does not take (``basic.nack``, as of a queue that is full): overloaded,
for a second. One above the broker's size: the message's fault. No route, no exchange, no rights, no connection: of the
destination, so another may take it.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, Final
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError, ChannelClosed, ChannelPreconditionFailed, PublishError
from aio_pika.exceptions import DeliveryError as NotTakenError

from ..config.channels import AmqpOptions
from ..errors import ConfigError, DeliveryError
from ..security import client_context
from .base import Target, limit_of
from .connection import Connection, describe
from .encoding import body_of, header_id

_PAUSE: Final = 1.0
_LONGEST_ID: Final = 255
"""Bytes of a short string in AMQP."""
_LONGEST_EXPIRATION: Final = 4_294_967.0
"""Seconds: RabbitMQ refuses more than 2^32 - 1 milliseconds."""
_LIMIT: Final = re.compile(r"larger than (?:configured )?max size (\d+)")
"""How RabbitMQ tells its limit, of old and new versions."""

_Made = tuple[AbstractConnection, AbstractChannel, AbstractExchange]


class AmqpTransport:
    """Publishes one destination's messages."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the options are missing, or the file of certificates cannot be read."""
        if not isinstance(target.options, AmqpOptions):
            raise ConfigError("an amqp: url needs the option `routing_key`")
        self._options = target.options
        self._url = target.url_with_password()
        is_tls = urlsplit(self._url).scheme == "amqps"
        self._tls = client_context(target.options.ca_file) if is_tls else None
        self._connection: Connection[_Made] = Connection(
            self._connect,
            lambda made: made[0].close(),
            lambda made: not made[0].is_closed and not made[1].is_closed,
            timeout=self._options.timeout,
            broken=(AMQPError, OSError, RuntimeError, ValueError),
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
    ) -> None:
        """See :meth:`Transport.send`.

        Raises:
            DeliveryError: kinds ``unencodable``, ``too_large``, ``overloaded``, ``unroutable``, ``timeout``,
                ``connection``, ``refused``.
        """
        options = self._options
        name = header_id(message_id)
        headers: dict[str, Any] = {"x-attempt": attempt}
        if len(name) > _LONGEST_ID:
            headers["x-message-id"] = name
        left = None if expires is None else min(max(expires - time.time(), 0.0), _LONGEST_EXPIRATION)
        body = body_of(message, options.body)
        publishing = aio_pika.Message(
            body,
            content_type="application/json" if options.body == "message" else "application/octet-stream",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=name[:_LONGEST_ID],
            headers=headers,
            expiration=left,
        )
        async with self._connection.use() as made:
            try:
                async with asyncio.timeout(
                    limit_of(options.timeout, deadline)
                ):  # the client's own would cost a task a message
                    await made[2].publish(publishing, options.routing_key, mandatory=True)
            except TimeoutError:
                raise DeliveryError("timeout", f"no confirm within {options.timeout:g} s") from None
            except (AMQPError, OSError, RuntimeError) as error:
                if not isinstance(error, (PublishError, NotTakenError)):
                    self._connection.drop(made)
                raise _judged(error, len(body)) from error

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        await self._connection.close()

    async def _connect(self) -> _Made:
        connection = await aio_pika.connect(self._url, timeout=self._options.timeout, ssl_context=self._tls)
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            name = self._options.exchange
            exchange = await channel.get_exchange(name) if name else channel.default_exchange
        except BaseException:
            await connection.close()
            raise
        return connection, channel, exchange


def _judged(error: Any, size: int) -> DeliveryError:
    """What an error means for a message of so many bytes. The broker closes the channel on one that is too large, so
    everyone who waits for a confirm on it hears of that."""
    said = describe(error)
    if isinstance(error, PublishError):
        return DeliveryError("unroutable", "no queue takes what has this routing key")
    if isinstance(error, NotTakenError):
        return DeliveryError("overloaded", "the broker does not take it, as where a queue is full", retry_after=_PAUSE)
    if isinstance(error, ChannelPreconditionFailed) and (limit := _LIMIT.search(said)) is not None:
        if size > int(limit[1]):
            return DeliveryError("too_large", said, retryable=False)
        return DeliveryError("connection", "the broker closed the channel because of another message")
    return DeliveryError("refused" if isinstance(error, ChannelClosed) else "connection", said)
