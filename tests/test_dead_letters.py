"""The store of dead letters from Python: selecting, redriving and purging, in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turnout import Router
from turnout.delivery import DeadLetter
from turnout.errors import ConfigError, DeliveryError, RuleError

CONFIG: dict[str, Any] = {
    "rules": [
        {"id": "texts", "priority": 2, "when": 'message.channel == "sms"', "to": "sms"},
        {
            "id": "both",
            "priority": 1,
            "when": 'message.channel == "both"',
            "to": ["sms", "mail"],
            "mode": "all",
            "on_partial_failure": "any",
        },
        {"id": "all", "when": 'message.channel == "all"', "to": ["sms", "mail"], "mode": "all"},
    ],
    "pools": {"sms": {"destinations": ["one"]}, "mail": {"destinations": ["two"]}},
    "destinations": {"one": {"url": "callable:f"}, "two": {"url": "callable:f"}},
    "retries": {"max_attempts": 1},
}


class Receiver:
    """Takes messages, but refuses those for the destinations in ``down``."""

    def __init__(self, *down: str) -> None:
        self.down = set(down)
        self.got: Counter[tuple[str, str]] = Counter()

    async def __call__(self, message: Any, destination: str) -> None:
        if destination in self.down:
            raise DeliveryError("down", "no answer", retryable=False)
        self.got[message["id"], destination] += 1


def router(receiver: Receiver, **more: Any) -> Router:
    made = Router({**CONFIG, **more})
    made.transport("f", receiver)
    return made


async def failed(hub: Router, *messages: dict[str, Any]) -> list[DeadLetter]:
    for message in messages:
        await hub.accept(message)
    await hub.join()
    return list(hub.dead_letters)


def ids(letters: list[DeadLetter]) -> list[str]:
    return [letter.id for letter in letters]


async def test_letters_are_selected_by_every_criterion() -> None:
    receiver = Receiver("one", "two")
    async with router(receiver) as hub:
        await failed(
            hub,
            {"id": "a", "channel": "sms", "n": 1},
            {"id": "b", "channel": "fax", "n": 2},
            {"id": "3", "channel": "all", "n": 3},
        )
        select = hub.dead_letters.select
        everything = select()
        assert [(letter.id, letter.number) for letter in everything] == [("a", 1), ("b", 2), ("3", 3)]
        assert ids(select(id="a")) == ids(select(id=["a"])) == ["a"]
        assert ids(select(id="2")) == ["b"]
        assert ids(select(id="3")) == ["3"]
        assert ids(select(id="nothing")) == []
        assert ids(select(reason="no_route")) == ["b"]
        assert ids(select(reason=["no_route", "rejected"], limit=2)) == ["a", "b"]
        assert ids(select(pool="sms")) == ["a", "3"]
        assert ids(select(pool="mail")) == ["3"]
        assert ids(select(destination="two")) == ["3"]
        assert ids(select(rule="texts")) == ["a"]
        assert ids(select(where="message.n >= 2")) == ["b", "3"]
        assert ids(select(where="message.absent == 1")) == []
        assert ids(select(since=everything[1].at)) == ["b", "3"]
        assert ids(select(until=everything[0].at, rule="texts")) == ["a"]
        assert ids(select(since=datetime.now(UTC) + timedelta(hours=1))) == []
        with pytest.raises(ConfigError, match="no time zone"):
            select(since=datetime(2025, 1, 1))
        with pytest.raises(ConfigError, match="limit: -1"):
            select(limit=-1)
        with pytest.raises(RuleError):
            select(where="message.n >=")


async def test_a_redrive_goes_through_routing_again_and_counts_on() -> None:
    receiver = Receiver("one")
    async with router(receiver) as hub:
        (first,) = await failed(hub, {"id": "m", "channel": "sms"})
        assert (first.redriven, first.tried) == (0, 1)
        assert await hub.dead_letters.redrive([first]) == 1
        await hub.join()
        (second,) = hub.dead_letters
        assert (second.id, second.rule, second.redriven, second.tried) == ("m", "texts", 1, 2)
        receiver.down.clear()
        assert await hub.dead_letters.redrive(["m"]) == 1
        await hub.join()
        assert receiver.got == {("m", "one"): 1}
        assert list(hub.dead_letters) == []
        assert await hub.dead_letters.redrive(["m", 1, second]) == 0
    assert (hub.ledger.accepted, hub.ledger.delivered, hub.ledger.dead_lettered) == (3, 1, 2)
    assert hub.ledger.balanced


async def test_a_redrive_may_name_a_pool_or_a_destination_and_one_that_is_there() -> None:
    receiver = Receiver("one")
    async with router(receiver) as hub:
        await failed(hub, {"id": "m", "channel": "sms"}, {"id": "n", "channel": "fax"})
        with pytest.raises(ConfigError, match="'nowhere'"):
            await hub.dead_letters.redrive(hub.dead_letters, to="nowhere")
        assert ids(list(hub.dead_letters)) == ["m", "n"]
        assert await hub.dead_letters.redrive(["m"], to="mail") == 1
        assert await hub.dead_letters.redrive(["n"], to="two") == 1
        await hub.join()
        assert receiver.got == {("m", "two"): 1, ("n", "two"): 1}


async def test_a_partial_letter_goes_to_its_own_pool_alone_however_often_it_is_redriven() -> None:
    receiver = Receiver("two")
    async with router(receiver) as hub:
        (letter,) = await failed(hub, {"id": "m", "channel": "both"})
        assert (letter.partial, letter.pool) == (True, "mail")
        for times in (1, 2):
            assert await hub.dead_letters.redrive([letter]) == 1
            await hub.join()
            (letter,) = hub.dead_letters
            assert (letter.partial, letter.pool, letter.stage, letter.redriven) == (True, "mail", "redrive", times)
        receiver.down.clear()
        await hub.dead_letters.redrive([letter.number])
        await hub.join()
        assert receiver.got == {("m", "one"): 1, ("m", "two"): 1}
    ledger = hub.ledger
    assert (ledger.delivered, ledger.dead_lettered, ledger.partial) == (2, 2, 1)
    assert sum(ledger.reasons.values()) == ledger.dead_lettered + ledger.partial


async def test_pools_that_have_the_message_do_not_get_it_again() -> None:
    receiver = Receiver("two")
    async with router(receiver) as hub:
        (letter,) = await failed(hub, {"id": "m", "channel": "all"})
        assert not letter.partial
        receiver.down.clear()
        await hub.dead_letters.redrive([letter])
        await hub.join()
        assert receiver.got == {("m", "one"): 1, ("m", "two"): 1}
        assert not len(hub.dead_letters)


async def test_a_target_that_a_reload_took_away_makes_a_letter_again() -> None:
    receiver = Receiver("one", "two")
    one_at_once = {**CONFIG, "performance": {"concurrency": 1, "timeout": "60s"}}
    hub = router(receiver)
    held = asyncio.Event()

    async def wait(_message: Any, _destination: str) -> None:
        await held.wait()

    hub.transport("wait", wait)
    destinations = {**CONFIG["destinations"], "one": {"url": "callable:wait"}}
    async with hub:
        await failed(hub, {"id": "m", "channel": "fax"})
        hub.reload({**one_at_once, "destinations": destinations})
        first = asyncio.create_task(hub.dispatch({"id": "holds", "channel": "sms"}))
        await asyncio.sleep(0)
        await hub.dead_letters.redrive(["m"], to="mail")
        only = {"rules": CONFIG["rules"][:1], "pools": {"sms": {"destinations": ["one"]}}}
        hub.reload({**one_at_once, **only, "destinations": {"one": {"url": "callable:wait"}}})
        held.set()
        await first
        await hub.join()
        (letter,) = hub.dead_letters
    assert (letter.id, letter.reason, letter.redriven) == ("m", "no_route", 1)
    assert "redriven to 'mail'" in letter.detail


async def test_a_redrive_that_is_refused_leaves_the_letter() -> None:
    receiver = Receiver("one")
    hub = router(receiver)
    async with hub:
        letters = await failed(hub, {"id": "a", "channel": "sms"}, {"id": "b", "channel": "sms"})
    with pytest.raises(DeliveryError, match="closed"):
        await hub.dead_letters.redrive(["a"])
    assert list(hub.dead_letters) == letters


async def test_a_redrive_makes_room_where_the_store_is_full_and_waits_for_room_in_memory() -> None:
    receiver = Receiver("one")
    more = {"dead_letters": {"max_kept": 300}, "performance": {"concurrency": 1, "max_waiting": 10}}
    async with router(receiver, **more) as hub:
        await failed(hub, *({"id": f"m{n}", "channel": "sms"} for n in range(300)))
        with pytest.raises(DeliveryError, match="dead_letters_full"):
            await hub.accept({"channel": "sms"})
        receiver.down.clear()
        assert await hub.dead_letters.redrive(hub.dead_letters) == 300
        await hub.join()
        assert receiver.got == {(f"m{n}", "one"): 1 for n in range(300)}


async def test_purged_letters_are_gone_and_counted_once() -> None:
    receiver = Receiver("one")
    async with router(receiver) as hub:
        a, b, c = await failed(hub, *({"id": name, "channel": "sms"} for name in "abc"))
        assert hub.dead_letters.purge([a, a.number, "a", "nothing", 99]) == 1
        assert hub.dead_letters.purge(["b"]) == 1
        assert hub.dead_letters.purge([b]) == 0
        assert list(hub.dead_letters) == [c]
        with pytest.raises(ConfigError, match="not float"):
            hub.dead_letters.purge([1.5])  # type: ignore[list-item]
