"""A JetStream pull consumer as a source, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import ConsumerConfig

from servers import Server, nats_server
from source_support import (
    Hub,
    a_message_that_was_not_delivered_comes_again_after_the_delay,
    processes_share_the_work,
    survives_a_restart,
    survives_kills,
)
from turnout.sources import Source, source


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = nats_server(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


def url(server: Server, **options: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"stream": "orders", "consumer": "hub", **options}.items())
    return f"nats://127.0.0.1:{server.port}?{query}"


def orders(server: Server, **options: Any) -> Source:
    return source(url(server, **options))


async def add(server: Server, bodies: list[bytes], **headers: str) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    try:
        stream = client.jetstream()
        await stream.add_stream(name="orders", subjects=["orders.*"])
        for begin in range(0, len(bodies), 500):
            await asyncio.gather(
                *(stream.publish("orders.new", body, headers=headers or None) for body in bodies[begin : begin + 500])
            )
    finally:
        await client.close()


def named(*ids: str) -> list[bytes]:
    return [json.dumps({"id": name}).encode() for name in ids]


async def unsettled(server: Server) -> int:
    """Messages that the consumer has not seen acknowledged or terminated."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    try:
        info = await client.jetstream().consumer_info("orders", "hub")
        return (info.num_ack_pending or 0) + (info.num_pending or 0)
    finally:
        await client.close()


@pytest.mark.parametrize("outbox", [False, True])
async def test_nothing_is_lost_where_the_bridge_is_killed(server: Server, tmp_path: Path, outbox: bool) -> None:
    ids = [f"m-{number}" for number in range(2000)]
    await add(server, named(*ids))
    where = url(server, ack_wait="500ms", prefetch=64)
    await asyncio.to_thread(survives_kills, tmp_path / "bridge", where, ids, outbox=outbox)
    assert await unsettled(server) == 0


async def test_processes_share_a_consumer(server: Server, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(3000)]
    await add(server, named(*ids))
    await asyncio.to_thread(processes_share_the_work, tmp_path / "bridge", url(server, prefetch=16), ids)
    assert await unsettled(server) == 0


async def test_nothing_is_lost_where_the_server_is_restarted(server: Server) -> None:
    await add(server, named(*(f"m-{number}" for number in range(1000))))

    await survives_a_restart(server, orders(server, ack_wait="1s"))


async def test_what_is_not_delivered_comes_again(server: Server) -> None:
    await add(server, named("m"))
    await a_message_that_was_not_delivered_comes_again_after_the_delay(orders(server, nack_delay="300ms"), "m")
    assert await unsettled(server) == 0


async def test_what_is_worked_on_for_long_does_not_come_again(server: Server) -> None:
    await add(server, named("m"))
    hub = Hub()

    async def hold(message: Any, _destination: str) -> None:
        hub.tried.setdefault(message["id"], []).append(0.0)
        await asyncio.sleep(2)
        hub.delivered.append(message["id"])

    hub.router.transport("send", hold)
    await hub.bring(orders(server, ack_wait="500ms"), lambda: bool(hub.delivered))
    assert (len(hub.tried["m"]), await unsettled(server)) == (1, 0)


async def test_messages_are_handed_over_as_they_come(server: Server) -> None:
    await add(server, [])
    one = orders(server)
    await one.open()
    messages = aiter(one)
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    for number in range(20):
        coming = asyncio.ensure_future(anext(messages))
        await client.jetstream().publish("orders.new", b'{"n": 1}')
        incoming = await coming
        assert incoming.id == f"orders-{number + 1}"
        await incoming.ack()
    await client.close()
    await one.close()
    assert await unsettled(server) == 0


async def test_what_is_no_message_is_terminated_and_the_id_of_the_producer_is_kept(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await add(server, [b"{"], **{"Nats-Msg-Id": "bad%20one"})
    await add(server, named("good"))
    hub = Hub()
    await hub.bring(orders(server), lambda: hub.delivered == ["good"])
    assert "bad one rejected: not JSON" in caplog.text
    assert await unsettled(server) == 0


async def test_a_consumer_that_is_there_is_taken_as_it_is(server: Server) -> None:
    await add(server, named("m"))
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    wanted = ConsumerConfig(durable_name="hub", filter_subject="orders.other")
    await client.jetstream().add_consumer("orders", wanted)
    await client.jetstream().publish("orders.other", b'{"id": "other"}')
    await client.close()
    hub = Hub()
    await hub.bring(orders(server), lambda: bool(hub.delivered))
    assert hub.delivered == ["other"]
