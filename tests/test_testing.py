"""What users get to test their deliveries with: the receiver that misbehaves, the proxy, the account."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from turnout.testing import Answer, Noted, Proxy, Receiver, account, accounts, read_log
from turnout.testing.proxy import Direction
from turnout.testing.receiving import read_script


async def posted(url: str, name: str = "m", patience: float = 5.0, **message: object) -> int | str:
    """The status of the answer, or the name of what came instead."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience)) as session,
            session.post(url, json=message, headers={"webhook-id": name}) as answer,
        ):
            return answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__


async def test_a_receiver_answers_by_its_script_and_notes_what_it_took() -> None:
    script = [Answer(count=2), Answer(429, {"Retry-After": "1"}, count=1), Answer(end="drop", count=1)]
    async with Receiver([*script, Answer(500, noted=True, count=1)]) as receiver:
        answers = [await posted(f"{receiver.url}a", f"m-{number}", key="k", number=number) for number in range(6)]
    assert answers == [204, 204, 429, "ServerDisconnectedError", 500, 204]
    assert receiver.requests == 6
    assert receiver.noted == [Noted(f"m-{number}", "k", number, "a") for number in (0, 1, 4, 5)]


async def test_a_receiver_that_hangs_is_told_to_go_on() -> None:
    async with Receiver([Answer(end="hang", noted=True)]) as receiver:
        assert await posted(receiver.url, "lost", patience=0.1) == "TimeoutError"
        receiver.answer()
        assert await posted(receiver.url, "next") == 204
    assert [one.id for one in receiver.noted] == ["lost", "next"]


async def test_a_receiver_answers_late_where_it_is_told_so() -> None:
    async with Receiver([Answer(200, delay=0.2, count=1)]) as receiver:
        late, soon = asyncio.create_task(posted(receiver.url)), asyncio.create_task(posted(receiver.url))
        done, _ = await asyncio.wait([late, soon], return_when=asyncio.FIRST_COMPLETED)
        assert [one.result() for one in done] == [204]
        assert await late == 200


def test_a_receiver_in_a_process_of_its_own_reads_its_script(tmp_path: Path) -> None:
    log, script = tmp_path / "log", tmp_path / "script"
    script.write_text(json.dumps([{"status": 503, "count": 1}]))
    command = [sys.executable, "-W", "error", "-m", "turnout.testing.receiver", str(log), "--script", str(script)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/there"
        assert [asyncio.run(posted(url, name)) for name in ("a", "b")] == [503, 204]
    finally:
        process.kill()
        process.communicate()
    assert read_log(log) == [Noted("b", destination="there")]


@pytest.mark.parametrize("script", ["{}", "[1]", '[{"state": 200}]', '[{"status": 99}]', '[{"end": "x"}]', "["])
def test_a_script_that_cannot_be_read_is_refused(script: str) -> None:
    with pytest.raises(ValueError, match=r"script|status|end|Expecting"):
        read_script(script)


class Echo:
    """Sends back what it gets, and keeps it."""

    def __init__(self) -> None:
        self.got = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.got += data
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()


Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, Proxy, Peer]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await said((reader, writer), b"first") == b"first"
        yield echo, proxy, (reader, writer)
        writer.close()


async def said(peer: Peer, data: bytes) -> bytes | None:
    """What is answered; None: nothing within a tenth of a second."""
    reader, writer = peer
    writer.write(data)
    return await heard(reader, len(data))


async def heard(reader: asyncio.StreamReader, count: int, patience: float = 0.1) -> bytes | None:
    try:
        return await asyncio.wait_for(reader.readexactly(count), patience)
    except TimeoutError:
        return None


@pytest.mark.parametrize(
    ("direction", "arrives"), [(None, b"first"), ("to_server", b"first"), ("to_client", b"firstsecond")]
)
async def test_what_a_paused_proxy_holds_goes_on_later(direction: Direction | None, arrives: bytes) -> None:
    async with proxied() as (echo, proxy, peer):
        proxy.pause(direction)
        assert await said(peer, b"second") is None
        assert echo.got == arrives
        proxy.resume()
        assert await heard(peer[0], 6, 5.0) == b"second"
        assert proxy.connections == 1


async def test_a_new_connection_to_a_paused_proxy_is_like_a_peer_that_is_silent() -> None:
    async with proxied() as (_, proxy, _):
        proxy.pause()
        peer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await said(peer, b"x") is None
        proxy.resume()
        assert await heard(peer[0], 1, 5.0) == b"x"
        peer[1].close()


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_a_connection_that_lost_something_is_reset_in_the_end(direction: Direction) -> None:
    async with proxied() as (echo, proxy, peer):
        proxy.lose(direction)
        assert await said(peer, b"second") is None
        assert echo.got == (b"first" if direction == "to_server" else b"firstsecond")
        proxy.resume()
        with pytest.raises(ConnectionError):
            await peer[0].readexactly(1)
        again = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await said(again, b"third") == b"third"
        again[1].close()


async def test_a_proxy_resets_connections_and_refuses_new_ones(caplog: pytest.LogCaptureFixture) -> None:
    async with proxied() as (_, proxy, peer):
        proxy.refusing = True
        proxy.reset()
        with pytest.raises(ConnectionError):
            await peer[0].readexactly(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()
        assert proxy.connections == 1
    assert not caplog.records


async def test_a_proxy_passes_on_the_end_of_a_stream_and_much_at_once() -> None:
    async with proxied() as (echo, _, (reader, writer)):
        writer.write(b"x" * 5_000_000)
        writer.write_eof()
        assert len(await reader.read(-1)) == 5_000_000
    assert len(echo.got) == 5_000_005


async def test_a_proxy_before_a_server_that_is_down_ends_connections() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Proxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_a_direction_that_is_none_is_refused() -> None:
    async with proxied() as (_, proxy, _):
        with pytest.raises(ValueError, match="no direction"):
            proxy.pause("sideways")  # type: ignore[arg-type]


def test_an_account_tells_what_expired_and_what_came_twice_by_message() -> None:
    found = account("abcdef", ["a", "a", "a", "b", "c"], expired=["b", "d"], elsewhere=["e", "d"])
    assert (found.received, found.lost, found.expired, found.elsewhere) == (3, {"f"}, {"d"}, {"e"})
    assert (found.twice, found.duplicates) == (2, {"a": 2})
    assert found.sent == found.received + len(found.lost) + len(found.expired) + len(found.elsewhere)


def test_every_destination_has_an_account_of_its_own() -> None:
    noted = [Noted("m", destination="a"), Noted("m", destination="a"), Noted("n", destination="x")]
    found = accounts({"a": ["m"], "b": ["m", "n"]}, noted, expired={"b": ["n"]})
    assert (found["a"].balanced, found["a"].twice) == (True, 1)
    assert (found["b"].lost, found["b"].expired) == ({"m"}, {"n"})
    assert found["x"].unknown == {"n"}
