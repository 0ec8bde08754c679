"""MQTT 5, against a real mosquitto; and against a broker that answers as told, for what mosquitto never says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_support import survives_a_restart
from mqtt_support import Broker, Subscriber, user
from servers import Server, mosquitto
from transport_support import made, refusal, send
from turnout.errors import ConfigError
from turnout.testing import Received, TransportCase, checks_for
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport
from turnout.transports.encoding import header_id

LARGEST = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = mosquitto(tmp_path / "mosquitto", f"max_packet_size {LARGEST}", f"acl_file {tmp_path / 'acl'}")
    (tmp_path / "acl").write_text("topic readwrite inbox/#\n")
    one.start()
    yield one
    one.kill()


@pytest.fixture
async def inbox(server: Server) -> AsyncIterator[Subscriber]:
    async with Subscriber(server.port) as one:
        yield one


def topic(server: Server, name: str = "inbox/new", **options: Any) -> Transport:
    return made(f"mqtt://127.0.0.1:{server.port}", topic=name, **{"timeout": "2s", **options})


class MqttCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    def __init__(self, server: Server) -> None:
        self._server = server
        self._least = 0
        self._busy: Broker | None = None

    async def __aenter__(self) -> TransportCase:
        self._inbox = await Subscriber(self._server.port).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._inbox.__aexit__()

    def header(self, message_id: str) -> str:
        return header_id(message_id)

    def message(self, number: int, size: int = 0) -> dict[str, Any]:
        return super().message(number, max(size, self._least))

    def transport(self) -> Transport:
        return topic(self._server)

    async def received(self) -> list[Received]:
        return await self._inbox.received()

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                self._server.kill()
            case "overloaded":  # mosquitto has no quota for those who publish
                self._server.kill()
                self._busy = Broker(code=0x97)
                await self._busy.start(self._server.port)
            case "permanent":
                self._least = LARGEST
            case "hanging":
                self._server.pause()

    async def recover(self) -> None:
        self._least = 0
        if self._busy is not None:
            await self._busy.stop()
            self._busy = None
        if not self._server.running:
            await asyncio.to_thread(self._server.start)
        self._server.go_on()


@pytest.mark.parametrize("check", checks_for(MqttCase), ids=str)
async def test_mqtt_conforms(check: Check, server: Server) -> None:
    await check(MqttCase(server))


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(
    server: Server, inbox: Subscriber, tmp_path: Path
) -> None:
    destination = {"url": f"mqtt://127.0.0.1:{server.port}", "options": {"topic": "inbox/new"}}
    await survives_a_restart(server, destination, inbox.received, tmp_path / "outbox.db")


async def test_a_message_says_what_it_is_and_when_it_is_of_no_more_use(server: Server, inbox: Subscriber) -> None:
    transport = topic(server)
    soon = time.time() + 60
    await transport.send({"a": "ü"}, "d", message_id="m 1", attempt=2, expires=soon)
    await transport.close()
    await inbox.received()
    message = inbox.messages[0]
    assert (message.payload, message.retain) == ('{"a":"ü"}'.encode(), False)
    assert user(message) == {"message-id": "m%201", "attempt": "2"}
    told: Any = message.properties
    assert (told.ContentType, told.PayloadFormatIndicator) == ("application/json", 1)
    assert 50 < told.MessageExpiryInterval <= 60


async def test_what_is_of_no_more_use_reaches_no_subscriber_that_comes_later(server: Server) -> None:
    transport = topic(server, retain=True)
    await transport.send({}, "d", message_id="late", attempt=1, expires=time.time() + 0.01)
    await transport.close()
    await asyncio.sleep(1.1)
    async with Subscriber(server.port) as late:
        assert not await late.received()


async def test_a_retained_message_waits_for_its_first_subscriber(server: Server) -> None:
    transport = topic(server, retain=True)
    await send(transport, {}, "kept")
    await transport.close()
    async with Subscriber(server.port) as late:
        assert [one.id for one in await late.received()] == ["kept"]


async def test_what_nobody_has_subscribed_to_is_not_lost_in_silence(server: Server) -> None:
    transport = topic(server)
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == ("unroutable", True, None)
    careless = topic(server, mandatory=False)
    await send(careless, {})
    await careless.close()


async def test_a_topic_that_is_not_allowed_is_the_destinations_fault(server: Server) -> None:
    transport = topic(server, "elsewhere")
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == ("refused", True, None)
    assert "Not authorized" in str(error)


async def test_what_is_too_large_is_at_fault_alone(server: Server, inbox: Subscriber) -> None:
    transport = topic(server)
    sizes = [3, LARGEST, 3, LARGEST // 2]
    sends = (send(transport, {"x": "y" * size}, str(number)) for number, size in enumerate(sizes))
    answers = await asyncio.gather(*sends, return_exceptions=True)
    await transport.close()
    assert [getattr(answer, "kind", None) for answer in answers] == [None, "too_large", None, None]
    assert {one.id for one in await inbox.received()} == {"0", "2", "3"}


@pytest.mark.parametrize("over", [0, 1])
async def test_the_brokers_largest_packet_is_met_to_the_byte(server: Server, inbox: Subscriber, over: int) -> None:
    transport = topic(server, body="content")
    parts = len("inbox/new") + 2 + 2 + 1 + (5 + len("message-id") + 1) + (5 + len("attempt") + 1) + 4
    size = LARGEST - parts + over
    sending = transport.send({"content": "x" * size}, "d", message_id="m", attempt=1)
    if over:
        with pytest.raises(Exception, match=f"a packet of {LARGEST + 1} bytes; the broker takes {LARGEST}"):
            await sending
    else:
        await sending
        assert len((await inbox.received())[0].body) == size
    await transport.close()


@pytest.mark.parametrize(
    ("code", "kind", "retryable", "retry_after"),
    [
        (0x80, "refused", True, None),
        (0x83, "refused", True, None),
        (0x87, "refused", True, None),
        (0x90, "refused", True, None),
        (0x97, "overloaded", True, 1.0),
        (0x99, "rejected", False, None),
    ],
)
async def test_a_reason_code_says_what_becomes_of_the_message(
    code: int, kind: str, retryable: bool, retry_after: float | None
) -> None:
    broker = Broker(code)
    await broker.start()
    transport = made(f"mqtt://127.0.0.1:{broker.port}", topic="x")
    error = await refusal(transport)
    await transport.close()
    await broker.stop()
    assert (error.kind, error.retryable, error.retry_after) == (kind, retryable, retry_after)


@pytest.mark.parametrize(("code", "kind", "retry_after"), [(0x89, "overloaded", 1.0), (0x86, "connection", None)])
async def test_a_refused_connection_says_whether_to_wait(code: int, kind: str, retry_after: float | None) -> None:
    broker = Broker(refusal=code)
    await broker.start()
    transport = made(f"mqtt://user:hunter2@127.0.0.1:{broker.port}", topic="x")
    errors = [await refusal(transport) for _ in range(2)]  # the second does not ask the broker again
    await transport.close()
    await broker.stop()
    for error in errors:
        assert (error.kind, error.retryable, error.retry_after) == (kind, True, retry_after)
        assert "hunter2" not in str(error)


async def arrived(broker: Broker, count: int) -> None:
    async with asyncio.timeout(10):
        while len(broker.published) < count:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def test_no_more_are_under_way_than_the_broker_receives_at_once() -> None:
    broker = Broker(code=None, receive_maximum=5)
    await broker.start()
    transport = made(f"mqtt://127.0.0.1:{broker.port}", topic="x")
    sends = [asyncio.create_task(send(transport, {}, str(number))) for number in range(20)]
    await arrived(broker, 5)
    sends[0].cancel()  # its place is taken until the broker is done with it
    await asyncio.sleep(0.1)
    assert len(broker.published) == 5
    for count in range(20):
        await arrived(broker, count + 1)
        assert len(broker.published) <= count + 5
        broker.acknowledge(broker.published[count], 0)
    await asyncio.gather(*sends[1:])
    await transport.close()
    await broker.stop()


async def test_a_lost_connection_ends_what_waits_on_it_at_once() -> None:
    broker = Broker(code=None, receive_maximum=3)
    await broker.start()
    transport = made(f"mqtt://127.0.0.1:{broker.port}", topic="x", timeout="60s")
    sends = [asyncio.create_task(send(transport, {}, str(number))) for number in range(10)]
    await arrived(broker, 3)
    async with asyncio.timeout(10):
        await broker.stop()
        errors = await asyncio.gather(*sends, return_exceptions=True)
    await transport.close()
    assert {getattr(error, "kind", None) for error in errors} == {"connection"}


async def test_a_connection_on_which_nothing_is_heard_is_let_go() -> None:
    broker = Broker(code=None)
    await broker.start()
    transport = made(f"mqtt://127.0.0.1:{broker.port}", topic="x", timeout="0.2s")
    assert (await refusal(transport)).kind == "timeout"
    broker.code = 0
    await send(transport, {})
    await transport.close()
    assert len(broker.waiting) == 2
    await broker.stop()


async def test_users_and_passwords_are_asked_for(tmp_path: Path) -> None:
    salt = bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", b"right", salt, 101, 64)
    line = f"writer:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"
    (tmp_path / "passwords").write_text(line)
    server = mosquitto(tmp_path / "mosquitto", "allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    server.start()
    try:
        right = made(f"mqtt://writer@127.0.0.1:{server.port}", secret="right", topic="x", mandatory=False)  # noqa: S106
        await send(right, {})
        wrong = made(f"mqtt://writer@127.0.0.1:{server.port}", secret="wrong", topic="x")  # noqa: S106
        error = await refusal(wrong)
        for transport in (right, wrong):
            await transport.close()
    finally:
        server.kill()
    assert (error.kind, error.retryable) == ("connection", True)
    assert "wrong" not in str(error)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("mqtt://127.0.0.1", {}, "the key 'topic' is missing"),
        ("mqtt://127.0.0.1", {"topic": "a/#"}, "the name of one topic"),
        ("mqtt:x", {"topic": "a"}, "names no host"),
        ("mqtts://h", {"topic": "a", "ca_file": "/nowhere"}, "cannot be used"),
    ],
)
def test_a_destination_that_can_never_work_is_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(url, **options)
