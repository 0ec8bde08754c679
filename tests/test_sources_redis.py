"""Redis streams as a source, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from servers import Server, redis_server
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
    one = redis_server(tmp_path / "redis")
    one.start()
    yield one
    one.kill()


def url(server: Server, **options: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"stream": "orders", "group": "hub", **options}.items())
    return f"redis://127.0.0.1:{server.port}/0?{query}"


def orders(server: Server, **options: Any) -> Source:
    return source(url(server, **options))


def add(server: Server, ids: list[str], **fields: Any) -> None:
    with redis.Redis(port=server.port) as client, client.pipeline(transaction=False) as pipeline:
        for name in ids:
            pipeline.xadd("orders", {"body": json.dumps({"id": name}), **fields})
        pipeline.execute()


def pending(server: Server) -> int:
    with redis.Redis(port=server.port) as client:
        found: int = client.xpending("orders", "hub")["pending"]
        return found


@pytest.mark.parametrize("outbox", [False, True])
def test_nothing_is_lost_where_the_bridge_is_killed(server: Server, tmp_path: Path, outbox: bool) -> None:
    ids = [f"m-{number}" for number in range(2000)]
    add(server, ids)
    survives_kills(tmp_path / "bridge", url(server, claim_after="300ms", prefetch=64), ids, outbox=outbox)
    assert pending(server) == 0


def test_processes_share_a_group(server: Server, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(3000)]
    add(server, ids)
    processes_share_the_work(tmp_path / "bridge", url(server, prefetch=16), ids)
    assert pending(server) == 0


async def test_nothing_is_lost_where_the_server_is_restarted(server: Server) -> None:
    async def send(number: int) -> None:
        add(server, [f"m-{number}"])

    await survives_a_restart(server, orders(server, claim_after="300ms"), send)


async def test_what_is_not_delivered_comes_again(server: Server) -> None:
    add(server, ["m"])
    await a_message_that_was_not_delivered_comes_again_after_the_delay(orders(server, nack_delay="300ms"), "m")
    assert pending(server) == 0


async def test_what_is_held_long_is_not_taken_over(server: Server) -> None:
    add(server, ["m"])
    hubs = [Hub(), Hub()]

    async def hold(_message: Any, _destination: str) -> None:
        hubs[0].delivered.append("m")
        await asyncio.sleep(1.5)

    for hub in hubs:
        hub.router.transport("send", hold)
    stop = asyncio.get_running_loop().time() + 1.2

    def until() -> bool:
        return asyncio.get_running_loop().time() > stop

    await asyncio.gather(*(hub.bring(orders(server, claim_after="300ms"), until) for hub in hubs))
    assert hubs[0].delivered == ["m"]
    assert pending(server) == 0


async def test_what_was_fetched_and_not_handed_over_is_free_at_once(server: Server) -> None:
    add(server, [f"m-{number}" for number in range(50)])
    first = orders(server)
    await first.open()
    async for incoming in first:
        await incoming.ack()
        break
    await first.close()
    assert pending(server) == 49
    hub = Hub()
    await hub.bring(orders(server), lambda: len(hub.delivered) == 49)


async def test_what_is_no_message_is_acknowledged_and_the_rest_goes_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis(port=server.port) as client:
        client.xadd("orders", {"body": "{"})
        client.xadd("orders", {"other": "{}"})
        client.xadd("orders", {"id": "named", "body": '{"id": ""}'})
    add(server, ["good"])
    hub = Hub()
    hub.router.transport("send", lambda message, destination: hub.delivered.append(str(message["id"])))
    await hub.bring(orders(server), lambda: len(hub.delivered) == 2)
    assert pending(server) == 0
    assert "rejected: not JSON" in caplog.text
    assert "rejected: the entry has no field 'body'" in caplog.text
