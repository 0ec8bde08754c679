"""RabbitMQ, against a real server, which takes some seconds to start: one for all tests of this file."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelPreconditionFailed

from broker_reading import amqp_url, declare, taken
from broker_support import survives_a_restart
from servers import RABBITMQ_LARGEST, Server, rabbitmq_server
from transport_support import made, refusal, send
from turnout.errors import DeliveryError
from turnout.testing import Received, TransportCase, checks_for
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport
from turnout.transports.encoding import header_id

_names = (f"queue-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = rabbitmq_server(tmp_path_factory.mktemp("rabbitmq"))
    one.start()
    yield one
    one.kill()


class AmqpCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queue = next(_names)
        self._least = 0

    async def __aenter__(self) -> TransportCase:
        await declare(self._server, self._queue)
        self._found: list[Received] = []
        return self

    def transport(self) -> Transport:
        return made(amqp_url(self._server), routing_key=self._queue, timeout="3s")

    def header(self, message_id: str) -> str:
        return header_id(message_id)

    def message(self, number: int, size: int = 0) -> dict[str, Any]:
        return super().message(number, max(size, self._least))

    async def received(self) -> list[Received]:
        self._found += await taken(self._server, self._queue)
        return self._found

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                await self._queue_deleted()
            case "overloaded":
                await self._queue_deleted()
                await declare(self._server, self._queue, **{"x-max-length": 0, "x-overflow": "reject-publish"})
            case "permanent":
                self._least = RABBITMQ_LARGEST
            case "hanging":
                self._server.pause()

    async def _queue_deleted(self) -> None:
        self._found += await taken(self._server, self._queue)
        async with await aio_pika.connect(amqp_url(self._server)) as connection:
            await (await connection.channel()).queue_delete(self._queue)

    async def recover(self) -> None:
        self._server.go_on()
        self._least = 0
        await self._queue_deleted_if_limited()
        await declare(self._server, self._queue)

    async def _queue_deleted_if_limited(self) -> None:
        try:
            await declare(self._server, self._queue)
        except ChannelPreconditionFailed:
            await self._queue_deleted()


@pytest.mark.parametrize("check", checks_for(AmqpCase), ids=str)
async def test_rabbitmq_conforms(check: Check, server: Server) -> None:
    await check(AmqpCase(server))


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(
    server: Server, tmp_path: Path
) -> None:
    queue = next(_names)
    await declare(server, queue)
    destination = {"url": amqp_url(server), "options": {"routing_key": queue}}
    await survives_a_restart(server, destination, lambda: taken(server, queue), tmp_path / "outbox.db")


async def test_what_is_too_large_for_the_server_is_at_fault_alone(server: Server) -> None:
    queue = next(_names)
    await declare(server, queue)
    transport = made(amqp_url(server), routing_key=queue)
    sizes = [3, RABBITMQ_LARGEST, 3, RABBITMQ_LARGEST // 2, 3]
    sends = (send(transport, {"x": "y" * size}, str(number)) for number, size in enumerate(sizes))
    answers = await asyncio.gather(*sends, return_exceptions=True)
    at_fault = [isinstance(answer, DeliveryError) and not answer.retryable for answer in answers]
    assert at_fault == [False, True, False, False, False]
    await send(transport, {}, "next")
    await transport.close()
    assert "next" in {one.id for one in await taken(server, queue)}


async def test_what_no_queue_wants_comes_back(server: Server) -> None:
    transport = made(amqp_url(server), routing_key="nobody")
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable) == ("unroutable", True)


@pytest.mark.parametrize("options", [{"exchange": "gone", "routing_key": "x"}])
async def test_an_exchange_that_is_not_there_is_the_destinations_fault(server: Server, options: dict[str, Any]) -> None:
    transport = made(amqp_url(server), **options)
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == ("connection", True, None)


async def test_a_wrong_password_is_not_shown(server: Server) -> None:
    transport = made(amqp_url(server).replace("guest:guest", "guest:hunter2"), routing_key="x")
    error = await refusal(transport)
    await transport.close()
    assert "hunter2" not in str(error)
    assert (error.kind, error.retryable) == ("connection", True)


async def test_messages_are_persistent_and_say_what_they_are(server: Server) -> None:
    queue = next(_names)
    await declare(server, queue)
    transport = made(amqp_url(server), routing_key=queue)
    await asyncio.gather(send(transport, {"a": 1}, "one", 2))
    await transport.close()
    async with await aio_pika.connect(amqp_url(server)) as connection:
        message = await (await (await connection.channel()).get_queue(queue)).get(no_ack=True)
    assert message is not None
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.content_type, message.message_id, message.headers) == ("application/json", "one", {"x-attempt": 2})
    assert message.expiration is None


async def test_a_message_is_no_longer_in_the_queue_when_it_is_of_no_more_use(server: Server) -> None:
    queue = next(_names)
    await declare(server, queue)
    transport = made(amqp_url(server), routing_key=queue)
    for name, expires in (("late", -1.0), ("soon", 0.2), ("years", 1e9), ("last", 60.0)):
        await transport.send({}, "d", message_id=name, attempt=1, expires=time.time() + expires)
    await transport.close()
    await asyncio.sleep(0.3)
    assert [one.id for one in await taken(server, queue)] == ["years", "last"]
