"""Runs the benchmark of channels: `python -m benches.transports [--quick] [--only nats]`.

Messages a second through each way, in one run on one server, ``UNDER_WAY`` at a time. Rounds of the ways alternate, and
the best of each counts: the machine may be shared. Servers are processes of their own on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from benches.goal import Goal, table

from .channels import CHANNELS, UNDER_WAY, One, Ways

WAYS = ("bare", "transport", "dispatch", "faststream")
RATIO = 0.8
"""Of the bare client's messages, at least."""
HELD = {"webhook": ("dispatch",), "nats": ("transport",), "redis": ("transport",), "amqp": ("transport",)}
"""What the goal is held to: webhooks the whole way, brokers by the transport. Of all else the figures are shown."""


async def rate(one: One, count: int) -> float:
    """Messages a second."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(UNDER_WAY)))
    return count / (time.perf_counter() - started)


async def best(ways: Ways, count: int, rounds: int) -> dict[str, float]:
    """The best round of each way."""
    found = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, one in ways.items():
            found[name] = max(found[name], await rate(one, count))
    return found


async def measured(name: str, count: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        async with CHANNELS[name](Path(directory)) as ways:
            return await best(ways, count, rounds)


def row(name: str, found: dict[str, float]) -> str:
    cells = (f"{found[way]:,.0f}" if way in found else "" for way in WAYS)
    ratios = (f"{found[way] / found['bare']:.2f}" if way in found else "" for way in WAYS[1:])
    return f"| {name} | {' | '.join(cells)} | {' | '.join(ratios)} |"


def goals(results: dict[str, dict[str, float]]) -> Iterable[Goal]:
    for name, found in results.items():
        for way in HELD.get(name, ()):
            yield Goal(f"{name}: {way} beside the bare client", found[way] / found["bare"], RATIO, "×", is_floor=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.transports", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    parser.add_argument("--only", choices=sorted(CHANNELS))
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # FastStream logs each broker's start
    count = 2_048 if given.quick else 8_192  # a multiple of what is under way, or the last group would wait for ever
    print("| channel | " + " | ".join(WAYS) + " | transport ÷ bare | dispatch ÷ bare | faststream ÷ bare |", flush=True)
    print("|---|" + "---:|" * 7, flush=True)
    results = {}
    for name in [given.only] if given.only else CHANNELS:
        try:
            results[name] = asyncio.run(measured(name, count, 3 if given.quick else 7))
        except pytest.skip.Exception as why:
            print(f"| {name} | not run: {why} |" + " |" * 6, flush=True)
        else:
            print(row(name, results[name]), flush=True)
    print("\n".join(table(goals(results))))


if __name__ == "__main__":
    main()
