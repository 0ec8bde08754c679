"""Webhooks: against servers on loopback, what is sent, what an answer means, and what is never connected to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from broker_support import survives_a_restart
from servers import webhook_receiver
from transport_support import made, refusal, send
from turnout import Router
from turnout.config import load_dict, load_text
from turnout.errors import ConfigError
from turnout.security import AddressGuard
from turnout.testing import Received, TransportCase, checks_for, read_log
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport
from turnout.transports.encoding import header_id
from turnout.transports.webhook_answer import pause, utilisation
from webhook_support import Server, serving

HERE = ["127.0.0.0/8"]
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def hook(server: Server, host: str = "127.0.0.1", **options: Any) -> Transport:
    return made(f"http://{host}:{server.port}/hook", **{"allow": HERE, **options})


class WebhookCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    async def __aenter__(self) -> TransportCase:
        self._context = serving()
        self._server = await self._context.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.__aexit__(None, None, None)

    def transport(self) -> Transport:
        return hook(self._server)

    def header(self, message_id: str) -> str:
        return header_id(message_id)

    async def received(self) -> list[Received]:
        return [Received(request.headers["webhook-id"], body) for request, body in self._server.requests]

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                self._server.dropping = True
            case "overloaded":
                self._server.status, self._server.headers = 429, {"Retry-After": "3"}
            case "permanent":
                self._server.status = 422
            case "hanging":
                self._server.hanging = asyncio.Event()

    async def recover(self) -> None:
        self._server.status, self._server.headers, self._server.dropping = 204, {}, False
        if self._server.hanging is not None:
            self._server.hanging.set()
            self._server.hanging = None


@pytest.mark.parametrize("check", checks_for(WebhookCase), ids=str)
async def test_webhooks_conform(check: Check) -> None:
    await check(WebhookCase())


async def test_a_request_is_signed_and_carries_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serving() as server:
        server.status, server.body = 200, b"thanks"
        transport = hook(server, secret=KEY, headers={"authorization": "Bearer x"})
        answer = await send(transport, {"a": [1, "ü"]}, "id 1")
        await transport.close()
        request, body = server.requests[0]
    assert (answer.status, answer.body) == (200, b"thanks")
    assert body == '{"a":[1,"ü"]}'.encode()
    assert request.method == "POST"
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["content-type"] == "application/json"
    assert "accept-encoding" not in request.headers
    at = request.headers["webhook-timestamp"]
    assert abs(int(at) - time.time()) < 60
    signed = b"id%20" + b"1." + at.encode() + b"." + body
    expected = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    ("content", "sent"),
    [(b"\x00\xff", b"\x00\xff"), ("grüß", "grüß".encode()), ({"a": 1}, b'{"a":1}'), (None, b"null")],
)
async def test_the_content_alone_may_be_sent(content: Any, sent: bytes) -> None:
    async with serving() as server:
        transport = hook(server, body="content")
        await send(transport, {"content": content})
        await transport.close()
        assert server.requests[0][1] == sent


@pytest.mark.parametrize(
    ("status", "headers", "retryable", "retry_after"),
    [
        (400, {}, False, None),
        (401, {}, True, None),
        (404, {}, True, None),
        (410, {}, False, None),
        (410, {"Retry-After": "5"}, False, None),
        (413, {}, False, None),
        (422, {"Retry-After": "5"}, False, None),
        (429, {"Retry-After": "5"}, True, 5.0),
        (429, {}, True, 1.0),
        (500, {}, True, None),
        (502, {"Retry-After": "5"}, True, None),
        (503, {}, True, None),
        (503, {"Retry-After": "7"}, True, 7.0),
        (500, {"webhook-delivery": "abort-message"}, False, None),
        (429, {"Webhook-Delivery": " Abort-Message ", "Retry-After": "5"}, False, None),
        (500, {"webhook-delivery": "disable"}, True, None),
        (301, {"Location": "/elsewhere"}, True, None),
        (307, {"Location": "/elsewhere"}, True, None),
    ],
)
async def test_a_status_says_what_becomes_of_the_message(
    status: int, headers: dict[str, str], retryable: bool, retry_after: float | None
) -> None:
    async with serving() as server:
        server.status, server.headers, server.body = status, headers, b"because"
        transport = hook(server)
        error = await refusal(transport)
        await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == (f"status_{status}", retryable, retry_after)
    assert str(error).startswith(f"status_{status}: answered {status}")
    assert str(error).endswith(": because")
    assert not server.requests


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0), (" 12 ", 12.0), ("0", 0.0), ("99999999999999999999", 3600.0), ("-1", None), ("1.5", None),
        ("", None), ("soon", None), (formatdate(1_000_030, usegmt=True), 30.0),
        (formatdate(999_000, usegmt=True), 0.0), (formatdate(9_000_000, usegmt=True), 3600.0), (None, None),
        ("Fri, 99 Foo 2030 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert pause(text, 1_000_000.0) == seconds


@pytest.mark.parametrize(
    ("metrics", "load"),
    [
        ("TEXT application_utilization=0.5,cpu_utilization=0.3", 0.5),
        ("TEXT cpu_utilization=0.3, mem_utilization=0.9", 0.3),
        ("TEXT cpu_utilization=0.3,application_utilization=0", 0.3),
        ("TEXT application_utilization=1.25,rps=3", 1.25),
        ('JSON {"cpu_utilization": 0.3, "application_utilization": 0.5}', 0.5),
        ("TEXT application_utilization=nan,cpu_utilization=inf", None),
        ("TEXT application_utilization=-1", None),
        ("TEXT application_utilization", None),
        ("TEXT mem_utilization=0.9", None),
        ("TEXT ", None), ("TEXT", None), ("", None), (None, None), ("BIN CAE=", None),
        ("JSON [0.5]", None), ('JSON {"cpu_utilization": [1]}', None), ("JSON {", None), ("JSON " + "[" * 9_000, None),
        ('JSON {"cpu_utilization": 1' + "0" * 400 + "}", None),
    ],
)  # fmt: skip
def test_a_receiver_may_tell_its_load(metrics: str | None, load: float | None) -> None:
    assert utilisation(metrics) == load


async def test_an_answer_carries_the_load_and_a_request_the_time_left() -> None:
    async with serving() as server:
        server.headers = {"endpoint-load-metrics": "TEXT cpu_utilization=0.3"}
        transport = hook(server, timeout="3s")
        assert (await send(transport)).utilisation == 0.3
        server.headers = {}
        in_a_second = time.time() + 1
        assert (await transport.send({}, "d", message_id="m", attempt=1, deadline=in_a_second)).utilisation is None  # type: ignore[attr-defined]
        await transport.send({}, "d", message_id="m", attempt=1, deadline=time.time() + 60)
        await transport.close()
        left = [int(request.headers["x-envoy-expected-rq-timeout-ms"]) for request, _ in server.requests]
    assert left[0] == left[2] == 3000
    assert 900 <= left[1] <= 1000


LOOPBACK = [
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "127.1",
    "0",
    "localhost",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_a_private_address_is_not_connected_to_however_it_is_written(host: str) -> None:
    async with serving() as server:
        transport = hook(server, host, allow=[])
        error = await refusal(transport)
        await transport.close()
        assert not server.requests
    # aiohttp refuses by itself what only looks like an address; whatever resolves is the guard's.
    assert error.kind in ("forbidden_address", "connection")
    assert "127.0.0.1" not in str(error)


@pytest.mark.parametrize("host", LOOPBACK)
def test_the_guard_knows_what_the_system_makes_of_a_host(host: str) -> None:
    found = socket.getaddrinfo(host.strip("[]"), 80, type=socket.SOCK_STREAM)
    assert found
    assert not any(AddressGuard().permits(str(address[0])) for *_, address in found)


async def test_a_name_that_changes_its_address_is_judged_when_it_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        nonlocal asked
        if host != "rebinding.example":
            return real(host, port, *rest, **more)
        asked += 1
        address = "127.0.0.2" if asked == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    async with serving() as server:
        transport = hook(server, "rebinding.example", allow=["127.0.0.2/32"])
        errors = [await refusal(transport) for _ in range(2)]
        await transport.close()
        assert not server.requests
    assert errors[0].kind == "connection"  # allowed, and nobody listens there


async def test_a_redirect_to_a_private_address_is_not_followed() -> None:
    async with serving() as inner, serving() as outer:
        outer.status, outer.headers = 302, {"Location": f"http://127.0.0.1:{inner.port}/"}
        transport = hook(outer)
        assert (await refusal(transport)).kind == "status_302"
        await transport.close()
        assert not inner.requests


async def test_an_answer_is_read_up_to_its_bound_and_not_decompressed() -> None:
    async with serving() as server:
        server.status, server.body, server.headers = 200, b"x" * 5_000_000, {"Content-Encoding": "gzip"}
        transport = hook(server, max_response=1000)
        answer = await send(transport, {})
        assert answer.body == b"x" * 1000
        await send(transport, {})
        await transport.close()


async def test_an_answer_that_never_comes_is_given_up() -> None:
    async with serving() as server:
        server.hanging = asyncio.Event()
        transport = hook(server, timeout=0.05)
        error = await refusal(transport)
        server.hanging.set()
        await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == ("timeout", True, None)


async def test_nobody_listening_is_a_failure_that_shows_no_url() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    transport = made(f"http://user:pass@127.0.0.1:{port}/secret-path", allow=HERE)
    error = await refusal(transport)
    await transport.close()
    assert str(error) == "connection: Connection refused"


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with serving(context) as server:
        url = f"https://localhost:{server.port}/"
        unknown = made(url, allow=[*HERE, "::1"])
        assert "certificate" in str(await refusal(unknown))
        other_name = made(url.replace("localhost", "127.0.0.1"), allow=HERE, ca_file=str(file))
        assert "certificate" in str(await refusal(other_name))
        trusted = made(url, allow=[*HERE, "::1"], ca_file=str(file))
        assert (await send(trusted, {})).status == 204
        for transport in (unknown, other_name, trusted):
            await transport.close()


async def test_an_id_with_control_characters_cannot_add_a_header() -> None:
    async with serving() as server:
        transport = hook(server)
        await send(transport, {}, "a\r\nx-evil: 1")
        await transport.close()
        request, _ = server.requests[0]
    assert request.headers["webhook-id"] == "a%0D%0Ax-evil:%201"
    assert "x-evil" not in request.headers


# The configuration


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"options": {"alow": []}}, "options.alow: unknown key"),
        ({"options": {"allow": ["here"]}}, "expected a network such as 10.1.0.0/16"),
        ({"options": {"headers": {"Host": "x"}}}, "malformed, or set by the transport itself"),
        ({"options": {"headers": {"x": "a\r\nb"}}}, "holds control characters"),
        ({"options": {"max_response": -1}}, "must be at least 0"),
        ({"options": {"timeout": "0s"}}, "timeout"),
        ({"options": {"headers": {"authorization": "${env:TURNOUT_GONE}"}}}, "TURNOUT_GONE is not set"),
        ({"url": "callable:x", "options": {"allow": []}}, "options.allow: unknown key"),
        ({"url": None, "options": {}}, "there is none"),
    ],
)
def test_options_are_checked_with_the_configuration(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_dict({"destinations": {"a": {"url": "https://example.org/", **given}}})


def test_a_wrong_option_is_placed_in_the_file() -> None:
    text = "message_router:\n  destinations:\n    a:\n      url: https://example.org/\n"
    text += "      options:\n        alow: []\n"
    with pytest.raises(ConfigError, match=r"router.yaml:6:9: .*options.alow: unknown key; did you mean 'allow'"):
        load_text(text, "router.yaml")


def test_secrets_in_options_are_resolved_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_TOKEN", "hunter2")
    given = {"url": "https://example.org/", "options": {"headers": {"authorization": "Bearer ${env:TURNOUT_TOKEN}"}}}
    config = load_dict({"destinations": {"a": given}})
    options: Any = config.destinations["a"].resolved_options()
    assert options.headers == {"authorization": "Bearer hunter2"}
    assert "hunter2" not in repr(config) + config.model_dump_json()
    assert load_dict({"destinations": {"a": given}}, resolve_secrets=False).destinations["a"].resolved_options() is None


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'turnout\[http\]'"):
        made("https://example.org/")


@pytest.mark.parametrize("secret", ["plain", "whsec_x"])
def test_a_secret_that_is_no_key_stops_the_start(secret: str) -> None:
    with pytest.raises(ConfigError, match="no key for signing"):
        made("https://example.org/", secret=secret)


# The whole way


async def test_nothing_accepted_is_lost_while_the_receiver_is_killed_and_restarted(tmp_path: Path) -> None:
    receiver = webhook_receiver(tmp_path / "receiver")
    receiver.start()

    async def received() -> list[Received]:
        return [Received(noted.id, b"") for noted in read_log(tmp_path / "receiver" / "log")]

    destination = {"url": f"http://127.0.0.1:{receiver.port}/", "options": {"allow": HERE}}
    try:
        await survives_a_restart(receiver, destination, received, tmp_path / "outbox.db")
    finally:
        receiver.kill()


async def test_the_session_of_a_test_does_not_leak() -> None:
    async with serving() as server:
        transport = hook(server)
        await send(transport, {})
        session: aiohttp.ClientSession | None = transport._session  # type: ignore[attr-defined]
        await transport.close()
    assert session is not None
    assert session.closed


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_reloads_that_change_a_webhook_leave_no_descriptors_open() -> None:
    def given(server: Server, number: int) -> dict[str, Any]:
        hook = {"url": f"http://127.0.0.1:{server.port}/{number}", "options": {"allow": HERE}}
        return {"default": "p", "pools": {"p": {"destinations": ["d"]}}, "destinations": {"d": hook}}

    async with serving() as server, Router(given(server, 0)) as router:
        assert (await router.dispatch({})).delivered
        before = descriptors()
        for number in range(1, 25):
            router.reload(given(server, number))
            assert (await router.dispatch({})).delivered
        for _ in range(300):  # the server's ends close a moment later
            if descriptors() <= before + 2:
                break
            await asyncio.sleep(0.1)
        assert descriptors() <= before + 2
        assert len(server.requests) == 25
