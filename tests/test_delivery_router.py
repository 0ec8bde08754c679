"""Deliveries of a whole router: the real core, real transports, bad input, failover and recovery."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from turnout import ConfigError, DeliveryError, Message, MessageError, Router


def router(destinations: dict[str, Any], **settings: Any) -> Router:
    """A router with one pool ``p`` of these destinations, unless ``pools`` says otherwise."""
    config: dict[str, Any] = {
        "default": "p",
        "pools": {"p": {"destinations": list(destinations)}},
        "destinations": destinations,
        "retries": {"base_delay": "1ms", "max_delay": "5ms", "budget_per_second": 1000.0},
    }
    return Router({"message_router": {**config, **settings}}, seed=7)


async def answer(message: object, destination: str) -> str:
    return destination


def assert_settled(hub: Router) -> None:
    ledger = hub.ledger
    assert ledger.balanced
    assert ledger.lost == ledger.waiting == ledger.in_flight == 0
    assert [stats.in_flight for stats in hub.stats().destinations.values()] == [0] * len(hub.config.destinations)


async def test_a_rule_sends_a_message_to_a_function_and_its_answer_comes_back() -> None:
    hub = router(
        {"a": {"url": "callable:fn"}},
        rules=[{"id": "texts", "when": 'message.channel == "sms"', "to": "p"}],
    )
    hub.transport("fn", lambda message, destination: (message["channel"], destination))
    async with hub:
        delivery = (await hub.dispatch({"channel": "sms"})).check()
        assert (delivery.rule, delivery.value) == ("texts", ("sms", "a"))
        assert (await hub.dispatch(Message(channel="email"))).status == "dead_lettered"  # the function cannot index it
        assert (await hub.dispatch(b'{"channel": "sms"}')).attempts[0].kind == "TypeError"
    assert_settled(hub)


async def test_a_failing_destination_is_ejected_and_comes_back_while_nothing_is_lost() -> None:
    hub = router(
        {"a": {"url": "callable:fn"}, "b": {"url": "callable:fn"}},
        failover={"recovery_time": "150ms", "streak": 3},
    )
    down = False

    async def work(message: object, destination: str) -> str:
        if down and destination == "a":
            raise ConnectionError("down")
        return destination

    hub.transport("fn", work)
    async with hub:
        before = Counter([(await hub.dispatch({})).destination for _ in range(20)])
        down = True
        during = [await hub.dispatch({}) for _ in range(50)]
        down = False
        events = [event.kind for event in hub.event_log()]
        await asyncio.sleep(0.4)
        after = Counter([(await hub.dispatch({})).destination for _ in range(200)])
    assert before == {"a": 10, "b": 10}
    assert all(delivery.destination == "b" for delivery in during)
    assert sum(len(delivery.attempts) - 1 for delivery in during) == 3  # then it was ejected
    assert "ejected" in events
    assert after["a"] > 20
    assert hub.ledger.delivered == 270
    assert_settled(hub)


async def test_when_all_are_out_messages_wait_for_the_first_to_recover() -> None:
    hub = router(
        {"a": {"url": "callable:fn"}},
        failover={"recovery_time": "100ms", "streak": 1, "panic_threshold": 0},
        performance={"timeout": "3s"},
    )
    failures = iter([True])

    async def work(message: object, destination: str) -> None:
        if next(failures, False):
            raise ConnectionError("down")

    hub.transport("fn", work)
    async with hub:
        results = await asyncio.gather(*(hub.dispatch({}) for _ in range(50)))
    assert all(result.delivered for result in results)
    assert_settled(hub)


async def test_a_destination_that_hangs_leaves_time_for_another() -> None:
    hub = router(
        {"hung": {"url": "callable:fn"}, "fine": {"url": "callable:fn"}},
        retries={"attempt_timeout": "50ms", "base_delay": "1ms", "max_delay": "5ms"},
        performance={"timeout": "10s"},
    )

    async def hang(message: object, destination: str) -> str:
        if destination == "hung":
            await asyncio.sleep(60)
        return destination

    hub.transport("fn", hang)
    async with hub:
        delivery = await hub.dispatch({})
    assert delivery.value == "fine"
    assert [(one.destination, one.kind) for one in delivery.attempts] == [("hung", "timeout"), ("fine", None)]
    assert_settled(hub)


async def test_a_destination_at_its_cap_is_waited_for() -> None:
    hub = router({"a": {"url": "callable:fn", "max_in_flight": 4}})
    running = most = 0

    async def work(message: object, destination: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    hub.transport("fn", work)
    async with hub:
        for _ in range(100):
            await hub.accept({})
        await hub.join()
        assert most == 4
        assert hub.ledger.delivered == 100
    assert_settled(hub)


async def test_one_dead_destination_does_not_slow_the_others() -> None:
    hub = router(
        {"dead": {"url": "callable:hang"}, "live": {"url": "callable:fn"}},
        pools={"dead": {"destinations": ["dead"]}, "live": {"destinations": ["live"]}},
        default="live",
        rules=[{"id": "dead", "when": "message.n % 2 == 0", "to": "dead"}],
        performance={"timeout": "2s", "concurrency": 20},
    )
    live: list[float] = []

    async def hang(message: object, destination: str) -> None:
        await asyncio.sleep(60)

    async def note(message: Any, destination: str) -> None:
        await asyncio.sleep(0.001)
        live.append(time.perf_counter() - message["at"])

    hub.transport("hang", hang)
    hub.transport("fn", note)
    async with hub:
        for number in range(400):
            await hub.accept({"n": number, "at": time.perf_counter()})
        await hub.join()
    assert len(live) == 200
    assert max(live) < 1.8, "none waited for the dead destination's attempts to time out"
    assert hub.ledger.expired == 200
    assert_settled(hub)


async def test_mode_all_with_a_quorum_over_real_pools() -> None:
    hub = router(
        {name: {"url": f"callable:{name}"} for name in "abc"},
        pools={name: {"destinations": [name]} for name in "abc"},
        rules=[
            {"id": "any", "when": "message.q == 1", "to": ["a", "b", "c"], "mode": "all", "on_partial_failure": "any"},
            {"id": "all", "when": "message.q == 3", "to": ["a", "b", "c"], "mode": "all"},
            {"id": "two", "to": ["a", "b", "c"], "when": "true", "mode": "all", "on_partial_failure": {"quorum": 2}},
        ],
        default="a",
    )  # fmt: skip

    async def refuse(message: object, destination: str) -> None:
        raise DeliveryError("no", retryable=False)

    for name, function in {"a": answer, "b": refuse, "c": answer}.items():
        hub.transport(name, function)
    async with hub:
        results = {q: await hub.dispatch({"q": q}) for q in (1, 2, 3)}
    assert {q: result.status for q, result in results.items()} == {
        1: "delivered", 2: "delivered", 3: "dead_lettered",
    }  # fmt: skip
    assert [branch.status for branch in results[1].branches] == ["delivered", "dead_lettered", "delivered"]
    assert [(letter.rule, letter.partial) for letter in hub.dead_letters] == [
        ("any", True), ("two", True), ("all", False),
    ]  # fmt: skip
    assert_settled(hub)


async def test_ten_thousand_cancelled_dispatches_leave_no_lease_behind() -> None:
    hub = router({name: {"url": "callable:fn", "max_in_flight": 300} for name in "abc"})

    async def work(message: Any, destination: str) -> None:
        await asyncio.sleep(0 if message["n"] % 2 else 60)

    hub.transport("fn", work)
    async with hub:
        tasks = [asyncio.create_task(hub.dispatch({"n": number})) for number in range(10_000)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert hub.ledger.reasons["cancelled"] > 5000
        assert_settled(hub)
        assert (await hub.dispatch({"n": 1})).delivered
    assert_settled(hub)


async def test_messages_are_spooled_and_found_whole(tmp_path: Path) -> None:
    hub = router({name: {"url": f"spool:{tmp_path}/out"} for name in ("eu", "us")}, dead_letters={"max_kept": 10})
    async with hub:
        for number in range(1000):
            await hub.accept({"id": f"m-{number}", "n": number})
        await hub.join()
    records = [json.loads(line) for path in (tmp_path / "out").iterdir() for line in path.read_bytes().splitlines()]
    assert sorted(record["message"]["n"] for record in records) == list(range(1000))
    assert all(record["id"] == record["message"]["id"] for record in records)
    assert_settled(hub)


async def test_a_spool_directory_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    hub = router({"a": {"url": f"spool:{tmp_path}/file"}})
    with pytest.raises(ConfigError, match=r"destinations.a.url: .*file is not a directory"):
        await hub.start()


async def test_a_function_nobody_registered_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="no function is registered as 'fn'"):
        await router({"a": {"url": "callable:fn"}}).start()


async def test_a_reload_takes_effect_on_deliveries(tmp_path: Path) -> None:
    hub = router({"a": {"url": "callable:fn"}})
    hub.transport("fn", answer)
    async with hub:
        assert (await hub.dispatch({})).value == "a"
        hub.reload({"message_router": {"default": "p", "pools": {"p": {"destinations": ["b"]}}, "destinations": {
            "b": {"url": f"spool:{tmp_path}"}}, "performance": {"timeout": "1s"}}})  # fmt: skip
        assert (await hub.dispatch({})).destination == "b"
    assert (tmp_path / "b.jsonl").exists()
    assert hub.ledger.delivered == 2


async def test_an_accepted_message_meets_the_deadline_of_its_envelope() -> None:
    hub = router({"a": {"url": "callable:fn"}})
    hub.transport("fn", answer)
    async with hub:
        await hub.accept(Message(id="late", deadline=datetime.fromtimestamp(time.time() - 1, UTC)))
        await hub.join()
    assert [(letter.id, letter.status, letter.reason) for letter in hub.dead_letters] == [
        ("late", "expired", "deadline")
    ]
    assert_settled(hub)


# Bad input


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


RULES = [
    {"id": "deep", "when": 'message.a.a == "x" || message.total > 5', "to": "p"},
    {"id": "text", "when": 'message.text.contains("x")', "to": "p"},
]
REFUSED = [
    None,
    7,
    "text",
    ["a"],
    {1: "a"},
    {"priority": "high"},
    {"priority": 11},
    b"",
    b"{",
    b"null",
    b"\xff",
    b'{"a": NaN}',
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
]
ACCEPTED = [
    {},
    nested(10_000),
    {"text": "x" * 50_000_000},
    {"text": "\0"},
    {"text": "\ud800"},
    {"text": ["\ud800"], "total": float("nan")},
    {"total": 2**64},
    {"total": -(2**70)},
    {"total": object()},
    {"a": {1: "x"}},
    {"text": b"\xff"},
    {"id": 5, "text": {"a": 1}},
    b'{"total": 99999999999999999999999999}',
    b'{"text": "\\ud800"}',
    b'{"a": 1, "a": 2}',
]


@pytest.mark.parametrize("message", REFUSED, ids=range(len(REFUSED)))
async def test_what_is_no_message_is_refused_and_the_router_lives(message: Any) -> None:
    hub = router({"a": {"url": "callable:fn"}}, rules=RULES)
    hub.transport("fn", answer)
    async with hub:
        for call in (hub.dispatch, hub.accept):
            with pytest.raises(MessageError):
                await call(message)
        assert (await hub.dispatch({"total": 6})).delivered
    assert (hub.ledger.accepted, hub.ledger.refused) == (1, 2)
    assert_settled(hub)


@pytest.mark.parametrize("url", ["callable:fn", "spool:{tmp}"])
@pytest.mark.parametrize("message", ACCEPTED, ids=range(len(ACCEPTED)))
async def test_what_is_accepted_is_delivered_or_kept_with_the_reason(tmp_path: Path, message: Any, url: str) -> None:
    hub = router({"a": {"url": url.format(tmp=tmp_path)}}, rules=RULES)
    hub.transport("fn", answer)
    async with hub:
        delivery = await hub.dispatch(message)
        await hub.accept(message)
        await hub.join()
        assert (await hub.dispatch({"total": 6})).delivered
    assert delivery.delivered or delivery.reason in ("unreadable", "rejected"), delivery.detail
    assert (hub.ledger.accepted, len(hub.dead_letters)) == (3, 0 if delivery.delivered else 2)
    for letter in hub.dead_letters:
        assert letter.message is message
        assert len(letter.detail) < 1000
    assert_settled(hub)


@pytest.mark.parametrize("seed", range(10))
async def test_no_attempt_reaches_a_destination_below_the_messages_classification(seed: int) -> None:
    rng = random.Random(seed)
    levels = ["public", "internal", "confidential", "restricted"]
    clearances = {name: rng.choice(levels) for name in "abcdef"}
    destinations = {
        name: {"url": "callable:fn", "clearance": level, "tier": rng.randrange(3)} for name, level in clearances.items()
    }
    tiers = dict(zip("abcdef", (0, 0, 1, 1, 2, 2), strict=True))
    hub = router(
        destinations,
        pools={"p": {"destinations": [{"id": name, "tier": tier} for name, tier in tiers.items()]}},
        failover={"streak": 1, "recovery_time": "20ms"},
        retries={"base_delay": "1ms", "max_delay": "5ms"},
        performance={"timeout": "300ms"},
    )
    sent: list[tuple[str, str]] = []

    async def work(message: dict[str, str], destination: str) -> None:
        sent.append((message["classification"], destination))
        if rng.random() < 0.6:
            raise ConnectionError("down")

    hub.transport("fn", work)
    async with hub:
        for _ in range(5):
            hub.fail_over(rng.choice("abcde"), to="f", hold=0.05)
            messages = [{"classification": rng.choice(levels)} for _ in range(10)]
            await asyncio.gather(*(hub.dispatch(message) for message in messages), return_exceptions=True)
    assert len(sent) > 20
    assert all(levels.index(level) <= levels.index(clearances[name]) for level, name in sent)
