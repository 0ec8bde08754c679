"""Limits on messages a second to a destination: configuration, decisions, delivery."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from turnout import ConfigError, NoDestinationError, Pool, Router
from turnout.config import load_dict


def router(limits: dict[str, Any], **given: Any) -> Router:
    return Router(
        {
            "default": "p",
            "pools": {"p": {"destinations": list(limits)}},
            "destinations": {name: {"url": "callable:fn", "rate_limit": limit} for name, limit in limits.items()},
            **given,
        }
    )


@pytest.mark.parametrize(
    ("limit", "rate", "burst"),
    [
        ("50/s", 50.0, None), (50, 50.0, None), ("600/m", 10.0, None), ("0.5/s", 0.5, None), ("7200/h", 2.0, None),
        ({"rate": 50, "burst": 100}, 50.0, 100), ({"rate": "50/s"}, 50.0, None),
    ],
)  # fmt: skip
def test_a_limit_is_written_as_a_rate_or_with_its_burst(limit: Any, rate: float, burst: int | None) -> None:
    found = load_dict({"destinations": {"d": {"rate_limit": limit}}}).destinations["d"].rate_limit
    assert found is not None
    assert (found.rate, found.burst) == (pytest.approx(rate), burst)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("50", "not a rate: write it like 50/s"), ("50 / s", "not a rate"), ("50/y", "not a rate"), (0, "out of range"),
        ("2000000/s", "out of range"), ({"rate": 5, "burst": 0}, "burst"), ({"burst": 5}, "rate"), (True, "rate"),
        ({"rate": 5, "brust": 2}, "burst"),
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused_with_a_remedy(limit: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_dict({"destinations": {"d": {"rate_limit": limit}}})


def test_a_destination_at_its_limit_is_passed_over_and_when_all_are_the_error_says_until_when() -> None:
    one = router({"a": {"rate": "1/h", "burst": 2}, "b": {"rate": "1/h", "burst": 3}})
    held = [one.acquire({}) for _ in range(5)]
    assert sorted(lease.destination for lease in held) == ["a", "a", "b", "b", "b"]
    for lease in held:
        lease.success()
    with pytest.raises(NoDestinationError, match="2 destinations: 2 at the rate limit") as caught:
        one.acquire({})
    error = caught.value
    assert error.full
    assert error.overloaded
    assert error.retry_at == pytest.approx(time.time() + 3600, abs=5)
    with pytest.raises(NoDestinationError):
        one.route({})
    one.reload({**one.config.model_dump(exclude_defaults=True)})
    with pytest.raises(NoDestinationError):
        one.acquire({})
    assert {member.eligible for member in one.stats().pools["p"].destinations} == {False}


def test_deciding_uses_nothing_up() -> None:
    one = router({"a": {"rate": "1/h", "burst": 1}})
    assert {one.route({}).destination for _ in range(10)} == {"a"}
    assert one.acquire({}).destination == "a"


def test_a_pool_alone_has_limits_too() -> None:
    pool = Pool([{"id": "a", "rate_limit": {"rate": 0.001, "burst": 1}}, "b"], policy="round_robin")
    assert sorted(pool.acquire().destination for _ in range(3)) == ["a", "b", "b"]
    with pytest.raises(ConfigError, match='destination "a": rate_limit: the rate is 0'):
        Pool([{"id": "a", "rate_limit": {"rate": 0}}])


async def test_messages_beyond_the_limit_wait_until_it_allows_them_and_none_is_lost() -> None:
    one = router({"a": {"rate": 50, "burst": 2}})
    sent: list[float] = []

    async def function(message: object, destination: str) -> None:
        sent.append(time.monotonic())

    one.transport("fn", function)
    async with one:
        found = await asyncio.gather(*(one.dispatch({}) for _ in range(12)))
    assert all(delivery.delivered and len(delivery.attempts) == 1 for delivery in found)
    assert sent[-1] - sent[0] >= 10 * 0.02 - 0.001  # two at once, then one each 20 ms
    assert one.ledger.balanced


@pytest.mark.parametrize("on_exhausted", ["panic", "raise"])
async def test_a_limit_beyond_the_deadline_is_told_at_once_with_the_time(on_exhausted: str) -> None:
    one = router({"a": {"rate": "1/h", "burst": 1}}, failover={"on_exhausted": on_exhausted})
    one.transport("fn", lambda message, destination: None)
    async with one:
        assert (await one.dispatch({})).delivered
        delivery = await one.dispatch({})
        assert (delivery.status, delivery.reason) == ("dead_lettered", "overloaded")
        assert (delivery.detail or "").startswith(
            "pool 'p': 1 destination: 1 at the rate limit; it may be tried again at "
        )
        assert delivery.elapsed < 1.0
    assert one.ledger.balanced


async def test_close_settles_what_waits_for_a_limit() -> None:
    one = router({"a": {"rate": "1/m", "burst": 1}}, performance={"timeout": "5m"})
    one.transport("fn", lambda message, destination: None)
    await one.start()
    tasks = [asyncio.create_task(one.dispatch({})) for _ in range(4)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[-1].cancel()
    await asyncio.sleep(0)
    await one.close(drain=0.05)
    await asyncio.wait(tasks)
    ledger = one.ledger
    assert (ledger.delivered, ledger.reasons, ledger.balanced) == (1, {"cancelled": 1, "closed": 2}, True)
    assert one.stats().destinations["a"].in_flight == 0
