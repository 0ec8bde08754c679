"""The channels: a server of each, and the ways to send one message through it.

Each way sends the same message, encodes it as JSON, and returns when the server has acknowledged it. Bare clients are
used as their documentation says is fastest; what they need is pipelined by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import aiomqtt
import confluent_kafka
import nats
import redis.asyncio
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

import servers
from servers import Server
from transport_support import made
from turnout import Router

UNDER_WAY = 256
MESSAGE: dict[str, Any] = {
    "channel": "sms", "priority": 5, "key": "customer-4711",
    "content": {"text": "Your parcel arrives today between 10 and 12.", "order": {"total": 129.9, "items": [1, 2, 3]}},
}  # fmt: skip

One = Callable[[int], Awaitable[object]]
"""Sends one message, of this number."""
Ways = dict[str, One]
"""By name: ``bare``, ``transport``, ``dispatch``, and ``faststream`` where it has the channel and is installed."""


def encoded() -> bytes:
    return json.dumps(MESSAGE).encode()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.kill)


async def ours(stack: AsyncExitStack, url: str, **options: Any) -> Ways:
    """Our two ways to a url."""
    transport = made(url, **options)
    transport.open()
    stack.push_async_callback(transport.close)
    hub = Router({"destinations": {"d": {"url": url, "options": options}}, "default": "default"})
    await stack.enter_async_context(hub)

    async def through(number: int) -> None:
        now = time.time()
        await transport.send(MESSAGE, "d", message_id=f"{now}-{number}", attempt=1, deadline=now + 5.0)

    async def dispatched(number: int) -> None:
        delivery = await hub.dispatch(MESSAGE)
        assert delivery.delivered, delivery

    return {"transport": through, "dispatch": dispatched}


@asynccontextmanager
async def webhook(directory: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(servers.webhook_receiver(directory)))
        url = f"http://127.0.0.1:{server.port}/"
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def bare(number: int) -> None:
            headers = {"content-type": "application/json", "webhook-id": str(number)}
            async with session.post(url, data=encoded(), headers=headers) as answer:
                await answer.read()

        yield {"bare": bare, **await ours(stack, url, allow=["127.0.0.0/8"])}


@asynccontextmanager
async def over_nats(directory: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(servers.nats_server(directory)))
        url = f"nats://127.0.0.1:{server.port}"
        client = await nats.connect(url)
        stack.push_async_callback(client.close)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="orders", subjects=["orders"])

        async def bare(number: int) -> None:
            await jetstream.publish("orders", encoded(), headers={"Nats-Msg-Id": f"{time.time()}-{number}"})

        ways = {"bare": bare, **await ours(stack, url, subject="orders")}
        with contextlib.suppress(ImportError):
            from faststream.nats import NatsBroker

            broker = await stack.enter_async_context(NatsBroker(url))

            async def faststream(number: int) -> None:
                await broker.publish(
                    MESSAGE, "orders", stream="orders", headers={"Nats-Msg-Id": f"{time.time()}-{number}"}
                )

            ways["faststream"] = faststream
        yield ways


@asynccontextmanager
async def over_redis(directory: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(servers.redis_server(directory)))
        url = f"redis://127.0.0.1:{server.port}"
        client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
        waiting: list[asyncio.Future[None]] = []

        async def bare(number: int) -> None:
            """Pipelined by hand: whoever completes a group of half as many as are under way sends it."""
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(done)
            if len(waiting) < UNDER_WAY // 2:
                await done
                return
            group = waiting.copy()
            waiting.clear()
            async with client.pipeline(transaction=False) as pipeline:
                for position in range(len(group)):
                    pipeline.xadd("bare", {"id": f"{number}-{position}", "body": encoded()})
                await pipeline.execute()
            for one in group:
                one.set_result(None)

        ways = {"bare": bare, **await ours(stack, url, stream="orders")}
        with contextlib.suppress(ImportError):
            from faststream.redis import RedisBroker

            broker = await stack.enter_async_context(RedisBroker(url, max_connections=UNDER_WAY))

            async def faststream(number: int) -> None:
                await broker.publish(MESSAGE, stream="faststream")

            ways["faststream"] = faststream
        yield ways


@asynccontextmanager
async def over_amqp(directory: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(servers.rabbitmq_server(directory)))
        url = f"amqp://guest:guest@127.0.0.1:{server.port}/"
        connection = await stack.enter_async_context(await aio_pika.connect(url))
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue("orders", durable=True)

        async def bare(number: int) -> None:
            message = aio_pika.Message(
                encoded(), message_id=str(number), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            await channel.default_exchange.publish(message, "orders", mandatory=True)

        ways = {"bare": bare, **await ours(stack, url, routing_key="orders")}
        with contextlib.suppress(ImportError):
            from faststream.rabbit import RabbitBroker

            broker = await stack.enter_async_context(RabbitBroker(url))

            async def faststream(number: int) -> None:
                await broker.publish(MESSAGE, routing_key="orders", persist=True, message_id=str(number))

            ways["faststream"] = faststream
        yield ways


@asynccontextmanager
async def over_mqtt(directory: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(servers.mosquitto(directory)))
        given: dict[str, Any] = {"protocol": aiomqtt.ProtocolVersion.V5, "max_inflight_messages": UNDER_WAY}
        client = await stack.enter_async_context(aiomqtt.Client("127.0.0.1", server.port, **given))
        client.pending_calls_threshold = UNDER_WAY

        async def bare(number: int) -> None:
            await client.publish("orders", encoded(), qos=1)

        ways = {"bare": bare, **await ours(stack, f"mqtt://127.0.0.1:{server.port}", topic="orders", mandatory=False)}
        with contextlib.suppress(ImportError):
            from faststream.mqtt import MQTTBroker, QoS

            broker = await stack.enter_async_context(MQTTBroker("127.0.0.1", server.port))

            async def faststream(number: int) -> None:
                await broker.publish(MESSAGE, "orders", qos=QoS.AT_LEAST_ONCE)

            ways["faststream"] = faststream
        yield ways


@asynccontextmanager
async def over_kafka(directory: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(servers.kafka(directory)))
        address = f"127.0.0.1:{server.port}"
        admin = AdminClient({"bootstrap.servers": address})
        await asyncio.to_thread(admin.create_topics([NewTopic("orders", 3, 1)])["orders"].result, 30)
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "linger.ms": 2},
            logger=logging.getLogger(),
        )
        loop = asyncio.get_running_loop()

        async def polled() -> None:
            while True:
                producer.poll(0)
                await asyncio.sleep(0.001)

        polling = asyncio.create_task(polled())
        stack.callback(polling.cancel)

        async def bare(number: int) -> None:
            done = loop.create_future()

            def report(error: object, message: object) -> None:
                done.set_result(error)

            producer.produce("orders", encoded(), key=b"customer-4711", on_delivery=report)
            assert await done is None

        ways = {"bare": bare, **await ours(stack, f"kafka://{address}", topic="orders")}
        with contextlib.suppress(ImportError):
            from faststream.confluent import KafkaBroker

            given: dict[str, Any] = {"acks": "all", "enable_idempotence": True, "linger_ms": 2}
            broker = await stack.enter_async_context(KafkaBroker(address, **given))

            async def faststream(number: int) -> None:
                await broker.publish(MESSAGE, "orders", key=b"customer-4711")

            ways["faststream"] = faststream
        yield ways


CHANNELS: Mapping[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Ways]]] = {
    "webhook": webhook,
    "nats": over_nats,
    "redis": over_redis,
    "amqp": over_amqp,
    "mqtt": over_mqtt,
    "kafka": over_kafka,
}
