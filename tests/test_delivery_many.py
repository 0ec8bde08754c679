"""Lists of messages: accepted with one wait for the disk, answered in order, an error in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_core import FakeCore, answer, assert_settled, deliverer, failing, hang
from outbox_support import with_outbox
from test_delivery_times import in_seconds, until
from turnout import Router
from turnout.delivery import Deliverer, Delivery
from turnout.errors import DeliveryError, MessageError


@pytest.fixture(params=["in memory", "outbox"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Deliverer]:
    """Makes a deliverer, with an outbox or without one."""
    if request.param == "in memory":
        return deliverer
    return lambda core, function, **settings: with_outbox(core, function, tmp_path / "o.db", **settings)


async def test_each_has_its_answer_in_order(make: Callable[..., Deliverer]) -> None:
    core = FakeCore()
    deliveries = make(core, answer)
    await deliveries.start()
    answers = await deliveries.dispatch_many([{"id": "a"}, 5, {"id": "b"}, {"priority": 99}, {"id": "c"}])
    assert [one.id if isinstance(one, Delivery) else type(one) for one in answers] == [
        "a", MessageError, "b", MessageError, "c",
    ]  # fmt: skip
    accepted = await deliveries.accept_many([{"id": "d"}, None, {"id": "e"}])
    assert (accepted[0], type(accepted[1]), accepted[2]) == ("d", MessageError, "e")
    await deliveries.join()
    assert (deliveries.ledger.delivered, deliveries.ledger.refused) == (5, 3)
    assert await deliveries.dispatch_many([]) == await deliveries.accept_many([]) == []
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_what_is_not_delivered_says_so_in_its_place(make: Callable[..., Deliverer]) -> None:
    deliveries = make(FakeCore(), failing("a", "b", "c"), max_attempts=1)
    await deliveries.start()
    answers = await deliveries.dispatch_many([{}, {"expires_at": in_seconds(-5)}])
    assert [one.status for one in answers if isinstance(one, Delivery)] == ["dead_lettered", "expired"]
    await deliveries.close()


async def test_a_list_is_one_transaction(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), hang, tmp_path / "o.db")
    await deliveries.start()
    await deliveries.accept({})
    assert deliveries._outbox is not None
    file = deliveries._outbox._file
    assert file is not None
    begun: list[str] = []
    file._db.set_trace_callback(lambda statement: begun.append(statement) if "BEGIN" in statement else None)
    await deliveries.accept_many([{"n": n} for n in range(1000)])
    file._db.set_trace_callback(None)
    assert len(begun) == 1
    await deliveries.close(drain=0)
    assert deliveries.ledger.kept == 1001


async def test_more_than_there_is_room_for_go_a_part_at_a_time(make: Callable[..., Deliverer]) -> None:
    core = FakeCore()
    deliveries = make(core, answer, concurrency=2, max_waiting=3)
    await deliveries.start()
    answers = await deliveries.dispatch_many({"n": n} for n in range(50))
    assert all(isinstance(one, Delivery) and one.delivered for one in answers)
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_an_id_that_comes_twice_is_delivered_once_and_answered_twice(tmp_path: Path) -> None:
    core = FakeCore()
    deliveries = with_outbox(core, answer, tmp_path / "o.db")
    await deliveries.start()
    answers = await deliveries.dispatch_many([{"id": "m"}, {"id": "n"}, {"id": "m"}])
    assert [one.id for one in answers if isinstance(one, Delivery)] == ["m", "n", "m"]
    assert await deliveries.accept_many([{"id": "m"}, {"id": "o"}, {"id": "o"}]) == ["m", "o", "o"]
    await deliveries.join()
    assert (len(core.leases), deliveries.ledger.repeated) == (3, 3)
    await deliveries.close()


async def test_limits_of_the_outbox_refuse_those_beyond_them(tmp_path: Path) -> None:
    deliveries = with_outbox(FakeCore(), hang, tmp_path / "o.db", max_messages=2)
    await deliveries.start()
    answers = await deliveries.accept_many([{"id": "a"}, {"id": "b", "what": object()}, {"id": "c"}, {"id": "d"}])
    assert answers[0] == "a"
    assert isinstance(answers[1], MessageError)
    assert answers[2] == "c"
    assert isinstance(answers[3], DeliveryError)
    assert answers[3].kind == "outbox_full"
    await deliveries.close(drain=0)
    assert (deliveries.ledger.kept, deliveries.ledger.balanced) == (2, True)


async def test_cancelling_gives_up_what_has_not_begun(make: Callable[..., Deliverer]) -> None:
    core, go = FakeCore(), asyncio.Event()

    async def wait(_message: Any, _destination: str) -> None:
        await go.wait()

    deliveries = make(core, wait, concurrency=3)
    await deliveries.start()
    task = asyncio.create_task(deliveries.dispatch_many([{"n": n} for n in range(10)]))
    await until(lambda: deliveries._attempts.in_flight == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await deliveries.join()
    assert (deliveries.ledger.delivered, deliveries.ledger.reasons) == (3, {"cancelled": 7})
    await deliveries.close()
    assert_settled(deliveries, core)


async def test_a_closed_router_refuses_each(make: Callable[..., Deliverer]) -> None:
    deliveries = make(FakeCore(), answer)
    await deliveries.start()
    await deliveries.close()
    answers = await deliveries.dispatch_many([{}, {}])
    assert [one.kind for one in answers if isinstance(one, DeliveryError)] == ["closed", "closed"]


async def test_the_router_has_them() -> None:
    router = Router({}, destinations={"a": {"url": "callable:f"}})
    router.transport("f", lambda message, destination: message["n"])
    async with router:
        answers = await router.dispatch_many([{"n": 1}, {"n": 2}])
        assert [one.value for one in answers if isinstance(one, Delivery)] == [1, 2]
        assert len(await router.accept_many([{"n": 3}])) == 1
        await router.join()


async def test_messages_that_need_not_wait_are_settled_by_few_tasks() -> None:
    core, most = FakeCore(), 0

    async def work(message: Any, destination: str) -> None:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))

    deliveries = deliverer(core, work, concurrency=1_000, max_waiting=1_000)
    await deliveries.accept_many([{"n": number} for number in range(200)])
    await deliveries.join()
    assert deliveries.ledger.delivered == 200
    assert most < 100  # a few; more only where the machine is so busy that each has its turn of the loop
    assert_settled(deliveries, core)


async def test_messages_that_wait_have_as_many_tasks_as_there_are_places() -> None:
    core, going = FakeCore(), asyncio.Event()
    waiting = 0

    async def work(message: Any, destination: str) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 40:
            going.set()
        await going.wait()

    deliveries = deliverer(core, work, concurrency=40, max_waiting=1_000)
    await deliveries.accept_many([{"n": number} for number in range(100)])
    await deliveries.join()
    assert deliveries.ledger.delivered == 100
    assert_settled(deliveries, core)


async def test_a_runner_that_is_cancelled_before_it_begins_leaves_its_place_to_others() -> None:
    core = FakeCore()
    deliveries = deliverer(core, answer, concurrency=8, max_waiting=1_000)
    await deliveries.accept_many([{"n": number} for number in range(100)])
    for task in list(deliveries._runners.tasks):
        task.cancel()
    await deliveries.join()
    assert deliveries.ledger.delivered == 100
    assert_settled(deliveries, core)
