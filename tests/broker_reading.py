"""What has arrived at a broker, read by its bare client."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import nats
import redis.asyncio
from aio_pika.abc import AbstractIncomingMessage
from nats.aio.msg import Msg
from nats.js.api import RetentionPolicy, StreamConfig

from servers import Server
from turnout.testing import Received


async def entries(server: Server, stream: str = "orders") -> list[Received]:
    async with redis.asyncio.Redis(port=server.port) as client:
        found: Any = await client.xrange(stream)
    return [Received(fields[b"id"].decode(), fields[b"body"]) for _, fields in found]


async def make_stream(server: Server, **limits: Any) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    config = StreamConfig(name="orders", subjects=["orders.*"], retention=RetentionPolicy.LIMITS, **limits)
    try:
        await client.jetstream().add_stream(config)
    except nats.js.errors.BadRequestError:
        await client.jetstream().update_stream(config)
    await client.close()


async def stored(server: Server, subject: str | None = None) -> list[Received]:
    """What the stream has, of one subject or of all."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    try:
        jetstream = client.jetstream()
        count = (await jetstream.stream_info("orders")).state.messages
        if not count:
            return []
        pull = await jetstream.pull_subscribe("orders.*", stream="orders")
        found: list[Msg] = []
        while len(found) < count:
            for one in await pull.fetch(min(500, count - len(found)), timeout=5):
                found.append(one)
                await one.ack()
        await pull.unsubscribe()
        return [
            Received((one.headers or {})["Nats-Msg-Id"], one.data)
            for one in found
            if subject is None or one.subject == subject
        ]
    finally:
        await client.close()


def amqp_url(server: Server, port: int | None = None) -> str:
    return f"amqp://guest:guest@127.0.0.1:{port or server.port}/"


async def declare(server: Server, queue: str, **arguments: Any) -> None:
    async with await aio_pika.connect(amqp_url(server)) as connection:
        await (await connection.channel()).declare_queue(queue, durable=True, arguments=arguments or None)


async def taken(server: Server, queue: str) -> list[Received]:
    """Takes out what is in the queue."""
    found: list[Received] = []
    async with await aio_pika.connect(amqp_url(server)) as connection:
        one = await (await connection.channel()).declare_queue(queue, passive=True, timeout=60)
        arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        tag = await one.consume(arrived.put, no_ack=True, timeout=60)
        async with asyncio.timeout(60):
            while len(found) < (one.declaration_result.message_count or 0):
                message = await arrived.get()
                name = str(message.headers.get("x-message-id", message.message_id))
                found.append(Received(name, message.body))
        await one.cancel(tag)
    return found
