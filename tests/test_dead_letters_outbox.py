"""Dead letters in an outbox: redriven in one transaction, kept while the disk is full, across starts."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any

from test_delivery_times import until
from test_outbox import small_disk  # noqa: F401 - a fixture
from turnout import Router
from turnout.errors import DeliveryError


class Hub:
    """A router with an outbox whose one destination refuses while ``down``, and waits while ``held``."""

    def __init__(self, path: Path, **more: Any) -> None:
        self.path = path
        self.down = True
        self.go = asyncio.Event()
        self.go.set()
        self.got: list[tuple[str, int]] = []
        self.router = Router(
            {
                "outbox": {"path": str(path)},
                "destinations": {"a": {"url": "callable:f"}},
                "retries": {"max_attempts": 1},
                "performance": {"timeout": "60s"},
                **more,
            }
        )
        self.router.transport("f", self._receive)

    async def _receive(self, message: dict[str, Any], _destination: str) -> None:
        await self.go.wait()
        if self.down:
            raise DeliveryError("down", "no answer", retryable=False)
        self.got.append((message["id"], len(message)))

    def on_disk(self) -> tuple[list[str], int]:
        """Ids of messages, and the number of letters."""
        with closing(sqlite3.connect(self.path)) as db:
            ids = [name for (name,) in db.execute("SELECT id FROM message")]
            return ids, db.execute("SELECT count(*) FROM dead").fetchone()[0]


async def test_a_redriven_letter_is_a_message_on_disk_when_the_redrive_returns(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "o.db")
    async with hub.router as router:
        for name in "ab":
            await router.dispatch({"id": name})
        hub.go.clear()
        assert await router.dead_letters.redrive(["a"]) == 1
        assert hub.on_disk() == (["a"], 1)
        hub.down = False
        hub.go.set()
        await router.join()
        assert hub.got == [("a", 1)]
    again = Hub(tmp_path / "o.db")
    async with again.router as router:
        assert [(letter.id, letter.number) for letter in router.dead_letters] == [("b", 2)]


async def test_a_redrive_under_way_at_a_close_goes_on_at_the_next_start_with_its_target_and_count(
    tmp_path: Path,
) -> None:
    hub = Hub(tmp_path / "o.db")
    await hub.router.start()
    await hub.router.dispatch({"id": "m"})
    hub.go.clear()
    await hub.router.dead_letters.redrive(["m"], to="a")
    await hub.router.close(drain=0)
    assert (hub.router.ledger.kept, hub.router.ledger.lost) == (1, 0)
    again = Hub(tmp_path / "o.db")
    async with again.router as router:
        await router.join()
        (letter,) = router.dead_letters
        assert (letter.id, letter.redriven, letter.stage) == ("m", 1, "redrive")
        assert letter.tried >= 2


async def test_two_letters_of_one_message_are_redriven_together(tmp_path: Path) -> None:
    config = {
        "rules": [
            {
                "id": "r",
                "when": "message.n == 1",
                "to": ["p", "q", "s"],
                "mode": "all",
                "on_partial_failure": "any",
            }
        ],
        "pools": {name: {"destinations": [name]} for name in "pqs"},
        "destinations": {name: {"url": f"callable:{name}"} for name in "pqs"},
    }
    config["destinations"]["a"] = {"url": "callable:f"}
    config["pools"]["d"] = {"destinations": ["a"]}
    hub = Hub(tmp_path / "o.db", **config)
    down, got = {"p", "q"}, []

    async def receive(message: dict[str, Any], destination: str) -> None:
        if destination in down:
            raise DeliveryError("down", "no answer", retryable=False)
        got.append(destination)

    for name in "pqs":
        hub.router.transport(name, receive)
    async with hub.router as router:
        await router.dispatch({"id": "m", "n": 1})
        assert [letter.pool for letter in router.dead_letters] == ["p", "q"]
        down.clear()
        assert await router.dead_letters.redrive(["m"]) == 2
        await router.join()
        assert sorted(got) == ["p", "q", "s"]
        assert hub.on_disk() == ([], 0) or not len(router.dead_letters)
    assert hub.on_disk() == ([], 0)


async def test_the_failed_branch_of_a_delivered_message_is_a_letter_that_survives_a_restart(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "rules": [{"id": "r", "when": "true", "to": ["p", "q"], "mode": "all", "on_partial_failure": "any"}],
        "pools": {"p": {"destinations": ["a"]}, "q": {"destinations": ["b"]}},
        "destinations": {"a": {"url": "callable:f"}, "b": {"url": "callable:g"}},
    }
    got: list[str] = []
    first = Hub(tmp_path / "o.db", **config)
    first.router.transport("g", lambda message, destination: got.append(destination))
    async with first.router as router:
        assert (await router.dispatch({"id": "m"})).delivered
        (letter,) = before = list(router.dead_letters)
        assert (letter.id, letter.pool, letter.partial, letter.reason) == ("m", "p", True, "rejected")
        assert (router.ledger.delivered, router.ledger.dead_lettered, router.ledger.partial) == (1, 0, 1)
    assert first.on_disk() == ([], 1)
    again = Hub(tmp_path / "o.db", **config)
    again.router.transport("g", lambda message, destination: got.append(destination))
    again.down = False
    async with again.router as router:
        assert list(router.dead_letters) == before
        assert await router.dead_letters.redrive(["m"]) == 1
        await router.join()
        assert len(router.dead_letters) == 0
    assert (got, again.got, again.on_disk()) == (["b"], [("m", 1)], ([], 0))


async def kind_of(call: Awaitable[object]) -> str:
    """How it was refused; empty if it was not."""
    try:
        await call
    except DeliveryError as error:
        return error.kind
    return ""


async def filled(hub: Hub) -> int:
    """How many messages the outbox took until its disk was full, none of them attempted yet."""
    hub.go.clear()
    await hub.router.start()
    accepted = 0
    while await kind_of(hub.router.accept({"id": f"m{accepted}", "text": "x" * 10_000})) != "outbox_full":
        accepted += 1
    return accepted


async def test_letters_of_a_full_disk_are_redriven_or_purged_and_none_is_lost(small_disk: Path) -> None:  # noqa: F811
    hub = Hub(small_disk / "o.db")
    accepted = await filled(hub)
    hub.go.set()
    await hub.router.join()
    assert len(hub.router.dead_letters) == accepted
    some = list(hub.router.dead_letters)[:20]
    assert "outbox_full" in [await kind_of(hub.router.dead_letters.redrive([letter])) for letter in some]
    await hub.router.join()
    assert len(hub.router.dead_letters) == accepted
    assert hub.router.dead_letters.purge(hub.router.dead_letters.select(limit=accepted // 2)) == accepted // 2
    await hub.router.close()
    again = Hub(small_disk / "o.db")
    async with again.router as router:
        await router.join()
        assert len(router.dead_letters) == accepted - accepted // 2
        assert router.ledger.lost == 0


async def test_letters_that_the_disk_has_no_room_for_wait_in_memory_and_those_purged_do_not_come_back(
    small_disk: Path,  # noqa: F811
) -> None:
    hub = Hub(small_disk / "o.db")
    accepted = await filled(hub)
    room = shutil.disk_usage(small_disk).free
    assert room > 1 << 20  # what was reserved for ends
    (small_disk / "filler").write_bytes(bytes(room - (1 << 20)))
    hub.go.set()
    await hub.router.join()
    purged = accepted - 10
    assert hub.router.dead_letters.purge(hub.router.dead_letters.select(limit=purged)) == purged
    await until(lambda: len(hub.on_disk()[0]) <= 10)
    (small_disk / "filler").unlink()
    await hub.router.close()
    assert hub.on_disk() == ([], 10)
