"""Run by test_outbox_kills: brings messages to a router with an outbox, in processes killed at random instants.

``outbox_child.py DIRECTORY KILLS SEED`` forks a child for each kill, so that a kill costs no start of an interpreter;
then one that is not killed and settles what is left. The logs are written by ``write(2)``, so that they survive:
``accepted.log`` what the router accepted, ``received.log`` what a destination got, with its attempt's number.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from turnout import Router


def config(directory: Path) -> dict[str, Any]:
    return {
        "outbox": {"path": str(directory / "outbox.db")},
        "rules": [{"id": "both", "when": "message.n >= 0", "to": ["p", "q"], "mode": "all"}],
        "pools": {"p": {"destinations": ["a"]}, "q": {"destinations": ["b", "c"]}},
        "destinations": {name: {"url": f"callable:{name}"} for name in "abc"},
        "retries": {"base_delay": "1ms", "max_delay": "5ms", "budget_per_second": 1000},
    }


async def run(directory: Path, number: int, rng: random.Random, *, last: bool) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    accepted, received = (os.open(directory / f"{name}.log", flags) for name in ("accepted", "received"))
    router = Router(config(directory))

    async def receive(message: Any, destination: str) -> None:
        if rng.random() < 0.05:
            await asyncio.sleep(rng.random() * 0.01)
        if destination != "a" and rng.random() < 0.1:
            raise ConnectionError("refused")
        os.write(received, f"{message['id']} {'p' if destination == 'a' else 'q'}\n".encode())

    for name in "abc":
        router.transport(name, receive)

    async def bring(worker: int) -> None:
        for count in range(10**9):
            name = f"{number}-{worker}-{count}"
            await router.accept({"id": name, "n": count, "text": "x" * rng.randrange(400)})
            os.write(accepted, f"{name}\n".encode())
            if count % 50 == 49:
                router.reload(config(directory))

    await router.start()
    if not last:
        await asyncio.gather(*(bring(worker) for worker in range(4)))
    await router.join()
    await router.close()
    letters = [(letter.id, letter.pool) for letter in router.dead_letters]
    ledger = router.ledger
    (directory / "end.json").write_text(json.dumps({"letters": letters, "lost": ledger.lost, "kept": ledger.kept}))


def main() -> None:
    directory, kills, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3])
    for number in range(kills + 1):
        seed, last = rng.random(), number == kills
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(run(directory, number, random.Random(seed), last=last))
            except BaseException as error:  # noqa: BLE001 - a forked child must not go on as its parent
                print(f"child {number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if not last:
            time.sleep(rng.random() * 0.12)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if (not last and os.WIFEXITED(status)) or (last and status != 0):
            sys.exit(f"child {number} ended by itself")


main()
