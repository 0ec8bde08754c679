"""A queue of RabbitMQ as a source, against a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from servers import Server, rabbitmq_server
from source_support import (
    Hub,
    a_message_that_was_not_delivered_comes_again_after_the_delay,
    processes_share_the_work,
    survives_a_restart,
    survives_kills,
)
from turnout.sources import Source, source


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = rabbitmq_server(tmp_path_factory.mktemp("rabbitmq"))
    one.start()
    yield one
    one.kill()


def url(broker: Server, queue: str, **options: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"queue": queue, **options}.items())
    return f"amqp://guest:guest@127.0.0.1:{broker.port}/?{query}"


def orders(broker: Server, queue: str, **options: Any) -> Source:
    return source(url(broker, queue, **options))


async def add(broker: Server, queue: str, bodies: list[bytes], **arguments: Any) -> None:
    """Declares the queue and fills it."""
    connection = await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{broker.port}/")
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments=arguments)
        for begin in range(0, len(bodies), 500):
            await asyncio.gather(
                *(
                    channel.default_exchange.publish(
                        aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), queue
                    )
                    for body in bodies[begin : begin + 500]
                )
            )


def named(*ids: str) -> list[bytes]:
    return [json.dumps({"id": name}).encode() for name in ids]


async def waiting(broker: Server, queue: str) -> int:
    connection = await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{broker.port}/")
    async with connection:
        channel = await connection.channel()
        found = await channel.get_queue(queue)
        return found.declaration_result.message_count or 0


@pytest.mark.parametrize("outbox", [False, True])
async def test_nothing_is_lost_where_the_bridge_is_killed(broker: Server, tmp_path: Path, outbox: bool) -> None:
    queue, ids = f"kills-{outbox}", [f"m-{number}" for number in range(2000)]
    await add(broker, queue, named(*ids))
    where = url(broker, queue, prefetch=64)
    await asyncio.to_thread(survives_kills, tmp_path / "bridge", where, ids, outbox=outbox)
    assert await waiting(broker, queue) == 0


async def test_processes_share_a_queue(broker: Server, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(3000)]
    await add(broker, "shared", named(*ids))
    await asyncio.to_thread(processes_share_the_work, tmp_path / "bridge", url(broker, "shared", prefetch=16), ids)
    assert await waiting(broker, "shared") == 0


async def test_what_is_not_delivered_comes_again(broker: Server) -> None:
    await add(broker, "again", named("m"))
    one = orders(broker, "again", nack_delay="300ms")
    await a_message_that_was_not_delivered_comes_again_after_the_delay(one, "m")
    assert await waiting(broker, "again") == 0


async def test_what_was_fetched_and_not_handed_over_goes_back_at_once(broker: Server) -> None:
    await add(broker, "back", named(*(f"m-{number}" for number in range(50))))
    first = orders(broker, "back")
    await first.open()
    async for incoming in first:
        await incoming.ack()
        break
    await first.close()
    assert await waiting(broker, "back") == 49


async def test_what_is_no_message_is_rejected_to_the_dead_letter_exchange(
    broker: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await add(broker, "bad-ones", [])
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "bad-ones"}
    await add(broker, "poison", [b"[1]", *named("good")], **arguments)
    hub = Hub()
    await hub.bring(orders(broker, "poison"), lambda: hub.delivered == ["good"])
    assert "rejected: not a message" in caplog.text
    assert (await waiting(broker, "poison"), await waiting(broker, "bad-ones")) == (0, 1)


async def test_a_queue_that_comes_later_is_waited_for(broker: Server) -> None:
    hub = Hub()
    running = asyncio.create_task(hub.bring(orders(broker, "later", timeout="2s"), lambda: bool(hub.delivered)))
    await asyncio.sleep(0.3)
    await add(broker, "later", named("m"))
    await running
    assert hub.delivered == ["m"]


async def test_nothing_is_lost_where_the_broker_is_restarted(broker: Server) -> None:
    await add(broker, "restart", named(*(f"m-{number}" for number in range(1000))))

    await survives_a_restart(broker, orders(broker, "restart", prefetch=32))
