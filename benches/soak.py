"""A day of flow in some minutes: `soak.py MINUTES [SEED]`. Memory and open files stay flat, and nothing is lost.

As fast as it goes, messages pass an outbox and go to two pools each: webhooks, to two receivers, and a stream of Redis.
All the while destinations fail and recover at random: partitions of every kind, resets, refused connections, kills, a
server that stops; the configuration is reloaded, and dead letters are redriven. At the end everything is well again,
what was given up on is redriven, and the ledger and the receivers' own logs are compared with what was sent.

Memory (RSS of this process), open files and tasks are sampled every second; the first quarter is the warm-up. Flat
means: the median of the last quarter is no more than that of the second, by what is allowed below. Connections come and
go with what is under way, three files each with those of the proxy; so files and tasks may be as many in the median as
they once were in the first half, and when all is closed there are as many as before it was opened.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio

from servers import Server, redis_server, webhook_receiver
from turnout import Router
from turnout.testing import Proxy, read_log

WORKERS = 128
GROWTH_MEMORY = 1.05
"""Of the median, and a few MB, which are the allocator's."""
GROWTH_BYTES = 8 * 2**20


class Sample(NamedTuple):
    at: float
    memory: int
    files: int
    tasks: int
    delivered: int


def sample(started: float, hub: Router) -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    tasks = len(asyncio.all_tasks())
    return Sample(time.monotonic() - started, pages * os.sysconf("SC_PAGE_SIZE"), files, tasks, hub.ledger.delivered)


def configuration(directory: Path, hooks: list[int], stream: int, weight: int) -> dict[str, Any]:
    local = {"allow": ["127.0.0.0/8"], "timeout": "2s"}
    destinations: dict[str, Any] = {
        f"hook-{number}": {"url": f"http://127.0.0.1:{port}/", "options": local, "weight": weight if number else 1}
        for number, port in enumerate(hooks)
    }
    destinations["stream"] = {"url": f"redis://127.0.0.1:{stream}/0", "options": {"stream": "all", "timeout": "2s"}}
    return {
        "outbox": {"path": str(directory / "outbox.db"), "max_ids": 20_000},
        "destinations": destinations,
        "pools": {
            "hooks": {"policy": "weighted_round_robin", "destinations": ["hook-0", "hook-1"]},
            "queue": {"destinations": ["stream"]},
        },
        "rules": [{"id": "both", "when": "message.number >= 0", "to": ["hooks", "queue"], "mode": "all"}],
        "retries": {"attempt_timeout": "1s", "max_delay": "500ms"},
        "failover": {"recovery_time": "500ms", "on_exhausted": "wait"},
        "performance": {"timeout": "20s"},
    }


class Troubles:
    """What may go wrong, one thing at a time, and the way back."""

    def __init__(self, rng: random.Random, hooks: list[Server], store: Server, proxies: list[Proxy]) -> None:
        self._rng, self._hooks, self._store, self._proxies = rng, hooks, store, proxies
        self.had: dict[str, int] = {}

    async def one(self) -> None:
        kind: Callable[[float], Awaitable[None]] = self._rng.choice(
            [self.partition, self.loss, self.reset, self.refusal, self.kill, self.stop]
        )
        name = kind.__name__
        self.had[name] = self.had.get(name, 0) + 1
        await kind(self._rng.uniform(0.1, 1.5))

    async def partition(self, seconds: float) -> None:
        proxy = self._rng.choice(self._proxies)
        proxy.pause(self._rng.choice([None, "to_server", "to_client"]))
        await asyncio.sleep(seconds)
        proxy.resume()

    async def loss(self, seconds: float) -> None:
        proxy = self._rng.choice(self._proxies)
        proxy.lose(self._rng.choice([None, "to_server", "to_client"]))
        await asyncio.sleep(seconds)
        proxy.resume()

    async def reset(self, seconds: float) -> None:
        self._rng.choice(self._proxies).reset()

    async def refusal(self, seconds: float) -> None:
        proxy = self._rng.choice(self._proxies)
        proxy.refusing = True
        proxy.reset()
        await asyncio.sleep(seconds)
        proxy.refusing = False

    async def kill(self, seconds: float) -> None:
        server = self._rng.choice([*self._hooks, self._store])
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)

    async def stop(self, seconds: float) -> None:
        self._store.pause()
        await asyncio.sleep(seconds)
        self._store.go_on()


async def redriven(hub: Router) -> int:
    letters = list(hub.dead_letters)
    return await hub.dead_letters.redrive(letters) if letters else 0


async def flow(
    hub: Router, configs: list[dict[str, Any]], troubles: Troubles, rng: random.Random, seconds: float
) -> tuple[int, int, list[Sample]]:
    """Sends for so many seconds. How many were sent and redriven, and the samples."""
    started = time.monotonic()
    until = started + seconds
    sent = again = 0
    samples: list[Sample] = []

    async def send() -> None:
        nonlocal sent
        while time.monotonic() < until:
            sent += 1
            await hub.dispatch({"id": f"m-{sent}", "number": sent, "text": "x" * rng.randrange(300)})

    async def fail() -> None:
        while time.monotonic() < until:
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            await troubles.one()

    async def attend() -> None:
        nonlocal again
        while time.monotonic() < until:
            await asyncio.sleep(1.0)
            hub.reload(configs[len(samples) % len(configs)])
            again += await redriven(hub)
            samples.append(sample(started, hub))

    await asyncio.gather(*(send() for _ in range(WORKERS)), fail(), attend())
    return sent, again, samples


async def in_stream(port: int) -> list[bytes]:
    found: list[bytes] = []
    client: Any
    async with redis.asyncio.Redis(port=port) as client:
        last = "-"
        while page := await client.xrange("all", last, count=10_000):
            found += (fields[b"id"] for _, fields in page)
            last = f"({page[-1][0].decode()}"
    return found


def settled(what: str, found: list[str], sent: int) -> bool:
    """Whether everything that was sent is there, and nothing else."""
    expected = {f"m-{number}" for number in range(1, sent + 1)}
    different = set(found)
    lost, unknown = len(expected - different), len(different - expected)
    print(f"| {what} | {sent:,} | {len(different):,} | {lost} | {unknown} | {len(found) - len(different):,} |")
    return not lost and not unknown


def flat(what: str, values: list[int], most: float, unit: float) -> bool:
    figures = [statistics.median(one) for one in quarters(values)]
    held = figures[3] <= most
    row = " | ".join(f"{one / unit:,.1f}" for one in figures)
    print(f"| {what} | {row} | {most / unit:,.1f} | {'met' if held else '**missed**'} |")
    return held


def quarters(values: list[int]) -> list[list[int]]:
    size = max(len(values) // 4, 1)
    return [values[at : at + size] for at in range(0, 4 * size, size)]


async def run(directory: Path, minutes: float, seed: str) -> bool:
    rng = random.Random(seed)
    hooks = [webhook_receiver(directory / f"hook-{number}") for number in range(2)]
    store = redis_server(directory / "redis")
    for server in (*hooks, store):
        await asyncio.to_thread(server.start)
    try:
        async with Proxy(hooks[0].port) as first, Proxy(hooks[1].port) as second, Proxy(store.port) as third:
            ports = [first.port, second.port]
            configs = [configuration(directory, ports, third.port, weight) for weight in (1, 2, 3)]
            troubles = Troubles(rng, hooks, store, [first, second, third])
            hub = Router(configs[0])
            before = sample(0.0, hub)
            async with hub:
                sent, again, samples = await flow(hub, configs, troubles, rng, minutes * 60)
                for _ in range(20):
                    await hub.join()
                    if not await redriven(hub):
                        break
            ledger, letters = hub.ledger, len(hub.dead_letters)
            await asyncio.sleep(1.0)  # the proxies see the end of their connections
            after = sample(0.0, hub)
        logs = [noted.id for server in hooks for noted in read_log(server.directory / "log")]
        stream = [name.decode() for name in await in_stream(store.port)]
    finally:
        for server in (*hooks, store):
            server.go_on()
            server.kill()
    had = ", ".join(f"{count} {name}" for name, count in sorted(troubles.had.items()))
    print(f"\n{sent:,} messages in {minutes:g} minutes; {again:,} redriven")
    print(f"troubles: {had}\n")
    memory, files, tasks = ([getattr(one, name) for one in samples] for name in ("memory", "files", "tasks"))
    print("| median of each quarter | 1 (warm-up) | 2 | 3 | 4 | at most | |\n|---|---:|---:|---:|---:|---:|---|")
    held = [
        flat("memory, MB", memory, statistics.median(quarters(memory)[1]) * GROWTH_MEMORY + GROWTH_BYTES, 2**20),
        flat("open files", files, max(files[: len(files) // 2]), 1),
        flat("tasks", tasks, max(tasks[: len(tasks) // 2]), 1),
        after.files <= before.files and after.tasks <= before.tasks,
    ]
    print(f"\nclosed: {after.files} files and {after.tasks} tasks; before: {before.files} and {before.tasks}")
    print("\n| receivers' logs | sent | received | lost | unknown | came twice |\n|---|---:|---:|---:|---:|---:|")
    held += [settled("webhooks", logs, sent), settled("stream", stream, sent)]
    print(f"\nledger: accepted {ledger.accepted:,} (redriven ones again), delivered {ledger.delivered:,}, dead letters")
    print(f"{ledger.dead_lettered:,}, expired {ledger.expired:,}, lost {ledger.lost}; attempts {ledger.attempts:,};")
    print(f"{'balanced' if ledger.balanced else '**not balanced**'}; dead letters left: {letters}")
    return all(held) and ledger.balanced and not letters


def main() -> None:
    minutes = float(sys.argv[1])
    seed = sys.argv[2] if len(sys.argv) > 2 else str(random.randrange(10**6))
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as directory:
        held = asyncio.run(run(Path(directory), minutes, seed))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
