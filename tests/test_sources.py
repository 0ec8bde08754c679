"""What a bridge acknowledges when, with a source made for the test; urls and options of sources."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli_support import files, ledger, process
from servers import free_port
from turnout import Router
from turnout.errors import ConfigError, DeliveryError
from turnout.sources import Bridged, Incoming, Source, source
from turnout.sources.base import Window


class Given(Incoming):
    def __init__(self, ends: list[tuple[str, str]], name: str, body: bytes, window: Window) -> None:
        super().__init__(name, body, window)
        self._ends = ends

    async def _ack(self) -> None:
        self._ends.append((self.id, "ack"))

    async def _nack(self, delay: float) -> None:
        self._ends.append((self.id, "nack"))

    async def _reject(self, why: str) -> None:
        self._ends.append((self.id, f"reject: {why}"))


class Broker:
    """A source that hands over bodies once, and notes how each ended."""

    name, nack_delay = "test", 0.0

    def __init__(self, *bodies: Any, keeps: bool = True) -> None:
        self.keeps = keeps
        self.ends: list[tuple[str, str]] = []
        self.window = Window(10)
        self.is_open = False
        self._bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]

    async def open(self) -> None:
        self.is_open = True

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        for number, body in enumerate(self._bodies):
            self.window.take()
            yield Given(self.ends, f"b-{number}", body, self.window)

    async def close(self) -> None:
        self.is_open = False


async def receive(message: Any, _destination: str) -> None:
    if message.get("bad"):
        raise DeliveryError("refused", "never", retryable=False)
    await asyncio.sleep(message.get("slow", 0))


def hub(**more: Any) -> Router:
    made = Router({"destinations": {"a": {"url": "callable:f"}}, **more})
    made.transport("f", receive)
    return made


async def test_without_an_outbox_what_is_delivered_is_acknowledged_and_the_rest_goes_back() -> None:
    broker = Broker({"id": "x"}, {"bad": 1}, b"[]", {"priority": 99}, b"\xff")
    router = hub()
    async with router:
        assert await router.run(broker) == Bridged(taken=5, acked=1, nacked=1, rejected=3)
        assert not len(router.dead_letters)
    ends = dict(broker.ends)
    assert (ends["b-0"], ends["b-1"]) == ("ack", "nack")
    assert ends["b-2"].startswith("reject: not a message")
    assert "message.priority" in ends["b-3"]
    assert "not UTF-8" in ends["b-4"]
    assert (broker.window.held, broker.is_open) == (0, False)


async def test_a_source_that_keeps_nothing_leaves_its_dead_letters_to_the_router() -> None:
    broker = Broker({"id": "x", "bad": 1}, keeps=False)
    router = hub()
    async with router:
        await router.run(broker)
        assert [letter.id for letter in router.dead_letters] == ["x"]
    assert broker.ends == [("b-0", "ack")]


async def test_with_an_outbox_a_message_is_acknowledged_when_it_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    broker = Broker({"slow": 60}, {"bad": 1}, {"id": "own"})
    router = hub(outbox={"path": str(path)}, performance={"timeout": "60s"})
    await router.start()
    running = asyncio.create_task(router.run(broker, drain=0))
    while len(broker.ends) < 3:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    await router.close(drain=0)
    assert sorted(broker.ends) == [("b-0", "ack"), ("b-1", "ack"), ("b-2", "ack")]
    assert [letter.id for letter in router.dead_letters] == ["b-1"]
    assert sqlite3.connect(path).execute("SELECT id FROM message").fetchall() == [("b-0",)]
    assert router.ledger.lost == 0


async def test_a_message_that_comes_again_is_delivered_once_with_an_outbox(tmp_path: Path) -> None:
    router = hub(outbox={"path": str(tmp_path / "o.db")})
    async with router:
        for _ in range(2):
            broker = Broker({"n": 1})
            await router.run(broker)
            assert broker.ends == [("b-0", "ack")]
        assert (router.ledger.accepted, router.ledger.repeated) == (1, 1)


async def test_with_an_outbox_messages_for_later_hold_up_no_other(tmp_path: Path) -> None:
    router = hub(outbox={"path": str(tmp_path / "o.db")}, performance={"concurrency": 2})
    later = [{"id": f"later-{number}", "not_before": "2100-01-01T00:00:00Z"} for number in range(50)]
    broker = Broker(*later, {"id": "now"})
    settled: list[str] = []
    async with router:
        router.on_settled(lambda delivery: settled.append(delivery.id))
        assert await router.run(broker) == Bridged(taken=51, acked=51)
        while not settled:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        assert (settled, router.under_way) == (["now"], 0)
        await router.close(drain=0)
    assert (router.ledger.kept, router.ledger.lost) == (50, 0)


async def test_with_an_outbox_no_more_are_brought_than_settle_in_time(tmp_path: Path) -> None:
    router = hub(outbox={"path": str(tmp_path / "o.db")}, performance={"concurrency": 2})
    broker = Broker(*({"id": f"m-{number}", "slow": 0.001} for number in range(100)))
    most = 0
    async with router:
        running = asyncio.create_task(router.run(broker))
        while not running.done():
            most = max(most, router.under_way)
            await asyncio.sleep(0.001)
        assert running.result().acked == 100
    assert router.ledger.delivered == 100
    assert most <= 4


async def test_what_the_router_does_not_accept_goes_back(tmp_path: Path) -> None:
    router = hub(outbox={"path": str(tmp_path / "o.db"), "max_bytes": 30})
    broker = Broker({"id": "x"}, {"id": "large", "text": "x" * 100})
    async with router:
        await router.run(broker)
    assert sorted(broker.ends) == [("b-0", "ack"), ("b-1", "nack")]


async def test_what_does_not_settle_in_time_goes_back_where_the_caller_is_cancelled() -> None:
    router = hub(performance={"timeout": "60s"})
    broker = Broker({"slow": 60}, {"slow": 0.05})
    async with router:
        running = asyncio.create_task(router.run(broker, drain=0.3))
        while router.ledger.in_flight < 2:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        assert not len(router.dead_letters)
        assert router.ledger.balanced
    assert sorted(broker.ends) == [("b-0", "nack"), ("b-1", "ack")]


async def test_a_source_that_loses_a_cancellation_is_cancelled_again() -> None:
    class Deaf(Broker):
        async def __aiter__(self) -> AsyncIterator[Incoming]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()
            yield Given(self.ends, "", b"", self.window)

    broker = Deaf()
    async with hub() as router:
        running = asyncio.create_task(router.run(broker))
        await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()


async def test_lines_of_a_file_are_brought_from_python_too(tmp_path: Path) -> None:
    path = tmp_path / "m.ndjson"
    path.write_text('{"id": "a"}\n[\n{"id": "b"}\n')
    async with hub() as router:
        assert await router.run(str(path)) == Bridged(taken=3, acked=2, rejected=1)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("ftp://host", {}, "unknown source ftp:; known: file:, redis:"),
        ("redis://host", {}, "redis: source: the key 'stream' is missing"),
        ("redis://host?stream=s&gruop=g", {}, "did you mean 'group'"),
        ("redis://host?stream=s&group=g", {"prefetch": "none"}, "prefetch"),
        ("redis://host:port?stream=s&group=g", {}, "cannot be read"),
        ("/no/such/file", {}, "No such file"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        source(url, **options)


def test_options_come_from_the_url_and_from_keywords() -> None:
    one = source("redis://host/0?stream=s&group=12&prefetch=7&nack_delay=2m", claim_after="90s")
    assert isinstance(one, Source)
    assert (one.name, one.nack_delay) == ("redis stream s, group 12", 120.0)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{}/0?stream=s&group=g",
        "nats://127.0.0.1:{}?stream=s&consumer=c&timeout=500ms",
        "amqp://127.0.0.1:{}/?queue=q",
        "kafka://127.0.0.1:{}?topic=t&group=g",
    ],
    ids=lambda url: url.partition(":")[0],
)
def test_a_broker_that_is_down_is_told_once_waited_for_and_keeps_no_signal_waiting(tmp_path: Path, url: str) -> None:
    with process("run", *files(tmp_path), "-q", "--source", url.format(free_port())) as running:
        assert running.stderr is not None
        told = []
        while not any("waits for the" in line for line in told):
            told.append(running.stderr.readline())
            assert told[-1], told
        running.terminate()
        out, rest = running.communicate(timeout=60)
    assert running.returncode == 0, rest
    assert ledger(out)["lost"] == 0
    assert "waits for the" not in rest
