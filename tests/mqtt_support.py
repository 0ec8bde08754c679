"""The other end of MQTT: a subscriber that outlives the broker, and a broker that answers as told.

mosquitto acknowledges a message before it has saved it, so what it keeps for a subscriber that is away is lost by a
kill. But a message that somebody has subscribed to is in his socket before it is acknowledged, by QoS 0 at once; so
this subscriber, which reads to the end and writes nothing that could fail, has whatever was acknowledged.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiomqtt

from turnout.testing import Received

_numbers = itertools.count()


def client(port: int, **options: Any) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, **options)


class Subscriber:
    """Keeps what arrives under ``inbox/``; it comes back when the broker does."""

    def __init__(self, port: int) -> None:
        self.messages: list[aiomqtt.Message] = []
        self._port = port
        self._there = asyncio.Event()
        self._ends: set[bytes] = set()

    async def __aenter__(self) -> Subscriber:
        self._task = asyncio.create_task(self._listen())
        await self._there.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def received(self) -> list[Received]:
        """What was published until now: an end mark comes after it."""
        mark = f"end-{next(_numbers)}".encode()
        async with asyncio.timeout(30), client(self._port) as marking:
            while mark not in self._ends:
                await marking.publish("inbox/end", mark, qos=1)
                await asyncio.sleep(0.02)
        return [Received(user(one)["message-id"], bytes(one.payload)) for one in self.messages]

    async def _listen(self) -> None:
        while True:
            try:
                async with client(self._port) as connected:
                    await connected.subscribe("inbox/#", qos=0)
                    self._there.set()
                    async for message in connected.messages:
                        if str(message.topic) == "inbox/end":
                            self._ends.add(bytes(message.payload))
                        else:
                            self.messages.append(message)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.02)


def user(message: aiomqtt.Message) -> dict[str, str]:
    """The user properties of a message."""
    assert message.properties is not None
    return dict(message.properties.UserProperty)  # type: ignore[attr-defined]


class Broker:
    """Answers each publish with ``code``, or never (None); refuses to be connected to with ``refusal``."""

    def __init__(self, code: int | None = 0, refusal: int = 0, receive_maximum: int = 100) -> None:
        self.code, self.refusal, self.receive_maximum = code, refusal, receive_maximum
        self.published: list[int] = []
        self.waiting: list[asyncio.StreamWriter] = []
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self.waiting:
            writer.transport.abort()

    def acknowledge(self, identifier: int, code: int) -> None:
        self.waiting[-1].write(bytes([0x40, 3]) + identifier.to_bytes(2, "big") + bytes([code]))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting.append(writer)
        try:
            while True:
                kind, packet = await _packet(reader)
                if kind >> 4 == 1:
                    told = b"\x21" + self.receive_maximum.to_bytes(2, "big")
                    writer.write(bytes([0x20, 3 + len(told), 0, self.refusal, len(told)]) + told)
                elif kind >> 4 == 3:
                    topic = int.from_bytes(packet[:2], "big")
                    self.published.append(int.from_bytes(packet[2 + topic : 4 + topic], "big"))
                    if self.code is not None:
                        self.acknowledge(self.published[-1], self.code)
                elif kind >> 4 == 12:
                    writer.write(b"\xd0\x00")
                else:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return kind, await reader.readexactly(length)
        shift += 7
