"""A process with an outbox that is killed, or kills itself at a point of :mod:`outbox_points`: for test_outbox_kills.

It settles what the one before it left, says so, and brings messages until its end. It says what it does through a pipe
to its parent, in lines of JSON: ``offered`` before a message is brought, ``accepted`` after, ``settled``, ``point``.
What arrives is no business of this process: receivers of their own note that.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from outbox_points import FRESH, LOG_LIMIT, POINTS, Countdown, end_at_size, sizes
from turnout import Router
from turnout.delivery import letter_file

WORKERS: Final = 3
LARGE: Final = 400_000
LETTERS: Final = 12


def config(path: Path, ports: Sequence[int]) -> dict[str, Any]:
    """``ports``: of the receivers of the pools p and q."""
    first, second = (f"http://127.0.0.1:{port}/{name}" for port, name in zip(ports, "pq", strict=True))
    local = {"allow": ["127.0.0.0/8"]}
    return {
        "outbox": {"path": str(path), "max_ids": 200},
        "rules": [{"id": "both", "when": "message.n >= 0", "to": ["p", "q"], "mode": "all"}],
        "default": "dead_letter",
        "pools": {"p": {"destinations": ["a"]}, "q": {"destinations": ["b", "c"]}},
        "destinations": {
            "a": {"url": first, "options": local},
            "b": {"url": second, "options": local},
            "c": {"url": second, "options": local},
        },
        "failover": {"on_exhausted": "wait", "recovery_time": "20ms"},
        "retries": {"base_delay": "1ms", "max_delay": "5ms", "budget_per_second": 1000, "schedule": ["30ms", "60ms"]},
        "performance": {"concurrency": 8, "max_waiting": 8},
    }


class Child:
    """One life. ``number``: of the kill that ends it, so that its messages are told from those of others."""

    def __init__(
        self, directory: Path, path: Path, ports: Sequence[int], pipes: tuple[int, int], number: int, seed: float
    ) -> None:
        """``pipes``: from its parent and to it."""
        self._directory, self._path, self._ports, self._number = directory, path, ports, number
        self._go_on, self._pipe = pipes
        self._rng = random.Random(seed)

    def say(self, **what: Any) -> None:
        """In one write of less than a pipe takes whole."""
        line = json.dumps(what).encode() + b"\n"
        assert len(line) <= 4096
        os.write(self._pipe, line)

    async def run(self, scenario: str) -> None:
        if scenario in POINTS:
            count = self._rng.randint(1, _COUNTS.get(scenario, 10))
            only = f"{self._number}-" if scenario in FRESH else ""
            POINTS[scenario](Countdown(count, lambda ids: self.say(point=scenario, ids=ids[:50]), only))
        if scenario.startswith("redrive_alone"):
            letter_file.act(self._path, "redrive", _late(self._path), "p", wait=0)
        router = Router(config(self._path, self._ports))
        await router.start()
        await router.join()
        while _asked(self._path):  # a message whose redrive is under way is nowhere for a moment
            await asyncio.sleep(0.02)
            await router.join()
        ledger = router.ledger
        letters = [(letter.id, letter.pool, letter.reason) for letter in router.dead_letters]
        (self._directory / "letters.json").write_text(json.dumps(letters))
        self.say(settled={"lost": ledger.lost, "balanced": ledger.balanced})
        os.read(self._go_on, 1)  # nothing is sent until its parent has seen where the receivers' logs are
        if scenario == "end":
            await router.close()
        elif scenario == "log":
            await self._write_past_limit(router)
        elif scenario == "checkpoint":
            await self._grow_past_limit(router)
        else:
            await self._flow(router, scenario)

    async def _flow(self, router: Router, scenario: str) -> None:
        """Without an end."""
        if scenario.startswith("rest"):
            router.reload(config(self._path, (1, self._ports[1])))  # nobody listens at port 1
        if scenario.startswith("redrive") or scenario == "late":
            await self._bring(
                router, [{"id": f"{self._number}-dead-{one}", "late": True} for one in range(LETTERS)], "p"
            )
            while len(_late(self._path)) < LETTERS:  # noqa: ASYNC110 - their ends are written behind
                await asyncio.sleep(0.01)
            self.say(redrivable=True)
        many = scenario.startswith("many")
        await asyncio.gather(*(self._work(router, worker, many or worker == 0) for worker in range(WORKERS)))

    async def _work(self, router: Router, worker: int, many: bool) -> None:
        for count in range(0, 10**6, 10):
            messages = [self._message(worker, count + one) for one in range(10)]
            if many:
                await self._bring(router, messages, "pq", many=True)
            else:
                for message in messages:
                    await self._bring(router, [message], "pq")
            if count % 50 == 40:
                router.reload(router.config)

    def _message(self, worker: int, count: int) -> dict[str, Any]:
        """Every fifth is delayed; the others have a key, of this worker in whatever life, and their place in it."""
        name = f"{self._number}-{worker}-{count}"
        message = {"id": name, "n": count, "text": "x" * self._rng.randrange(400)}
        if count % 5 == 4:
            return {**message, "not_before": time.time() + self._rng.random() * 0.05}
        key = f"{worker}-{count % 3}"
        return {**message, "key": key, "ordering_key": key, "number": self._number * 1_000_000 + count}

    async def _bring(self, router: Router, messages: Sequence[dict[str, Any]], to: str, *, many: bool = False) -> None:
        names = [message["id"] for message in messages]
        self.say(offered=names, to=to)
        if many:
            answers = await router.accept_many(messages)
            assert answers == names, answers
        else:
            for message in messages:
                await router.accept(message)
        self.say(accepted=names, to=to)

    async def _write_past_limit(self, router: Router) -> None:
        """Ends in the middle of a commit: the log is empty, and passes the limit with the next transaction."""
        db = sqlite3.connect(self._path)
        while sizes(self._path)[1]:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        end_at_size(LOG_LIMIT)
        messages = [{**self._message(0, one), "text": "x" * 20_000} for one in range(10)]
        self.say(point="log", ids=[message["id"] for message in messages])
        await self._bring(router, messages, "pq", many=True)

    async def _grow_past_limit(self, router: Router) -> None:
        """Ends in the middle of a checkpoint: the log has its full size, and the file passes the limit first."""
        limited = False
        for count in range(1_000):
            file, log = sizes(self._path)
            if not limited and file > max(log, 2_500_000):
                limited = True
                end_at_size(file)
            message = {"id": f"{self._number}-large-{count}", "n": count, "text": "x" * LARGE}
            await self._bring(router, [{**message, "not_before": time.time() + 0.3}], "pq")


_COUNTS: Final = {
    "many_before": 6, "many_after": 6, "migration": 40, "vacuum": 8, "rest_before": 2, "rest_after": 2, "revived": 5,
    "redrive_asked": LETTERS, "redrive_before": 1, "redrive_after": 1, "redrive_answer": 1, "redrive_alone_before": 1,
    "redrive_alone_after": 1,
}  # fmt: skip
"""How often a point is reached at the most before the end comes; 10 where nothing is said."""


def _asked(path: Path) -> int:
    """Requests of other processes that are not answered."""
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM request").fetchone()
    return int(count)


def _late(path: Path) -> list[Any]:
    letters, damaged = letter_file.read(path)
    assert not damaged
    return [letter for letter in letters if letter.reason == "dead_letter"]


def redrive(path: Path) -> None:
    """Asks the process that has the outbox to redrive its dead letters."""
    letter_file.act(path, "redrive", _late(path), "p", wait=0)
