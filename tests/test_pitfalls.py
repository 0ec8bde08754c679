"""Pitfalls that other balancers fell into, seen from Python; the others are in rust/pool/tests/pitfalls.rs."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from turnout import ConfigError, NoDestinationError, Pool, Router


def states(pool: Pool) -> dict[str, dict[str, Any]]:
    return {state["id"]: state for state in pool.destinations()}


def eject(pool: Pool, name: str, others: list[str]) -> None:
    while states(pool)[name]["breaker"] == "closed":
        pool.acquire(exclude=others).failure()


async def test_a_hundred_thousand_cancelled_tasks_leave_nothing_in_flight_and_no_permit_taken() -> None:
    pool = Pool(["a", "b", "c"], policy="least_connections", failover={"recovery_time": 0.001, "slow_start": 0})
    eject(pool, "a", ["b", "c"])
    await asyncio.sleep(0.01)
    probes = 0

    async def hold() -> None:
        nonlocal probes
        async with pool.acquire() as lease:
            probes += lease.is_probe
            await asyncio.sleep(60)

    for _ in range(10):
        tasks = [asyncio.create_task(hold()) for _ in range(10_000)]
        await asyncio.sleep(0)
        assert sum(state["in_flight"] for state in pool.destinations()) == 10_000
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    after = states(pool)
    assert [state["in_flight"] for state in after.values()] == [0, 0, 0]
    assert sum(state["cancelled"] for state in after.values()) == 100_000
    assert (after["a"]["breaker"], probes) == ("probation", 10), "one trial each time: the permit came back"
    assert pool.acquire().is_probe


def test_a_thousand_callers_in_threads_make_one_trial() -> None:
    pool = Pool(["a", "b"], failover={"recovery_time": 0.001, "probation_successes": 1})
    eject(pool, "a", ["b"])
    time.sleep(0.01)
    leases: list[Any] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        leases.extend([pool.acquire() for _ in range(125)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leases) == 1_000
    assert [lease.destination for lease in leases if lease.is_probe] == ["a"]


def config(weight: int, streak: int) -> dict[str, Any]:
    return {
        "rules": [],
        "default": "p",
        "pools": {"p": {"policy": "random", "destinations": ["a", "b", "c"]}},
        "destinations": {name: {"url": "callable:fn", "weight": weight} for name in "abc"},
        "failover": {"streak": streak, "recovery_time": "5ms", "slow_start": "1ms"},
    }


def hold_and_end(router: Router, dice: random.Random, leases: int) -> int:
    """Takes so many leases and ends them with every outcome; how many were taken."""
    taken = 0
    while taken < leases:
        try:
            lease = router.acquire({"n": 1})
        except NoDestinationError:  # all three asked for a pause
            time.sleep(0.001)
            continue
        taken += 1
        point = dice.random()
        if point < 0.5:
            lease.success()
        elif point < 0.8:
            lease.failure("down")
        elif point < 0.85:
            lease.overloaded(0.001)
        # else: dropped
    return taken


def test_counts_survive_reloads_under_load_and_nothing_stays_held() -> None:
    router = Router.from_dict({"message_router": config(1, 3)})
    taken = [0] * 6

    def work(thread: int) -> None:
        taken[thread] = hold_and_end(router, random.Random(thread), 100)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        router.reload({"message_router": config(1 + turn % 4, 1 + turn % 5)})
    for thread in threads:
        thread.join()
    after = router.stats().destinations.values()
    assert sum(state.attempts for state in after) == sum(taken) == 600
    for state in after:
        ended = state.successes + state.failures + state.overloaded + state.cancelled
        assert (state.in_flight, ended) == (0, state.attempts)


@pytest.mark.parametrize(
    ("on_exhausted", "delivered", "reason"), [("panic", 2, None), ("wait", 2, None), ("raise", 0, "overloaded")]
)
async def test_when_all_are_out_a_delivery_uses_them_waits_or_gives_up(
    on_exhausted: str, delivered: int, reason: str | None
) -> None:
    router = Router.from_dict(
        {
            "message_router": {
                "default": "p",
                "pools": {"p": {"destinations": ["a", "b"]}},
                "destinations": {name: {"url": "callable:fn"} for name in "ab"},
                "failover": {
                    "streak": 1,
                    "max_ejected_percent": 100,
                    "recovery_time": "150ms",
                    "on_exhausted": on_exhausted,
                },
                "performance": {"timeout": "5s"},
            }
        }
    )
    router.transport("fn", lambda message, destination: destination)
    for name in ("a", "b"):
        lease = router.acquire({"destination": name})
        lease.failure() if name == "a" else lease.overloaded(0.5)
    if on_exhausted == "panic":
        decision = router.route({})
        # What a destination says of itself holds in panic too: the one that asked for a pause has it.
        assert (decision.panic, decision.reason, decision.destination) == (True, "panic", "a")
    else:
        with pytest.raises(NoDestinationError) as refused:
            router.route({})
        assert refused.value.retry_at is not None
        assert refused.value.retry_at - time.time() < 0.2, "the earlier of the two"
        assert not refused.value.full
    async with router:
        results = [await router.dispatch({}) for _ in range(2)]
    assert sum(result.delivered for result in results) == delivered
    assert {result.reason for result in results} == {reason}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"on_exhausted": "pray"}, "panic, wait, raise"),
        ({"outlier_stdev": -1.0}, "outlier_stdev"),
        ({"outlier_stdev": float("nan")}, "outlier_stdev"),
        ({"rate_window": 0.01}, "rate_window"),
        ({"min_requests": 0}, "min_requests"),
        ({"failure_percent": 101}, "percent"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Pool(["a"], failover=settings)
    whole = config(1, 3)
    whole["failover"] = settings
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Router.from_dict({"message_router": whole})
