"""Messages a second through a transport beside the bare client of the same channel, in one run on one server.

Each side has the same message, encodes it as JSON, and keeps the same number of sends under way. Rounds alternate, and
the best of each side counts: the machine may be shared. Servers are processes of their own on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import nats
import redis.asyncio

from servers import Server, nats_server, rabbitmq_server, redis_server
from transport_support import made
from turnout.transports import Transport

UNDER_WAY = 256
MESSAGE: dict[str, Any] = {
    "channel": "sms", "priority": 5, "key": "customer-4711",
    "content": {"text": "Your parcel arrives today between 10 and 12.", "order": {"total": 129.9, "items": [1, 2, 3]}},
}  # fmt: skip

One = Callable[[int], Awaitable[object]]
"""Sends one message, of this number."""


async def rate(one: One, count: int) -> float:
    """Messages a second, ``UNDER_WAY`` at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(UNDER_WAY)))
    return count / (time.perf_counter() - started)


def through(transport: Transport, prefix: str) -> One:
    async def one(number: int) -> None:
        await transport.send(MESSAGE, "d", message_id=f"{prefix}-{number}", attempt=1)

    return one


def encoded() -> bytes:
    return json.dumps(MESSAGE).encode()


@asynccontextmanager
async def webhook(directory: Path) -> AsyncIterator[tuple[Transport, One]]:
    command = [sys.executable, "-m", "turnout.testing.receiver", "/dev/null"]
    receiver = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220 - nothing else runs yet
    assert receiver.stdout is not None
    url = f"http://127.0.0.1:{int(receiver.stdout.readline())}/"
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def bare(number: int) -> None:
                headers = {"content-type": "application/json", "webhook-id": str(number)}
                async with session.post(url, data=encoded(), headers=headers) as answer:
                    await answer.read()

            yield made(url, allow=["127.0.0.0/8"]), bare
    finally:
        receiver.kill()
        receiver.communicate()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[str]:
    await asyncio.to_thread(server.start)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.kill()


@asynccontextmanager
async def over_nats(directory: Path) -> AsyncIterator[tuple[Transport, One]]:
    async with running(nats_server(directory)) as address:
        client = await nats.connect(f"nats://{address}")
        jetstream = client.jetstream()
        await jetstream.add_stream(name="orders", subjects=["orders"])

        async def bare(number: int) -> None:
            await jetstream.publish("orders", encoded(), headers={"Nats-Msg-Id": f"{time.time()}-{number}"})

        yield made(f"nats://{address}", subject="orders"), bare
        await client.close()


@asynccontextmanager
async def over_redis(directory: Path) -> AsyncIterator[tuple[Transport, One]]:
    async with (
        running(redis_server(directory)) as address,
        redis.asyncio.Redis.from_url(f"redis://{address}") as client,
    ):
        waiting: list[asyncio.Future[None]] = []

        async def bare(number: int) -> None:
            """The bare client, pipelined by hand: whoever completes a group of as many as are under way sends it."""
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

        yield made(f"redis://{address}", stream="orders"), bare


@asynccontextmanager
async def over_amqp(directory: Path) -> AsyncIterator[tuple[Transport, One]]:
    async with running(rabbitmq_server(directory)) as address:
        connection = await aio_pika.connect(f"amqp://guest:guest@{address}/")
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue("orders", durable=True)

        async def bare(number: int) -> None:
            message = aio_pika.Message(
                encoded(), message_id=str(number), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            await channel.default_exchange.publish(message, "orders", mandatory=True)

        yield made(f"amqp://guest:guest@{address}/", routing_key="orders"), bare
        await connection.close()


CHANNELS = {"webhook": webhook, "nats": over_nats, "redis": over_redis, "amqp": over_amqp}


async def measure(name: str, count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with CHANNELS[name](Path(directory)) as (transport, bare):
            transport.open()
            best = [0.0, 0.0]
            for number in range(rounds):
                best[0] = max(best[0], await rate(bare, count))
                best[1] = max(best[1], await rate(through(transport, f"r{number}"), count))
            await transport.close()
    print(f"| {name} | {best[0]:,.0f} | {best[1]:,.0f} | {best[1] / best[0]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    parser.add_argument("--only", choices=sorted(CHANNELS))
    given = parser.parse_args()
    count = 2_048 if given.quick else 8_192  # a multiple of what is under way, or the last group would wait for ever
    print("| channel | bare client, messages/s | transport, messages/s | ratio |\n|---|---:|---:|---:|", flush=True)
    for name in [given.only] if given.only else CHANNELS:
        asyncio.run(measure(name, count, 3 if given.quick else 7))


if __name__ == "__main__":
    main()
