"""NATS JetStream, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from broker_support import survives_a_restart
from servers import Server, nats_server
from transport_support import made, refusal, send
from turnout.testing import Received, TransportCase, checks_for
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport
from turnout.transports.encoding import header_id


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = nats_server(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


def subject(server: Server, **options: Any) -> Transport:
    return made(f"nats://127.0.0.1:{server.port}", subject="orders.new", **{"timeout": "2s", **options})


async def make_stream(server: Server, **limits: Any) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    config = StreamConfig(name="orders", subjects=["orders.*"], retention=RetentionPolicy.LIMITS, **limits)
    try:
        await client.jetstream().add_stream(config)
    except nats.js.errors.BadRequestError:
        await client.jetstream().update_stream(config)
    await client.close()


async def stored(server: Server) -> list[Received]:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", connect_timeout=10)
    try:
        jetstream = client.jetstream()
        count = (await jetstream.stream_info("orders")).state.messages
        if not count:
            return []
        pull = await jetstream.pull_subscribe("orders.*", stream="orders")
        found: list[Received] = []
        while len(found) < count:
            for one in await pull.fetch(min(500, count - len(found)), timeout=5):
                found.append(Received((one.headers or {})["Nats-Msg-Id"], one.data))
                await one.ack()
        await pull.unsubscribe()
        return found
    finally:
        await client.close()


class NatsCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __aenter__(self) -> TransportCase:
        await make_stream(self._server)
        return self

    def header(self, message_id: str) -> str:
        return header_id(message_id)

    def transport(self) -> Transport:
        return subject(self._server)

    async def received(self) -> list[Received]:
        return await stored(self._server)

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                self._server.kill()
            case "overloaded":
                await make_stream(self._server, max_bytes=1, discard="new")
            case "permanent":
                await make_stream(self._server, max_msg_size=1)
            case "hanging":
                self._server.pause()

    async def recover(self) -> None:
        if not self._server.running:
            self._server.start()
        self._server.go_on()
        await make_stream(self._server)


@pytest.mark.parametrize("check", checks_for(NatsCase), ids=str)
async def test_nats_conforms(check: Check, server: Server) -> None:
    await check(NatsCase(server))


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(server: Server) -> None:
    await make_stream(server)
    url = f"nats://127.0.0.1:{server.port}"
    await survives_a_restart(server, {"url": url, "options": {"subject": "orders.new"}}, lambda: stored(server))


async def test_an_attempt_made_again_is_left_out_by_the_stream(server: Server) -> None:
    await make_stream(server)
    transport = subject(server)
    answers = [await send(transport, {}, "same", attempt) for attempt in (1, 2, 3)]
    await transport.close()
    assert [bool(answer.duplicate) for answer in answers] == [False, True, True]
    assert len(await stored(server)) == 1


async def test_no_stream_for_the_subject_and_a_wrong_stream_are_the_destinations_fault(server: Server) -> None:
    transport = subject(server)
    assert ((error := await refusal(transport)).kind, error.retryable) == ("no_stream", True)
    await transport.close()
    await make_stream(server)
    transport = subject(server, stream="others")
    assert ((error := await refusal(transport)).kind, error.retryable) == ("refused", True)
    await transport.close()


async def test_a_message_above_the_servers_size_is_the_messages_fault(server: Server) -> None:
    await make_stream(server)
    transport = subject(server)
    error = await refusal(transport, {"text": "x" * 2_000_000})
    assert (error.kind, error.retryable) == ("too_large", False)
    await send(transport, {})
    await transport.close()


async def test_publishes_do_not_wait_for_each_other(server: Server) -> None:
    await make_stream(server)
    transport = subject(server)
    await send(transport, {})
    server.pause()
    sends = [asyncio.create_task(send(transport, {}, str(number))) for number in range(200)]
    await asyncio.sleep(0.05)
    server.go_on()
    await asyncio.gather(*sends)
    await transport.close()
    assert len(await stored(server)) == 201
