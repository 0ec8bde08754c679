"""``mqtt://USER@HOST:1883`` and ``mqtts:``: a message is published to a topic by MQTT 5 with QoS 1, with its id as the
user property ``message-id``, and the time it is still of use as its expiry.

Delivered when the broker acknowledged it. What no subscriber wants counts as failed (``mandatory``), if the broker says
so and the message is not retained: it would be gone. Whether a broker keeps what it acknowledged for a subscriber that
is away, or for its own restart, is a matter of its sessions and persistence. A publish whose acknowledgement is lost
may have been taken; a reader can tell by ``message-id``.

Publishes are pipelined on one connection, as many as the broker's receive maximum allows, 1,024 at most.

Classes of errors, by the reason code of the acknowledgement or of the refused connection: quota exceeded, busy, too
many connections: overloaded, for a second. Payload format invalid, or larger than the broker's maximum packet: the
message's fault. All else (not authorized, a topic it does not have, no connection): of the destination, so another may
take it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, MQTT_ERR_SUCCESS, ConnectFlags
from paho.mqtt.client import Client as Paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ..config.channels import MqttOptions
from ..errors import ConfigError, DeliveryError
from ..security import client_context
from .base import Target, limit_of
from .connection import Connection, describe
from .encoding import body_of, header_id

_PAUSE: Final = 1.0
_UNDER_WAY: Final = 1024
"""Publishes at once: enough to hide the way to any broker, and a bound where the broker names none."""
_LONGEST_ID: Final = 65_535
"""Bytes of a string in MQTT."""
_LONGEST_EXPIRY: Final = 2**32 - 1
_FAILED: Final = 0x80
"""Reason codes from here on are failures."""
_NO_SUBSCRIBER: Final = 0x10
_BUSY: Final = frozenset({0x88, 0x89, 0x96, 0x97, 0x9F})
"""Server unavailable, server busy, message rate too high, quota exceeded, connection rate exceeded."""
_AT_FAULT: Final = frozenset({0x95, 0x99})
"""Packet too large, payload format invalid."""

# What goes wrong is raised to whom it concerns; the client's own log would tell it a second time, on standard error.
_log = logging.getLogger(f"{__name__}.client")
_log.addHandler(logging.NullHandler())
_log.propagate = False


def _text(value: bytes) -> bytes:
    """As a string of MQTT."""
    return len(value).to_bytes(2, "big") + value


def _number(value: int) -> bytes:
    """As a variable byte integer."""
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


_JSON: Final = b"\x01\x01\x03" + _text(b"application/json")
"""The payload is UTF-8, and its content type."""
_ID: Final = b"\x26" + _text(b"message-id")
_ATTEMPT: Final = b"\x26" + _text(b"attempt")
"""Names of user properties; their values follow."""


class _Properties(Properties):
    """Properties of a publish that are encoded already (MQTT 5, 2.2.2): paho's own cost as much as the whole rest."""

    def __init__(self, encoded: bytes) -> None:
        self.__dict__["_packed"] = _number(len(encoded)) + encoded  # its own assignment allows what it knows alone

    def pack(self) -> bytes:
        packed: bytes = self.__dict__["_packed"]
        return packed

    def __str__(self) -> str:
        return f"{len(self.pack())} bytes"


class MqttTransport:
    """Publishes one destination's messages."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the options are missing, the url names no host, or the file of certificates cannot be
        read."""
        if not isinstance(target.options, MqttOptions):
            raise ConfigError("an mqtt: url needs the option `topic`")
        self._options = target.options
        parts = urlsplit(target.url_with_password())
        if not parts.hostname:
            raise ConfigError("the url names no host; write one such as mqtt://broker.example:1883")
        is_tls = parts.scheme == "mqtts"
        self._to: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or (8883 if is_tls else 1883),
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "identifier": self._options.client_id,
            "tls_context": client_context(self._options.ca_file) if is_tls else None,
            "timeout": self._options.timeout,
        }
        self._connection = Connection(
            self._connect,
            _disconnect,
            lambda client: client.connected,
            timeout=self._options.timeout,
            broken=(aiomqtt.MqttError, OSError, ValueError),
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
            DeliveryError: kinds ``unencodable``, ``too_large``, ``rejected``, ``overloaded``, ``unroutable``,
                ``refused``, ``timeout``, ``connection``.
        """
        options = self._options
        body = body_of(message, options.body)
        properties = self._properties(header_id(message_id), attempt, expires)
        async with self._connection.use() as client:
            try:
                async with asyncio.timeout(limit_of(options.timeout, deadline)):
                    reason = await client.published(options.topic, body, options.retain, properties)
            except TimeoutError:
                raise DeliveryError("timeout", f"no acknowledgement within {options.timeout:g} s") from None
            except (aiomqtt.MqttError, OSError) as error:
                raise DeliveryError("connection", describe(error)) from error
        if reason.value >= _FAILED:
            raise _judged(reason)
        if reason.value == _NO_SUBSCRIBER and options.mandatory and not options.retain:
            raise DeliveryError("unroutable", "nobody has subscribed to the topic")

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        await self._connection.close()

    def _properties(self, name: str, attempt: int, expires: float | None) -> _Properties:
        if len(name) > _LONGEST_ID:
            raise DeliveryError("unencodable", f"its id has more than {_LONGEST_ID} bytes", retryable=False)
        parts = [_JSON] if self._options.body == "message" else []
        if expires is not None:
            # Whole seconds; rounded up, for 0 would mean that it never reaches anybody.
            left = min(max(math.ceil(expires - time.time()), 1), _LONGEST_EXPIRY)
            parts.append(b"\x02" + left.to_bytes(4, "big"))
        parts += [_ID, _text(name.encode()), _ATTEMPT, _text(b"%d" % attempt)]
        return _Properties(b"".join(parts))

    async def _connect(self) -> _Client:
        client = _Client(**self._to)
        entering = asyncio.ensure_future(client.__aenter__())
        try:
            # The client connects in a thread, which cannot be stopped: what it still brings about is closed then.
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(lambda done: _forget(client, done))
            raise
        except MqttConnectError as error:
            if isinstance(error.rc, ReasonCode) and error.rc.value in _BUSY:
                raise _judged(error.rc) from error
            raise
        client.watch()
        return client


class _Client(aiomqtt.Client):
    """aiomqtt's client, whose own ``publish`` tells neither the reason code of an acknowledgement nor, before its time
    is up, that the connection was lost, and looks at all that wait for each that is added."""

    def __init__(self, **to: Any) -> None:
        super().__init__(
            protocol=aiomqtt.ProtocolVersion.V5,
            logger=_log,
            max_inflight_messages=0,  # no bound of paho's, which walks through all of them; `_room` is the bound
            clean_start=MQTT_CLEAN_START_FIRST_ONLY,
            **to,
        )
        self._client.connect_timeout = self.timeout
        self._thread = threading.get_ident()
        self._largest: int | None = None
        self._room = asyncio.Semaphore(_UNDER_WAY)
        self._waiting: dict[int, asyncio.Future[ReasonCode]] = {}

    @property
    def connected(self) -> bool:
        return not self._disconnected.done()

    def watch(self) -> None:
        """Ends what waits for an acknowledgement when the connection is lost; called once it is connected."""
        self._disconnected.add_done_callback(self._ended)

    async def published(self, topic: str, body: bytes, retain: bool, properties: _Properties) -> ReasonCode:
        """The broker's answer to a publish.

        Raises:
            DeliveryError: ``too_large``.
            MqttError: the connection is lost.
        """
        if self._largest is not None and (size := _size(topic, body, properties)) > self._largest:
            text = f"a packet of {size} bytes; the broker takes {self._largest}"
            raise DeliveryError("too_large", text, retryable=False)
        await self._room.acquire()
        mid = None
        try:
            if not self.connected:
                raise aiomqtt.MqttError("the connection was lost")
            info = self._client.publish(topic, body, 1, retain, properties)
            if info.rc != MQTT_ERR_SUCCESS:
                raise aiomqtt.MqttCodeError(info.rc, "cannot publish")
            mid = info.mid
        except ValueError as error:  # beyond what a packet can hold
            raise DeliveryError("too_large", str(error), retryable=False) from error
        finally:
            if mid is None:
                self._room.release()
        answer: asyncio.Future[ReasonCode] = self._loop.create_future()
        # Its place is free again when the acknowledgement comes, also where nobody waits for that any more.
        self._waiting[mid] = answer
        return await answer

    def _on_connect(
        self, client: Paho, userdata: Any, flags: ConnectFlags, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        self._largest = getattr(properties, "MaximumPacketSize", None)
        self._room = asyncio.Semaphore(min(getattr(properties, "ReceiveMaximum", _UNDER_WAY), _UNDER_WAY))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_socket_register_write(self, client: Paho, userdata: Any, sock: Any) -> None:
        if threading.get_ident() != self._thread:  # while it connects
            super()._on_socket_register_write(client, userdata, sock)
            return
        # At once: in the next turn of the loop the socket may be closed, and its number somebody else's.
        self._loop.add_writer(sock.fileno(), self._write, client)

    def _write(self, client: Paho) -> None:
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is of no more use
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_publish(self, client: Paho, userdata: Any, mid: int, reason_code: ReasonCode, properties: Any) -> None:
        answer = self._waiting.pop(mid, None)
        if answer is not None:
            self._room.release()
            if not answer.done():
                answer.set_result(reason_code)

    def _ended(self, disconnected: asyncio.Future[None]) -> None:
        error = disconnected.exception()
        said = "the connection was lost" if error is None else f"the connection was lost: {describe(error)}"
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for answer in waiting:
            self._room.release()  # each who waits for room finds out, and lets the next do so
            if not answer.done():
                answer.set_exception(aiomqtt.MqttError(said))


async def _disconnect(client: _Client) -> None:
    await client.__aexit__(None, None, None)


def _forget(client: _Client, entering: asyncio.Future[Any]) -> None:
    """Closes a connection that nobody waited for in the end."""
    if not entering.cancelled() and entering.exception() is None:
        client.watch()
        client._client.disconnect()  # what it answers to that is seen by `watch`


def _judged(reason: ReasonCode) -> DeliveryError:
    said = f"{reason.getName()} (0x{reason.value:02x})"
    if reason.value in _BUSY:
        return DeliveryError("overloaded", said, retry_after=_PAUSE)
    if reason.value in _AT_FAULT:
        return DeliveryError("rejected", said, retryable=False)
    return DeliveryError("refused", said)


def _size(topic: str, body: bytes, properties: _Properties) -> int:
    """Bytes of the packet of a publish (MQTT 5, 3.3)."""
    rest = 2 + len(topic.encode()) + 2 + len(properties.pack()) + len(body)
    return 1 + len(_number(rest)) + rest
