"""Webhooks that ask for patience or fail in storms, over real connections: what is told is heeded, nothing is lost."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Any

import pytest

from turnout import Router
from turnout.testing import Answer, Receiver, account

HERE = {"allow": ["127.0.0.0/8"]}


def router(receivers: dict[str, Receiver], tiers: dict[str, int] | None = None, **given: Any) -> Router:
    destinations: dict[str, Any] = {
        name: {"url": one.url + name, "options": HERE, "tier": (tiers or {}).get(name, 0)}
        for name, one in receivers.items()
    }
    pools = {"p": {"destinations": list(destinations)}}
    return Router({"default": "p", "pools": pools, "destinations": destinations, **given}, seed=1)


def after(seconds: float, form: str) -> dict[str, str]:
    return {"Retry-After": f"{seconds:.0f}" if form == "seconds" else formatdate(time.time() + seconds, usegmt=True)}


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (429, "date"), (503, "seconds"), (503, "date")])
async def test_a_message_waits_as_long_as_it_is_told_and_is_delivered(status: int, form: str) -> None:
    # A date has whole seconds, so it is told for two and asks for more than one.
    told = 1.0 if form == "seconds" else 2.0
    async with Receiver() as receiver, router({"d": receiver}, performance={"timeout": "30s"}) as one:
        began = time.time()
        receiver.answer(Answer(status, after(told, form), count=1))
        delivery = await one.dispatch({"id": "m-1"})
        assert delivery.delivered
        assert [(each.outcome, each.kind) for each in delivery.attempts] == [
            ("overloaded", f"status_{status}"), ("success", None),
        ]  # fmt: skip
        assert delivery.attempts[1].started - began >= 0.95
        assert one.stats().destinations["d"].overloaded == 1
        assert account(["m-1"], receiver.noted).balanced
    assert one.ledger.balanced


@pytest.mark.parametrize("on_exhausted", ["panic", "wait", "raise"])
async def test_where_there_is_no_time_to_wait_as_told_the_dead_letter_says_until_when(on_exhausted: str) -> None:
    given = {"performance": {"timeout": "2s"}, "failover": {"on_exhausted": on_exhausted}}
    async with Receiver([Answer(429, {"Retry-After": "90"})]) as receiver, router({"d": receiver}, **given) as one:
        began = time.time()
        delivery = await one.dispatch({})
        assert (delivery.status, delivery.reason) == ("dead_lettered", "overloaded")
        assert delivery.detail is not None
        assert "1 destination: 1 overloaded after 1 attempt; the last: d: status_429: " in delivery.detail
        until = delivery.detail.rpartition("it may be tried again at ")[2]
        told = time.mktime(time.strptime(until, "%Y-%m-%d %H:%M:%S UTC")) - time.timezone
        assert 88 <= told - began <= 95
        delivery = await one.dispatch({})  # of one that never had an attempt
        assert (delivery.reason, delivery.attempts) == ("overloaded", ())
        assert receiver.requests == 1, "it is left alone"
    assert one.ledger.balanced
    assert one.ledger.reasons == {"overloaded": 2}


async def test_another_destination_is_used_while_one_wants_to_be_left_alone() -> None:
    async with AsyncExitStack() as stack:
        receivers = {name: await stack.enter_async_context(Receiver()) for name in ("a", "b")}
        receivers["a"].answer(Answer(429, {"Retry-After": "3600"}))
        one = await stack.enter_async_context(router(receivers))
        found = [await one.dispatch({"id": f"m-{number}"}) for number in range(30)]
        assert all(delivery.delivered for delivery in found)
        assert receivers["a"].requests == 1
        assert len(receivers["b"].noted) == 30


async def test_a_receiver_that_wants_no_further_attempt_gets_none_and_nor_does_another() -> None:
    stop = Answer(503, {"webhook-delivery": "abort-message", "Retry-After": "1"})
    for answer in (Answer(410), stop):
        async with AsyncExitStack() as stack:
            receivers = {name: await stack.enter_async_context(Receiver([answer])) for name in ("a", "b")}
            one = await stack.enter_async_context(router(receivers))
            delivery = await one.dispatch({})
            assert (delivery.status, delivery.reason, len(delivery.attempts)) == ("dead_lettered", "rejected", 1)
            assert sum(receiver.requests for receiver in receivers.values()) == 1
            assert sum(found.failures + found.overloaded for found in one.stats().destinations.values()) == 0


STORM = (
    Answer(count=5),
    Answer(429, {"Retry-After": "1"}, count=2),
    Answer(500, count=5),
    Answer(end="hang", count=4),
    Answer(503, count=4),
    Answer(end="drop", count=4),
    Answer(503, {"Retry-After": "1"}, count=2),
    Answer(end="drop", noted=True, count=2),
)


async def test_in_a_storm_messages_go_elsewhere_and_come_back_and_none_is_lost() -> None:
    """Two primaries storm, a backup takes over, the primaries recover: each is ejected and comes back."""
    async with AsyncExitStack() as stack:
        receivers = {name: await stack.enter_async_context(Receiver()) for name in ("a", "b", "backup")}
        receivers["a"].answer(*STORM)
        receivers["b"].answer(*STORM[::-1])
        receivers["backup"].answer(Answer(count=20), Answer(503, count=3))
        one = await stack.enter_async_context(
            router(
                receivers,
                {"backup": 1},
                performance={"timeout": "60s", "concurrency": 16},
                retries={
                    "max_attempts": 200, "attempt_timeout": "300ms", "base_delay": "20ms", "max_delay": "200ms",
                    "budget_percent": 1000, "budget_per_second": 1000,
                },
                failover={
                    "streak": 3, "recovery_time": "200ms", "max_ejection_time": "200ms", "max_ejected_percent": 100,
                    "slow_start": "0s", "probation_successes": 1,
                },
            )
        )  # fmt: skip
        sent: list[str] = []
        script = sum(answer.count or 0 for answer in STORM)
        async with asyncio.timeout(60):
            while min(receivers["a"].requests, receivers["b"].requests) <= script:
                sent.append(await one.accept({}))
                await asyncio.sleep(0.004)
        await one.join()
        noted = [each for receiver in receivers.values() for each in receiver.noted]
        found = account(sent, noted)
        assert found.balanced, found
        ledger = one.ledger
        assert (ledger.accepted, ledger.delivered, ledger.balanced) == (len(sent), len(sent), True)
        stats = one.stats().destinations
        for name in ("a", "b"):
            assert stats[name].ejections >= 1
            assert stats[name].recoveries >= 1
        assert stats["backup"].failovers > 0
        assert all(each.in_flight == 0 for each in stats.values())
        # The storm is over: the primaries take all of it again.
        before = {name: len(receiver.noted) for name, receiver in receivers.items()}
        async with asyncio.timeout(30):
            while not all(each.breaker == "closed" for each in one.stats().destinations.values()):
                await asyncio.sleep(0.05)
                await one.dispatch({})
        calm = [await one.dispatch({}) for _ in range(20)]
        assert {delivery.destination for delivery in calm} == {"a", "b"}
        assert len(receivers["a"].noted) > before["a"]
    assert one.ledger.balanced
