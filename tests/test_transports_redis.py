"""Redis Streams, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from broker_reading import entries
from broker_support import survives_a_restart
from servers import Server, redis_server
from transport_support import made, refusal, send
from turnout.errors import ConfigError, DeliveryError
from turnout.testing import Received, TransportCase, checks_for
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = redis_server(tmp_path / "redis")
    one.start()
    yield one
    one.kill()


def stream(server: Server) -> Transport:
    return made(f"redis://127.0.0.1:{server.port}/0", stream="orders", timeout="2s")


async def told(server: Server, *command: str) -> object:
    async with redis.asyncio.Redis(port=server.port) as client:
        return await client.execute_command(*command)


class RedisCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    def __init__(self, server: Server) -> None:
        self._server = server
        self._least = 0

    def message(self, number: int, size: int = 0) -> dict[str, Any]:
        return super().message(number, max(size, self._least))

    def transport(self) -> Transport:
        return stream(self._server)

    async def received(self) -> list[Received]:
        return await entries(self._server)

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                self._server.kill()
            case "overloaded":
                await told(self._server, "CONFIG", "SET", "maxmemory", "1")
            case "permanent":
                await told(self._server, "CONFIG", "SET", "proto-max-bulk-len", str(2**20))
                self._least = 2**20
            case "hanging":
                self._server.pause()

    async def recover(self) -> None:
        if not self._server.running:
            self._server.start()
        self._server.go_on()
        await told(self._server, "CONFIG", "SET", "maxmemory", "0")
        self._least = 0


@pytest.mark.parametrize("check", checks_for(RedisCase), ids=str)
async def test_redis_conforms(check: Check, server: Server) -> None:
    await check(RedisCase(server))


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(
    server: Server, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    destination = {"url": url, "options": {"stream": "orders"}}
    await survives_a_restart(server, destination, lambda: entries(server), tmp_path / "outbox.db")


async def test_sends_at_the_same_time_share_round_trips(server: Server) -> None:
    transport = stream(server)
    await asyncio.gather(*(send(transport, {"n": number}, str(number)) for number in range(1000)))
    await transport.close()
    async with redis.asyncio.Redis(port=server.port) as client:
        calls = (await client.info("stats"))["total_reads_processed"]
    assert calls < 300
    assert {one.id for one in await entries(server)} == {str(number) for number in range(1000)}


async def test_the_stream_is_kept_short_where_that_is_asked(server: Server) -> None:
    transport = made(f"redis://127.0.0.1:{server.port}/0", stream="orders", max_length=100)
    await asyncio.gather(*(send(transport, {"n": number}) for number in range(2000)))
    await transport.close()
    assert len(await entries(server)) < 400


async def test_what_is_too_large_for_the_server_takes_nothing_else_with_it(server: Server) -> None:
    await told(server, "CONFIG", "SET", "proto-max-bulk-len", str(2**21))
    transport = stream(server)
    sizes = [3, 3 * 2**20, 3, 2**20]
    sends = (send(transport, {"x": "y" * size}, str(number)) for number, size in enumerate(sizes))
    answers = await asyncio.gather(*sends, return_exceptions=True)
    await transport.close()
    kinds = [isinstance(answer, DeliveryError) and answer.kind for answer in answers]
    assert kinds == [False, "too_large", False, False]
    assert {one.id for one in await entries(server)} == {"0", "2", "3"}


async def test_a_server_that_does_not_tell_its_limits_is_sent_large_messages_too(server: Server) -> None:
    await told(server, "ACL", "SETUSER", "writer", "on", "nopass", "~*", "+@all", "-config")
    transport = made(f"redis://writer:x@127.0.0.1:{server.port}/0", stream="orders")
    await send(transport, {"x": "y" * 2**21})
    await transport.close()
    assert len(await entries(server)) == 1


async def test_what_the_destination_is_at_fault_for_may_be_taken_by_another(server: Server) -> None:
    await told(server, "SET", "orders", "no stream")
    transport = stream(server)
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == ("refused", True, None)
    assert "WRONGTYPE" in str(error)


async def test_a_wrong_password_is_refused_and_a_right_one_given_as_the_secret_is_not(server: Server) -> None:
    await told(server, "CONFIG", "SET", "requirepass", "right")
    url = f"redis://127.0.0.1:{server.port}/0"
    wrong = made(url, stream="orders", secret="wrong")  # noqa: S106 - of this test
    error = await refusal(wrong)
    assert (error.kind, error.retryable) == ("refused", True)
    assert "wrong" not in str(error)
    right = made(url, stream="orders", secret="right")  # noqa: S106 - of this test
    await send(right, {})
    for transport in (wrong, right):
        await transport.close()


def test_a_stream_must_be_named() -> None:
    with pytest.raises(ConfigError, match="options: the key 'stream' is missing"):
        made("redis://127.0.0.1/0")
