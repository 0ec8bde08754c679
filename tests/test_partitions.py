"""Partitions before real servers: total, one way, of acknowledgements only. Nothing is lost; what came twice is told.

A proxy stands between the router and the server, which is read without it. A partition lasts longer than an attempt,
and ends either with the connections as they were or with connections that lost something.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import servers
from broker_reading import amqp_url, declare, entries, make_stream, stored, taken
from broker_support import accounted, hub_to
from mqtt_support import Subscriber
from servers import Server
from turnout.testing import Direction, Proxy, Received, read_log

_LASTS = 1.5
"""Seconds of a partition; an attempt has one."""
_COUNT = 400
_numbers = itertools.count()


class Channel:
    """One kind of server: started once, with a new place to send to for each test."""

    tells_duplicates_apart = False
    """Whether the server itself leaves out what comes twice."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def destination(self, port: int) -> dict[str, Any]:
        """A destination that is reached by this port."""
        raise NotImplementedError

    async def received(self) -> list[Received]:
        raise NotImplementedError

    async def close(self) -> None:
        """Ends what a test began."""


class Webhook(Channel):
    async def destination(self, port: int) -> dict[str, Any]:
        self._path = f"d-{next(_numbers)}"
        return {"url": f"http://127.0.0.1:{port}/{self._path}", "options": {"allow": ["127.0.0.0/8"]}}

    async def received(self) -> list[Received]:
        log = read_log(self.server.directory / "log")
        return [Received(noted.id, b"") for noted in log if noted.destination == self._path]


class Redis(Channel):
    async def destination(self, port: int) -> dict[str, Any]:
        self._stream = f"stream-{next(_numbers)}"
        return {"url": f"redis://127.0.0.1:{port}/0", "options": {"stream": self._stream}}

    async def received(self) -> list[Received]:
        return await entries(self.server, self._stream)


class Nats(Channel):
    tells_duplicates_apart = True

    async def destination(self, port: int) -> dict[str, Any]:
        await make_stream(self.server)
        self._subject = f"orders.s-{next(_numbers)}"
        return {"url": f"nats://127.0.0.1:{port}", "options": {"subject": self._subject}}

    async def received(self) -> list[Received]:
        return await stored(self.server, self._subject)


class Amqp(Channel):
    async def destination(self, port: int) -> dict[str, Any]:
        self._queue = f"queue-{next(_numbers)}"
        await declare(self.server, self._queue)
        return {"url": amqp_url(self.server, port), "options": {"routing_key": self._queue}}

    async def received(self) -> list[Received]:
        return await taken(self.server, self._queue)


class Mqtt(Channel):
    _inbox: Subscriber | None = None

    async def destination(self, port: int) -> dict[str, Any]:
        self._inbox = await Subscriber(self.server.port).__aenter__()
        return {"url": f"mqtt://127.0.0.1:{port}", "options": {"topic": f"inbox/t-{next(_numbers)}"}}

    async def received(self) -> list[Received]:
        assert self._inbox is not None
        return await self._inbox.received()

    async def close(self) -> None:
        if self._inbox is not None:
            await self._inbox.__aexit__()


def _ids() -> list[str]:
    """Of one test; a server may remember those of others."""
    test = next(_numbers)
    return [f"m-{test}-{number}" for number in range(_COUNT)]


MADE = {
    Webhook: servers.webhook_receiver,
    Redis: servers.redis_server,
    Nats: servers.nats_server,
    Amqp: servers.rabbitmq_server,
    Mqtt: servers.mosquitto,
}


@pytest.fixture(scope="module", params=MADE, ids=lambda kind: kind.__name__.lower())
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Server]]:
    one = MADE[request.param](tmp_path_factory.mktemp("server"))
    one.start()
    yield request.param, one
    one.kill()


@pytest.fixture
async def channel(server: tuple[Any, Server]) -> AsyncIterator[Channel]:
    kind, process = server
    one: Channel = kind(process)
    yield one
    await one.close()


@pytest.mark.parametrize("direction", [None, "to_client"], ids=["total", "acknowledgements"])
async def test_nothing_is_lost_by_a_partition_that_holds_what_was_sent(
    channel: Channel, direction: Direction | None
) -> None:
    async with Proxy(channel.server.port) as proxy:

        async def cut_off() -> None:
            proxy.pause(direction)
            await asyncio.sleep(_LASTS)
            proxy.resume()

        hub = hub_to(await channel.destination(proxy.port), None)
        found = await accounted(hub, _ids(), cut_off, channel.received)
    print(f"{found.twice} of {found.sent} came twice")
    assert found.balanced, found
    if channel.tells_duplicates_apart:
        assert not found.duplicates


@pytest.mark.parametrize("direction", ["to_server", "to_client"], ids=["one_way", "acknowledgements"])
async def test_nothing_is_lost_by_a_partition_that_loses_what_was_sent(
    channel: Channel, direction: Direction, tmp_path: Path
) -> None:
    async with Proxy(channel.server.port) as proxy:

        async def cut_off() -> None:
            proxy.lose(direction)
            await asyncio.sleep(_LASTS)
            proxy.resume()

        hub = hub_to(await channel.destination(proxy.port), tmp_path / "outbox.db")
        found = await accounted(hub, _ids(), cut_off, channel.received)
    print(f"{found.twice} of {found.sent} came twice")
    assert found.balanced, found
    # What had arrived and was not acknowledged came again, unless the server knew it.
    if direction == "to_client":
        assert bool(found.duplicates) != channel.tells_duplicates_apart
