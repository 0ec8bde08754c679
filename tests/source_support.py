"""What is asked of every source: nothing is lost while a bridge is killed, or its broker; processes share the work."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli_support import process
from servers import Server
from turnout import Router
from turnout.errors import DeliveryError
from turnout.sources import Source

PATIENCE_S = 90.0

CONFIG = """\
message_router:
  pools: {{all: {{destinations: [one]}}}}
  default: all
  destinations: {{one: {{url: "callable:send"}}}}
  performance: {{timeout: 60s}}
  retries: {{max_attempts: 1}}
{more}
"""

APP = """\
import asyncio, os, pathlib
log = os.open(pathlib.Path(__file__).with_name("received.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def send(message, destination):
    await asyncio.sleep({seconds})
    os.write(log, f"{{os.getpid()}} {{message['id']}}\\n".encode())

def setup(router):
    router.transport("send", send)
"""


def folder(path: Path, more: str = "", seconds: float = 0.002) -> list[str]:
    """Writes what a bridge needs into a folder; returns the arguments of ``turnout run``."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "router.yaml").write_text(CONFIG.format(more=more))
    (path / "app.py").write_text(APP.format(seconds=seconds))
    return ["run", str(path / "router.yaml"), "--app", str(path / "app.py")]


def received(path: Path) -> list[tuple[str, str]]:
    """Process and message of each delivery that the destination has noted."""
    log = path / "received.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [tuple(line.split()) for line in lines]  # type: ignore[misc]


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def count_of(path: Path) -> int:
    return len({name for _, name in received(path)})


def survives_kills(path: Path, url: str, ids: list[str], *, outbox: bool, kills: int = 3) -> None:
    """A bridge killed in the middle, again and again, brings every message at least once."""
    more = f"  outbox: {{path: {path / 'outbox.db'}}}" if outbox else ""
    arguments = [*folder(path, more), "--source", url, "-q"]
    for number in range(kills):
        with process(*arguments) as running:
            wait_for(lambda number=number: count_of(path) > len(ids) * number // (kills + 2))  # type: ignore[misc]
            running.kill()
            running.communicate()
    finish(path, [arguments], len(ids))
    found = Counter(name for _, name in received(path))
    print(f"\n{kills} kills: {len(ids)} sent, {len(found)} received, {found.total() - len(found)} twice")
    assert set(found) == set(ids)


def finish(path: Path, commands: list[list[str]], count: int) -> list[str]:
    """Runs bridges until so many messages were received, then ends them by SIGTERM; what they printed."""
    running = [process(*command) for command in commands]
    try:
        wait_for(lambda: count_of(path) >= count)
    finally:
        for one in running:
            one.terminate()
        printed = [one.communicate(timeout=PATIENCE_S) for one in running]
    for one, (out, err) in zip(running, printed, strict=True):
        assert one.returncode in (0, 1), err
        assert "lost = 0" in out, err
    return [err for _, err in printed]


def processes_share_the_work(path: Path, url: str, ids: list[str], *, exactly: bool = True) -> None:
    """Two bridges on one group: each takes part, and every message is delivered, ``exactly`` once."""
    arguments = [*folder(path), "--source", url, "-q"]
    finish(path, [arguments, arguments], len(ids))
    found = received(path)
    counts = Counter(name for _, name in found)
    assert set(counts) == set(ids)
    assert not exactly or counts == Counter(ids)
    assert len({number for number, _ in found}) == 2


class Hub:
    """A router whose one destination refuses each message so often, and notes when it was tried."""

    def __init__(self, refusals: int = 0, **more: Any) -> None:
        self.router = Router(
            {"destinations": {"one": {"url": "callable:send"}}, "retries": {"max_attempts": 1}, **more}
        )
        self.tried: dict[str, list[float]] = {}
        self.delivered: list[str] = []
        self._refusals = refusals
        self.router.transport("send", self._send)

    async def _send(self, message: dict[str, Any], _destination: str) -> None:
        times = self.tried.setdefault(message["id"], [])
        times.append(time.monotonic())
        if len(times) <= self._refusals:
            raise DeliveryError("down", "not yet", retryable=False)
        self.delivered.append(message["id"])

    async def bring(self, source: Source, until: Callable[[], bool]) -> None:
        """Runs the bridge until something holds, then stops it."""
        async with self.router:
            running = asyncio.create_task(self.router.run(source))
            until_ = time.monotonic() + PATIENCE_S
            while not until():
                assert time.monotonic() < until_
                assert not running.done(), running.result()
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait([running])
        assert self.router.ledger.balanced
        assert not len(self.router.dead_letters)


async def a_message_that_was_not_delivered_comes_again_after_the_delay(source: Source, name: str) -> None:
    """``source`` has a ``nack_delay`` of 0.3 s, and one message."""
    hub = Hub(refusals=2)
    await hub.bring(source, lambda: hub.delivered == [name])
    first, second, third = hub.tried[name]
    assert min(second - first, third - second) >= 0.3


async def survives_a_restart(server: Server, source: Source, count: int = 1000) -> None:
    """``source`` has the messages m-0 to m-999. The broker is killed under flow and started again: every message is
    delivered at least once."""
    hub = Hub()
    killed = False

    def until() -> bool:
        nonlocal killed
        if not killed and len(hub.delivered) > count // 5:
            killed = True
            server.kill()
            server.start()
        return len(set(hub.delivered)) >= count

    await hub.bring(source, until)
    assert killed
    assert set(hub.delivered) == {f"m-{number}" for number in range(count)}
