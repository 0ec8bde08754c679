"""Apprise, by its services json: and form:, against a server on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import apprise
import pytest

from servers import free_port
from transport_support import made, refusal, send
from turnout.errors import ConfigError
from turnout.testing import Received, TransportCase, checks_for
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport
from webhook_support import Server, serving

# Apprise imports it where the interpreter still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "hunter2"  # noqa: S105 - what must be seen nowhere


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as one:
        yield one


def service(server: Server, kind: str = "json", **options: Any) -> Transport:
    url = f"apprise:{kind}://user:{SECRET}@127.0.0.1:{server.port}/{SECRET}"
    return made(url, **{"timeout": "3s", **options})


def told(server: Server) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in server.requests]


class AppriseCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})
    keeps_ids = False

    async def __aenter__(self) -> TransportCase:
        self._context = serving()
        self._server = await self._context.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.__aexit__(None, None, None)

    def message(self, number: int, size: int = 0) -> dict[str, Any]:
        return super().message(number, max(size, 1))

    def transport(self) -> Transport:
        return service(self._server, threads=8)

    async def received(self) -> list[Received]:
        return [Received("", one["message"].encode()) for one in told(self._server)]

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                self._server.dropping = True
            case "overloaded":
                self._server.status = 429
            case "permanent":
                self._server.status = 422
            case "hanging":
                self._server.hanging = asyncio.Event()

    async def recover(self) -> None:
        self._server.status, self._server.dropping = 204, False
        if self._server.hanging is not None:
            self._server.hanging.set()
            self._server.hanging = None


@pytest.mark.parametrize("check", checks_for(AppriseCase), ids=str)
async def test_apprise_conforms(check: Check) -> None:
    await check(AppriseCase())


async def test_content_gives_title_and_text(server: Server) -> None:
    transport = service(server, title="Standard", type="warning")
    await send(transport, {"content": {"subject": "Grüße", "text": "Guten Tag", "html": "<b>Guten Tag</b>"}})
    await send(transport, {"content": "Only text"})
    await send(transport, {"channel": "sms", "content": {"n": 1}})
    await transport.close()
    first, second, third = told(server)
    assert (first["title"], first["message"], first["type"]) == ("Grüße", "Guten Tag", "warning")
    assert (second["title"], second["message"]) == ("Standard", "Only text")
    assert json.loads(third["message"]) == {"channel": "sms", "content": {"n": 1}}


async def test_another_service_is_a_matter_of_the_url(server: Server) -> None:
    transport = service(server, kind="form")
    await send(transport, {"content": "x"})
    await transport.close()
    request, body = server.requests[0]
    assert b'name="message"\r\n\r\nx' in body or b"message=x" in body
    assert request.path == f"/{SECRET}"


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "retry_after"),
    [
        (400, "status_400", False, None),
        (401, "status_401", True, None),
        (429, "status_429", True, 1.0),
        (500, "status_500", True, None),
        (503, "status_503", True, None),
    ],
)
async def test_a_status_that_apprise_logs_says_what_becomes_of_the_message(
    server: Server, status: int, kind: str, retryable: bool, retry_after: float | None
) -> None:
    server.status = status
    transport = service(server)
    error = await refusal(transport, {"content": "x"})
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == (kind, retryable, retry_after)


async def test_a_service_that_cannot_be_reached_is_the_destinations_fault() -> None:
    transport = made(f"apprise:json://user:{SECRET}@127.0.0.1:{free_port()}/")
    error = await refusal(transport, {"content": "x"})
    await transport.close()
    assert (error.kind, error.retryable) == ("connection", True)


async def test_the_url_is_seen_nowhere(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    transport = service(server)
    shown = repr(transport)
    await send(transport, {"content": "x"})
    for server.status in (400, 500):
        shown += str(await refusal(transport, {"content": "x"}))
    await transport.close()
    broken = made(f"apprise:json://127.0.0.1:{free_port()}/{SECRET}")
    shown += repr(await refusal(broken, {"content": "x"}))
    await broken.close()
    with pytest.raises(ConfigError) as error:
        made(f"apprise:nothing://{SECRET}").open()
    logged = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]  # the server's own
    assert SECRET not in shown + str(error.value) + "".join(logged)
    assert str(server.port) not in "".join(logged)


async def test_who_uses_apprise_besides_sees_its_logs(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    transport = service(server)
    await send(transport, {"content": "x"})
    other = apprise.Apprise()
    assert other.add(f"json://127.0.0.1:{free_port()}/")
    assert not await asyncio.to_thread(other.notify, "x")
    await transport.close()
    assert "Connection error" in caplog.text


async def test_no_more_threads_are_used_than_were_asked_for(server: Server) -> None:
    server.hanging = asyncio.Event()
    transport = service(server, threads=2)
    sends = [asyncio.create_task(send(transport, {"content": "x"})) for _ in range(6)]
    await asyncio.sleep(0.3)
    for one in sends[:3]:
        one.cancel()  # the threads go on
    await asyncio.wait(sends, timeout=0.3)
    assert sum(one.done() for one in sends) == 3
    server.hanging.set()
    server.hanging = None
    await asyncio.gather(*sends[3:])
    await transport.close()
    assert len(server.requests) == 5


async def test_a_service_that_is_silent_is_given_up(server: Server) -> None:
    server.hanging = asyncio.Event()
    transport = service(server, timeout="0.2s")
    error = await refusal(transport, {"content": "x"})
    server.hanging.set()
    await transport.close()
    assert (error.kind, error.retryable) == ("connection", True)


async def test_a_message_without_a_text_is_refused_for_good(server: Server) -> None:
    transport = service(server)
    error = await refusal(transport, {"content": " "})
    await transport.close()
    assert (error.kind, error.retryable) == ("unencodable", False)


@pytest.mark.parametrize("url", ["apprise:nothing://x", "apprise:slack://x", "apprise:json://a, json://b"])
def test_a_url_that_apprise_makes_nothing_of_stops_the_start(url: str) -> None:
    transport = made(url)
    with pytest.raises(ConfigError, match="Apprise makes nothing of the url"):
        transport.open()


def test_options_are_checked_with_the_configuration() -> None:
    with pytest.raises(ConfigError, match="ca_file: unknown key"):
        made("apprise:json://h", ca_file="x")
