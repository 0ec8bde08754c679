"""Messages of one ordering key: one after another in every pool, in their order of acceptance."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_core import FakeCore, FakePlan, assert_settled, deliverer
from outbox_support import with_outbox
from test_delivery_times import in_seconds, until
from turnout.delivery import Deliverer
from turnout.delivery.ordering import Sequences


@pytest.fixture(params=["in memory", "outbox"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Deliverer]:
    """Makes a deliverer, with an outbox or without one."""
    if request.param == "in memory":
        return deliverer
    return lambda core, function, **settings: with_outbox(core, function, tmp_path / "o.db", **settings)


class Receiver:
    """Notes what arrives where, and that no two messages of a key are under way in one place at once."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.got: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.busy: set[tuple[str, str]] = set()
        self.fails = 0.0

    async def __call__(self, message: Any, destination: str) -> None:
        place = destination[0], message["ordering_key"]
        assert place not in self.busy
        self.busy.add(place)
        await asyncio.sleep(self.rng.random() * 0.002)
        self.busy.discard(place)
        if self.rng.random() < self.fails:
            raise ConnectionError("down")
        self.got[place].append(message["n"])


@pytest.mark.parametrize("mode", ["first", "all"])
async def test_messages_of_a_key_arrive_in_order_whatever_their_priority(
    make: Callable[..., Deliverer], mode: str
) -> None:
    core = FakeCore(pools={"p": ["pa", "pb"], "q": ["qa", "qb"]}, mode=mode, quorum=2)
    receive = Receiver()
    receive.fails = 0.2
    deliveries = make(core, receive, max_attempts=50, budget_per_second=1e6, timeout=60.0, concurrency=8)
    await deliveries.start()
    for n in range(200):
        message = {"n": n, "ordering_key": f"k{n % 7}", "priority": n % 10}
        if n % 3:
            await deliveries.accept(message)
        else:
            asyncio.get_running_loop().create_task(deliveries.dispatch(message)).add_done_callback(lambda _: None)
            await asyncio.sleep(0)
    await deliveries.join()
    assert deliveries.ledger.delivered == 200
    assert all(numbers == sorted(numbers) for numbers in receive.got.values())
    assert sum(map(len, receive.got.values())) == (400 if mode == "all" else 200)
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_retries_and_failover_of_the_first_come_before_the_next_and_its_end_lets_it_go(
    make: Callable[..., Deliverer],
) -> None:
    order: list[tuple[int, str]] = []

    async def serve(message: Any, destination: str) -> None:
        order.append((message["n"], destination))
        if message["n"] == 1:
            raise ConnectionError("down")

    deliveries = make(FakeCore(), serve, max_attempts=3)
    await deliveries.start()
    await asyncio.gather(*(deliveries.accept({"n": n, "ordering_key": "k"}) for n in (1, 2, 3)))
    await deliveries.join()
    assert order == [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (3, "a")]
    assert (deliveries.ledger.delivered, deliveries.ledger.reasons) == (2, {"attempts": 1})
    await deliveries.close()


async def test_a_pool_that_is_out_holds_up_nobody_in_another(make: Callable[..., Deliverer]) -> None:
    core, got, up = FakeCore(pools={"p": ["a"], "q": ["b"]}, mode="all", quorum=2), list[int](), asyncio.Event()

    async def serve(message: Any, destination: str) -> None:
        if destination == "b":
            await up.wait()
        else:
            got.append(message["n"])

    deliveries = make(core, serve, timeout=30.0, concurrency=4)
    await deliveries.start()
    for n in range(30):
        await deliveries.accept({"n": n, "ordering_key": "k"})
    await until(lambda: len(got) == 30)
    assert got == list(range(30))
    assert core.in_flight["b"] == 1
    up.set()
    await deliveries.join()
    assert deliveries.ledger.delivered == 30
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_followers_hold_no_place_that_others_need(make: Callable[..., Deliverer], tmp_path: Path) -> None:
    go = asyncio.Event()

    async def serve(message: Any, _destination: str) -> None:
        if "ordering_key" in message:
            await go.wait()

    deliveries = make(FakeCore(), serve, concurrency=2, max_waiting=60, timeout=30.0)
    await deliveries.start()
    for n in range(50 if deliveries._outbox is None else 500):
        await deliveries.accept({"n": n, "ordering_key": "k"})
    for _ in range(20):
        assert (await asyncio.wait_for(deliveries.dispatch({}), 5.0)).delivered
    assert deliveries.ledger.in_flight == 1
    go.set()
    await deliveries.join()
    assert deliveries.ledger.lost == 0
    assert deliveries.ledger.delivered == deliveries.ledger.accepted
    await deliveries.close()


async def test_order_survives_a_restart(tmp_path: Path) -> None:
    path, core = tmp_path / "o.db", FakeCore(pools={"p": ["pa"], "q": ["qa"]}, mode="all", quorum=2)
    receive = Receiver()

    async def half(message: Any, destination: str) -> None:
        if destination == "qa" or message["n"] > 20:
            await asyncio.sleep(60)
        await receive(message, destination)

    first = with_outbox(core, half, path, timeout=60.0)
    await first.start()
    await asyncio.gather(*(first.accept({"n": n, "ordering_key": f"k{n % 3}"}) for n in range(60)))
    await until(lambda: sum(map(len, receive.got.values())) == 21)
    await first.close(drain=0)
    assert (first.ledger.kept, first.ledger.balanced) == (60, True)
    again = with_outbox(core, receive, path, max_waiting=4, concurrency=2)
    await again.start()
    await again.join()
    assert again.ledger.delivered == 60
    for key in range(3):
        expected = [n for n in range(60) if n % 3 == key]
        assert receive.got["p", f"k{key}"] == receive.got["q", f"k{key}"] == expected
    await again.close()


async def test_a_follower_expires_while_it_waits_and_its_time_to_be_delivered_in_begins_with_its_turn(
    make: Callable[..., Deliverer],
) -> None:
    async def serve(message: Any, _destination: str) -> None:
        await asyncio.sleep(0.12)

    deliveries = make(FakeCore(), serve, timeout=0.2)
    await deliveries.start()
    first, second, third = (
        asyncio.create_task(deliveries.dispatch({"ordering_key": "k", **more}))
        for more in ({}, {"expires_at": in_seconds(0.05)}, {})
    )
    assert (await first).delivered
    assert (await second).status == "expired"
    assert (await third).delivered  # 0.24 s after its acceptance
    await deliveries.close()


async def test_a_message_in_another_round_holds_its_followers(make: Callable[..., Deliverer]) -> None:
    order: list[int] = []

    async def serve(message: Any, _destination: str) -> None:
        order.append(message["n"])
        if len(order) < 3:
            raise ConnectionError("down")

    deliveries = make(FakeCore(), serve, max_attempts=1, schedule=(0.05, 0.05))
    await deliveries.start()
    await asyncio.gather(*(deliveries.accept({"n": n, "ordering_key": "k"}) for n in (1, 2)))
    await deliveries.join()
    assert order == [1, 1, 1, 2]
    await deliveries.close()


async def test_cancelling_the_first_or_a_follower_lets_the_others_go_on(make: Callable[..., Deliverer]) -> None:
    go = asyncio.Event()

    async def serve(_message: Any, _destination: str) -> None:
        await go.wait()

    core = FakeCore()
    deliveries = make(core, serve)
    await deliveries.start()
    tasks = []
    for n in range(4):
        tasks.append(asyncio.create_task(deliveries.dispatch({"id": f"m{n}", "ordering_key": "k"})))
        await until(lambda n=n: deliveries.ledger.accepted == n + 1)  # type: ignore[misc]
    tasks[1].cancel()
    tasks[0].cancel()
    go.set()
    await asyncio.wait(tasks)
    assert [task.cancelled() or task.result().status for task in tasks] == [True, True, "delivered", "delivered"]
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_messages_of_a_key_that_go_to_different_pools_do_not_wait_for_each_other() -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"]})
    core.decide = lambda message: FakePlan(core, (message["to"],))
    go = asyncio.Event()

    async def serve(_message: Any, destination: str) -> None:
        if destination == "a":
            await go.wait()

    deliveries = deliverer(core, serve)
    await deliveries.accept({"to": "p", "ordering_key": "k"})
    assert (await asyncio.wait_for(deliveries.dispatch({"to": "q", "ordering_key": "k"}), 1.0)).delivered
    go.set()
    await deliveries.join()


def test_lines_forget_keys_that_nobody_has() -> None:
    sequences = Sequences()
    for order in (1, 2):
        sequences.enter("k", order)
    assert list(sequences.decided("k", 1, ["p"])) == [2]
    assert list(sequences.decided("k", 2, ["p"])) == []
    assert [sequences.may_attempt("k", order, ["p"]) for order in (1, 2)] == [True, False]
    assert list(sequences.left("k", 1)) == [2]
    assert list(sequences.left("k", 2)) == []
    assert list(sequences.left("k", 2)) == []
    assert not sequences._keys
