"""NATS JetStream, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_reading import make_stream, stored
from broker_support import survives_a_restart
from servers import Server, nats_server
from transport_support import made, refusal, send
from turnout.testing import Proxy, Received, TransportCase, checks_for
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


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(
    server: Server, tmp_path: Path
) -> None:
    await make_stream(server)
    url = f"nats://127.0.0.1:{server.port}"
    destination = {"url": url, "options": {"subject": "orders.new"}}
    await survives_a_restart(server, destination, lambda: stored(server), tmp_path / "outbox.db")


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


@pytest.mark.parametrize("named", [{}, {"stream": "orders"}], ids=["any_stream", "named_stream"])
async def test_the_servers_largest_payload_is_met_to_the_byte(server: Server, named: dict[str, str]) -> None:
    await make_stream(server)
    transport = subject(server, body="content", **named)
    largest = (
        2**20 - len("NATS/1.0\r\nNats-Msg-Id: m\r\n\r\n") - (len("Nats-Expected-Stream: orders\r\n") if named else 0)
    )
    await send(transport, {"content": b"x" * largest}, "m")
    error = await refusal(transport, {"content": b"x" * (largest + 1)}, "n")
    await send(transport, {}, "o")
    await transport.close()
    assert (error.kind, error.retryable) == ("too_large", False)
    assert [one.id for one in await stored(server)] == ["m", "o"]


async def test_a_lost_connection_ends_what_waits_on_it_at_once(server: Server) -> None:
    await make_stream(server)
    async with Proxy(server.port) as proxy, asyncio.timeout(20):
        transport = made(f"nats://127.0.0.1:{proxy.port}", subject="orders.new", timeout="60s")
        await send(transport, {}, "first")
        proxy.pause("to_client")
        sends = [asyncio.create_task(send(transport, {}, str(number))) for number in range(50)]
        await asyncio.sleep(0.05)
        proxy.reset()
        errors = await asyncio.gather(*sends, return_exceptions=True)
        await transport.close()
    assert {getattr(error, "kind", repr(error)) for error in errors} == {"connection"}


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
