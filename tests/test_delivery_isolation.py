"""A destination that hangs, fails or is out slows no other, and fills neither the places nor the room of others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from fake_core import FakeCore, FakePlan, answer, assert_settled, deliverer, failing, hang
from simulated_time import simulated
from turnout.config import load_dict
from turnout.delivery import Deliverer, DeliverySettings

SERVICE = 0.010
"""Seconds a healthy destination takes, on the average."""


def by_pool(core: FakeCore) -> None:
    """Messages name their pools."""
    core.decide = lambda message: FakePlan(core, tuple(message["to"]))


async def traffic(deliveries: Deliverer, rates: dict[str, float], seconds: float, seed: int) -> list[float]:
    """Brings messages at these rates a second for so long, each when its time has come; how long each accept took."""
    loop = asyncio.get_running_loop()

    async def bring(pool: str, rate: float) -> list[float]:
        rng, took, until = random.Random(f"{pool}{seed}"), [], loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(rng.expovariate(rate))
            began = loop.time()
            await deliveries.accept({"to": [pool]})
            took.append(loop.time() - began)
        return took

    found = await asyncio.gather(*(bring(pool, rate) for pool, rate in rates.items()))
    return [one for took in found for one in took]


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))]


@pytest.mark.parametrize("max_waiting", [500, 20_000])
def test_with_one_hanging_one_dead_and_one_out_the_others_are_as_fast_as_ever(max_waiting: int) -> None:
    """The p99 of two good pools beside three bad ones, and beside the same three in good order: within 1.5 times."""
    bad, good = ("hanging", "dead", "out"), ("one", "two")

    async def run(trouble: bool) -> tuple[float, float, Deliverer, FakeCore]:
        core = FakeCore(pools={pool: [pool] for pool in (*bad, *good)})
        by_pool(core)
        if trouble:
            core.out_until["out"] = time.time() + 4.0
        rng = random.Random(1)

        async def serve(message: Any, destination: str) -> None:
            if trouble and destination == "hanging":
                await asyncio.sleep(60)
            if trouble and destination == "dead":
                raise ConnectionError("down")
            await asyncio.sleep(rng.expovariate(1 / SERVICE))

        deliveries = deliverer(
            core, serve, concurrency=128, max_waiting=max_waiting, timeout=5.0, base_delay=0.05, max_delay=2.0
        )
        took: list[float] = []
        inner = deliveries._unsettled.settle

        def settle(job: Any) -> Any:
            delivery = inner(job)
            if job.message["to"][0] in good:
                assert delivery.delivered, delivery
                took.append(delivery.elapsed)
            return delivery

        deliveries._unsettled.settle = settle  # type: ignore[method-assign]
        accepting = await traffic(deliveries, dict.fromkeys(bad, 300.0) | dict.fromkeys(good, 100.0), 12.0, 7)
        await deliveries.join()
        return percentile(took, 0.99), max(accepting), deliveries, core

    async def main() -> None:
        calm, _, deliveries, core = await run(trouble=False)
        assert_settled(deliveries, core)
        troubled, longest, deliveries, core = await run(trouble=True)
        assert troubled <= 1.5 * calm, (troubled, calm)
        assert longest == 0.0, "accept waited"
        assert_settled(deliveries, core)
        reasons = deliveries.ledger.reasons
        assert reasons["deadline"] > 0
        if max_waiting == 500:
            assert reasons["queue_full"] > 0

    simulated(main())


@pytest.mark.parametrize("concurrency", [2, 3, 4, 16, 256])
def test_a_pool_that_hangs_never_has_all_places_however_few_there_are(concurrency: int) -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]})
        by_pool(core)
        deliveries = deliverer(core, {"a": hang, "b": answer}, concurrency=concurrency, timeout=2.0)
        for _ in range(5 * concurrency):
            await deliveries.accept({"to": ["p"]})
        for _ in range(100):
            delivery = await deliveries.dispatch({"to": ["q"]})
            assert (delivery.delivered, delivery.elapsed) == (True, 0.0)
            await asyncio.sleep(0.01)
        await deliveries.join()
        assert_settled(deliveries, core)

    simulated(main())


def test_a_message_goes_to_its_second_pool_while_the_first_is_crowded() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]})
        by_pool(core)
        deliveries = deliverer(core, {"a": hang, "b": answer}, concurrency=4, timeout=2.0)
        for _ in range(20):
            await deliveries.accept({"to": ["p"]})
        await asyncio.sleep(0.1)
        delivery = await deliveries.dispatch({"to": ["p", "q"]})
        assert (delivery.pool, delivery.elapsed) == ("q", 0.0)
        await deliveries.join()
        assert_settled(deliveries, core)

    simulated(main())


def test_what_a_full_queue_gets_beyond_its_bound_is_answered_at_once_and_kept() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]}, caps={"a": 1})
        by_pool(core)
        deliveries = deliverer(core, {"a": hang, "b": answer}, pool_waiting={"p": 3}, timeout=1.0)
        tasks = [asyncio.create_task(deliveries.dispatch({"to": ["p"]})) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert [task.done() for task in tasks] == [False] * 4 + [True] * 2  # one is under way, three wait
        for task in tasks[4:]:
            delivery = task.result()
            assert (delivery.status, delivery.reason, delivery.elapsed) == ("dead_lettered", "queue_full", 0.0)
            assert delivery.detail == "pool 'p': 3 messages wait for it, and others need room too"
        assert [letter.reason for letter in deliveries.dead_letters] == ["queue_full"] * 2
        assert (await deliveries.dispatch({"to": ["q"]})).delivered
        await asyncio.wait(tasks)
        tasks = [asyncio.create_task(deliveries.dispatch({"to": ["p"]})) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks), "those who waited before have left"
        await asyncio.wait(tasks)
        assert_settled(deliveries, core)

    simulated(main())


def test_a_long_line_of_messages_whose_turn_has_not_come_ends_no_retry() -> None:
    async def main() -> None:
        core, failed = FakeCore(pools={"p": ["a"], "q": ["b"]}), set[int]()
        by_pool(core)

        async def at_first_failing(message: Any, destination: str) -> None:
            await asyncio.sleep(SERVICE)
            if message["n"] % 5 == 0 and message["n"] not in failed:
                failed.add(message["n"])
                raise ConnectionError("down")

        deliveries = deliverer(core, at_first_failing, concurrency=2, max_waiting=18, budget_per_second=1e6)
        for n in range(61, 65):
            assert (await deliveries.dispatch({"to": ["p"], "n": n})).delivered
        tasks = [asyncio.create_task(deliveries.dispatch({"to": ["p"], "n": n})) for n in range(60)]
        await asyncio.wait(tasks)
        assert [task.result().status for task in tasks] == ["delivered"] * 60, "the room was full all along"
        assert_settled(deliveries, core)

    simulated(main())


def test_messages_in_backoff_wait_in_the_queue_of_their_pool_too() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]})
        by_pool(core)
        deliveries = deliverer(core, failing("a"), pool_waiting={"p": 2}, base_delay=1.0, max_delay=1.0, max_attempts=2)
        tasks = [asyncio.create_task(deliveries.dispatch({"to": ["p"]})) for _ in range(3)]
        await asyncio.wait(tasks)
        assert [task.result().reason for task in tasks] == ["attempts", "attempts", "queue_full"]
        assert "after 1 attempt; the last: a: ConnectionError: down" in (tasks[2].result().detail or "")
        assert_settled(deliveries, core)

    simulated(main())


def test_a_message_for_two_pools_waits_in_the_one_that_has_room() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]}, caps={"a": 1, "b": 1})
        by_pool(core)
        deliveries = deliverer(core, hang, pool_waiting={"p": 1, "q": 1}, timeout=1.0)
        tasks = [asyncio.create_task(deliveries.dispatch({"to": ["p", "q"]})) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert [task.done() for task in tasks] == [False] * 4 + [True]  # two are under way, one waits in each
        await asyncio.wait(tasks)
        assert_settled(deliveries, core)

    simulated(main())


def test_a_pool_alone_in_its_trouble_leaves_half_of_the_room() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]}, caps={"a": 1})
        by_pool(core)
        deliveries = deliverer(core, {"a": hang, "b": answer}, concurrency=10, max_waiting=90, timeout=5.0)
        for _ in range(1000):
            await deliveries.accept({"to": ["p"]})
            await asyncio.sleep(0)
        assert 45 <= deliveries.ledger.waiting <= 55
        assert (await deliveries.dispatch({"to": ["q"]})).elapsed == 0.0
        await deliveries.join()
        assert_settled(deliveries, core)

    simulated(main())


def test_where_there_is_one_pool_whoever_brings_more_waits_instead() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"]}, caps={"a": 1})

        async def second(message: object, destination: str) -> None:
            await asyncio.sleep(0.01)

        deliveries = deliverer(core, second, concurrency=2, max_waiting=3, timeout=60.0)
        await asyncio.gather(*(deliveries.accept({}) for _ in range(100)))
        await deliveries.join()
        assert deliveries.ledger.delivered == 100
        assert_settled(deliveries, core)

    simulated(main())


def test_close_settles_what_waits_in_full_queues_and_cancelling_gives_the_place_back() -> None:
    async def main() -> None:
        core = FakeCore(pools={"p": ["a"], "q": ["b"]}, caps={"a": 1})
        by_pool(core)
        deliveries = deliverer(core, {"a": hang, "b": answer}, pool_waiting={"p": 3}, timeout=30.0)
        tasks = [asyncio.create_task(deliveries.dispatch({"to": ["p"]})) for _ in range(5)]
        await asyncio.sleep(0.1)
        tasks[1].cancel()
        await asyncio.sleep(0.1)
        tasks.append(asyncio.create_task(deliveries.dispatch({"to": ["p"]})))
        await asyncio.sleep(0.1)
        assert not tasks[-1].done()
        await deliveries.close(drain=1.0)
        await asyncio.wait(tasks)
        assert deliveries.ledger.reasons == {"queue_full": 1, "cancelled": 1, "closed": 4}
        assert deliveries._attempts._shares.waiting("p") == 0
        assert_settled(deliveries, core)

    simulated(main())


def test_the_configuration_bounds_the_queue_of_a_pool() -> None:
    config = load_dict(
        {"default": "p", "pools": {"p": {"destinations": ["d"], "max_waiting": 7}}, "destinations": {"d": {}}}
    )
    assert DeliverySettings.of(config).pool_waiting == {"p": 7}
