"""Pool and leases as Python sees them; the algorithms themselves are tested in Rust."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from typing import Any

import pytest

from turnout import ConfigError, NoDestinationError, Pool
from turnout.config import POLICIES

KNOWN_PLACES = {"maglev": ["d7", "d7", "d0", "d4"], "rendezvous": ["d0", "d1", "d2", "d7"]}
"""Of the keys user-0 to user-3 among d0 to d8. If these change, every user's keys move with an upgrade."""


def states(pool: Pool) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in pool.destinations()}


def in_flight(pool: Pool) -> int:
    return sum(one["in_flight"] for one in pool.destinations())


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_uses_every_destination(policy: str) -> None:
    pool = Pool(["a", "b", "c"], policy=policy, seed=7)
    assert {pool.select() for _ in range(300)} == {"a", "b", "c"}


def test_weighted_round_robin_is_smooth() -> None:
    pool = Pool([{"id": "a", "weight": 5}, "b", "c"], policy="weighted_round_robin")
    assert "".join(pool.select() for _ in range(7)) == "aabacaa"


def test_a_seed_repeats_a_run() -> None:
    runs = []
    for _ in range(2):
        pool = Pool(["a", "b", "c", "d"], policy="random", seed=3)
        runs.append([pool.select() for _ in range(50)])
    assert runs[0] == runs[1]


def test_a_lease_ends_once() -> None:
    pool = Pool(["a"])
    lease = pool.acquire()
    assert (lease.destination, lease.ended, in_flight(pool)) == ("a", False, 1)
    assert lease.success()
    assert not lease.failure()
    assert not lease.cancel()
    assert (lease.ended, in_flight(pool)) == (True, 0)
    assert states(pool)["a"]["successes"] == 1
    assert states(pool)["a"]["failures"] == 0


@pytest.mark.parametrize(
    ("error", "counter"),
    [
        (None, "successes"),
        (ValueError, "failures"),
        (asyncio.CancelledError, "cancelled"),
        (KeyboardInterrupt, "cancelled"),
        (GeneratorExit, "cancelled"),
    ],
)
def test_the_outcome_of_a_lease_comes_from_its_block(error: type[BaseException] | None, counter: str) -> None:
    pool = Pool(["a"])

    def block() -> None:
        with pool.acquire():
            if error is not None:
                raise error

    if error is None:
        block()
    else:
        with pytest.raises(error):
            block()
    assert states(pool)["a"][counter] == 1
    assert in_flight(pool) == 0


async def test_the_outcome_of_an_async_block_is_the_same() -> None:
    pool = Pool(["a"])
    async with pool.acquire() as lease:
        assert lease.destination == "a"
    with pytest.raises(ValueError, match="no"):
        async with pool.acquire():
            raise ValueError("no")
    assert (states(pool)["a"]["successes"], states(pool)["a"]["failures"]) == (1, 1)
    assert states(pool)["a"]["failure_kinds"] == {"ValueError": 1}


def test_a_dropped_lease_counts_as_cancelled() -> None:
    pool = Pool(["a"])
    for _ in range(10):
        pool.acquire()
    gc.collect()
    assert (in_flight(pool), states(pool)["a"]["cancelled"]) == (0, 10)


async def test_cancelled_tasks_give_back_what_they_hold() -> None:
    pool = Pool(["a", "b"], policy="least_connections")

    async def hold() -> None:
        async with pool.acquire():
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(hold()) for _ in range(1_000)]
    await asyncio.sleep(0)
    assert in_flight(pool) == 1_000
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert in_flight(pool) == 0


def test_a_streak_of_failures_ejects_and_a_probe_brings_back() -> None:
    pool = Pool(
        ["a", "b"], failover={"streak": 3, "recovery_time": 0.05, "max_ejected_percent": 50, "probation_successes": 1}
    )
    while states(pool)["a"]["failures"] < 3:
        lease = pool.acquire()
        lease.failure() if lease.destination == "a" else lease.success()
    assert states(pool)["a"]["breaker"] == "ejected"
    assert {pool.select() for _ in range(10)} == {"b"}
    threading.Event().wait(0.06)
    probe = pool.acquire()
    assert (probe.destination, probe.is_probe) == ("a", True)
    assert pool.acquire().destination == "b", "one probe at a time"
    probe.success()
    assert states(pool)["a"]["breaker"] == "closed"
    assert states(pool)["a"]["recoveries"] == 1


def test_overload_pauses_a_destination() -> None:
    pool = Pool(["a", "b"])
    lease = pool.acquire(exclude=["b"])
    lease.overloaded(retry_after=30.0)
    assert {pool.select() for _ in range(10)} == {"b"}


def test_draining_and_disabled_destinations_get_nothing_new() -> None:
    pool = Pool(["a", "b", "c"], failover={"slow_start": 0})
    held = pool.acquire(exclude=["b", "c"])
    pool.drain("a")
    pool.disable("b")
    assert {pool.select() for _ in range(10)} == {"c"}
    assert in_flight(pool) == 1
    held.success()
    pool.enable("a")
    assert {pool.select() for _ in range(10)} == {"a", "c"}


def test_nobody_left_says_why_and_when() -> None:
    pool = Pool(["a", "b"])
    pool.drain("a")
    with pytest.raises(NoDestinationError, match="drain") as caught:
        pool.select(exclude=["b"])
    assert caught.value.retry_at is None


def test_clearance_bounds_what_a_destination_may_receive() -> None:
    pool = Pool(["open", {"id": "vault", "clearance": "restricted"}])
    assert {pool.select(classification="confidential") for _ in range(10)} == {"vault"}
    assert {pool.select() for _ in range(10)} == {"open", "vault"}


@pytest.mark.parametrize(
    ("destinations", "settings", "problem"),
    [
        ([], {}, "no destination|at least one|empty"),
        (["a", "a"], {}, "a"),
        (["a"], {"policy": "fastest"}, "round_robin"),
        ([{"id": "a", "wieght": 1}], {}, "weight"),
        ([{"id": "a", "weight": -1}], {}, "weight"),
        ([{"id": "a", "clearance": "secret"}], {}, "restricted"),
        (["a"], {"failover": {"strike": 1}}, "streak"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused_in_words(destinations: Any, settings: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Pool(destinations, **settings)


def test_threads_leave_nothing_in_flight() -> None:
    pool = Pool(["a", "b", "c"], policy="least_connections")

    def work() -> None:
        for turn in range(2_000):
            lease = pool.acquire()
            lease.success() if turn % 3 else lease.cancel()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter[str]()
    for one in pool.destinations():
        counts.update({key: one[key] for key in ("successes", "cancelled", "in_flight")})
    assert counts["in_flight"] == 0
    assert counts["successes"] + counts["cancelled"] == 8_000


@pytest.mark.parametrize("policy", ["maglev", "rendezvous"])
def test_equal_keys_go_to_one_place_in_every_process(policy: str) -> None:
    pools = [Pool([f"d{number}" for number in order], policy=policy) for order in (range(9), reversed(range(9)))]
    places = [[pool.select(key=f"user-{number}") for number in range(200)] for pool in pools]
    assert places[0] == places[1]
    assert len(set(places[0])) == 9
    assert places[0][:4] == KNOWN_PLACES[policy], "and in every version"
    pool = pools[0]
    assert pool.select(key=42) == pool.select(key="42") == pool.select(key=b"42")
    assert pool.acquire(key="user-7").destination == places[0][7]
    assert pool.acquire().reason == "no_key"
    for key in (True, 1.5, ["a"]):
        with pytest.raises(TypeError, match="str, bytes or an int"):
            pool.select(key=key)  # type: ignore[arg-type]


def test_bounded_load_spreads_one_key() -> None:
    pool = Pool(["a", "b", "c", "d"], policy="maglev", bounded_load=1.25)
    leases = [pool.acquire(key="everybody") for _ in range(100)]
    assert max(Counter(lease.destination for lease in leases).values()) <= 32
    with pytest.raises(ConfigError, match="maglev, rendezvous and auto"):
        Pool(["a"], bounded_load=1.25)


def test_weights_change_at_once() -> None:
    pool = Pool(["a", "b", "c"], policy="adaptive", seed=1)
    pool.set_weights({"a": 0.5, "b": 0.25, "c": 0.25})
    drawn = [pool.acquire() for _ in range(300)]
    assert {(one.destination, one.propensity) for one in drawn} == {("a", 0.5), ("b", 0.25), ("c", 0.25)}
    pool.set_weights({"b": 0, "c": 0})
    assert {pool.select() for _ in range(50)} == {"a"}
    with pytest.raises(ConfigError, match="nobody"):
        pool.set_weights({"a": 0, "nobody": 1})
    with pytest.raises(ConfigError, match=r"10\^12"):
        pool.set_weights({"a": -1.0})
    assert {pool.select() for _ in range(50)} == {"a"}


def reached(pool: Pool) -> set[str]:
    """Who receives messages that are all held, so that policies by load reach everybody."""
    leases = [pool.acquire() for _ in range(100)]
    return {lease.destination for lease in leases}


@pytest.mark.parametrize("policy", POLICIES)
def test_destinations_come_and_go_while_in_use(policy: str) -> None:
    pool = Pool(["a", "b"], policy=policy, seed=1)
    held = pool.acquire()
    pool.add({"id": "c", "weight": 2})
    assert reached(pool) == {"a", "b", "c"}
    assert pool.remove(held.destination)
    left = {"a", "b", "c"} - {held.destination}
    assert reached(pool) == left
    assert set(states(pool)) == left
    assert len(pool) == 2
    assert held.failure(), "it ends as any other"
    assert not pool.remove(held.destination)
    with pytest.raises(ConfigError, match="already"):
        pool.add("c")
    for change in (pool.drain, pool.enable, pool.disable):
        with pytest.raises(ConfigError, match="no pool has"):
            change(held.destination)
    for name in left:
        assert pool.remove(name)
    with pytest.raises(NoDestinationError, match="no destinations") as caught:
        pool.acquire()
    assert caught.value.retry_at is None
    pool.add(held.destination)
    assert pool.acquire().destination == held.destination


def test_what_is_held_is_counted_when_a_destination_comes_back() -> None:
    pool = Pool(["a"])
    held = [pool.acquire() for _ in range(3)]
    pool.remove("a")
    pool.add({"id": "a", "max_in_flight": 4})
    assert in_flight(pool) == 3
    pool.acquire().cancel()
    for lease in held:
        lease.failure()
    assert (in_flight(pool), states(pool)["a"]["breaker"]) == (0, "closed")


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "maglev"])
def test_threads_pick_on_while_members_change_and_never_who_is_gone(policy: str) -> None:
    pool = Pool([f"d{number}" for number in range(50)], policy=policy)
    gone: list[str] = []
    picked: list[int] = []
    done = threading.Event()

    def pick() -> None:
        while not done.is_set():
            out = gone[-1] if gone else ""
            lease = pool.acquire(key=len(picked))
            picked.append(lease.destination == out)
            lease.success()

    threads = [threading.Thread(target=pick) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(150):
        pool.add(f"n{number}")
        pool.remove(f"n{number}")
        gone.append(f"n{number}")
    done.set()
    for thread in threads:
        thread.join()
    assert picked
    assert not any(picked)
    assert in_flight(pool) == 0
