"""Who gets a place: the most urgent, then the first; nobody loses one."""

from __future__ import annotations

import asyncio
import random

import pytest

from turnout.delivery.lanes import Lanes
from turnout.delivery.rooms import WaitingRooms


def lanes(size: int) -> Lanes[str]:
    return Lanes(size, lambda: None)


async def queue_up(places: Lanes[str], order: list[str], *waiters: tuple[str, int]) -> list[asyncio.Task[None]]:
    async def wait(name: str, priority: int, number: int) -> None:
        await places.take(priority, number)
        order.append(name)

    tasks = [asyncio.create_task(wait(name, priority, number)) for number, (name, priority) in enumerate(waiters)]
    await asyncio.sleep(0)
    return tasks


async def test_the_most_urgent_goes_first_and_among_equals_the_first() -> None:
    places, order = lanes(1), list[str]()
    assert places.try_take()
    assert not places.try_take()
    tasks = await queue_up(places, order, ("low", 0), ("first", 4), ("urgent", 9), ("second", 4))
    for _ in tasks:
        places.release()
        await asyncio.sleep(0)
    assert order == ["urgent", "first", "second", "low"]


async def test_a_place_is_handed_over_so_that_no_newcomer_takes_it() -> None:
    places, order = lanes(1), list[str]()
    assert places.try_take()
    tasks = await queue_up(places, order, ("waiter", 0))
    places.release()
    assert not places.try_take()
    await asyncio.gather(*tasks)


async def test_a_waiter_cancelled_as_it_is_woken_passes_the_place_on() -> None:
    places, order = lanes(1), list[str]()
    assert places.try_take()
    first, second = await queue_up(places, order, ("first", 5), ("second", 5))
    places.release()
    first.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert order == ["second"]
    places.release()
    assert places.try_take()


async def test_cancelled_waiters_do_not_pile_up() -> None:
    places, order = lanes(1), list[str]()
    assert places.try_take()
    for _ in range(20):
        tasks = await queue_up(places, order, *[("x", 4)] * 50)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert len(places._heap) <= 130
    places.release()
    assert places.try_take()
    assert not places.try_take()


async def test_places_survive_any_order_of_cancelling_and_releasing() -> None:
    rng = random.Random(7)
    places = lanes(3)
    held = 0

    async def work(number: int) -> None:
        nonlocal held
        await places.take(rng.randrange(10), number)
        held += 1
        assert held <= 3
        try:
            await asyncio.sleep(rng.random() * 0.002)
        finally:
            held -= 1
            places.release()

    tasks = [asyncio.create_task(work(number)) for number in range(500)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.001)
        rng.choice(tasks).cancel()
    assert held == 0
    assert [places.try_take() for _ in range(4)] == [True, True, True, False]


async def test_queued_items_and_tasks_stand_in_one_line() -> None:
    started = 0

    def start() -> None:
        nonlocal started
        started += 1

    places: Lanes[str] = Lanes(1, start)
    places.queue(4, 1, "first")
    assert started == 1
    places.queue(9, 2, "urgent")
    order: list[str] = []
    (task,) = await queue_up(places, order, ("task", 6))
    assert places.next() == "urgent"
    assert places.next() is None  # the place went to the task
    await task
    places.release()
    assert started == 2
    assert places.next() == "first"
    assert places.next() is None
    assert places.try_take()


async def test_resizing_wakes_those_for_whom_there_is_room_now_and_shrinks_as_places_come_back() -> None:
    places, order = lanes(1), list[str]()
    assert places.try_take()
    tasks = await queue_up(places, order, ("a", 4), ("b", 4), ("c", 4))
    places.resize(3)
    await asyncio.sleep(0)
    assert order == ["a", "b"]
    places.resize(1)
    places.release()
    places.release()
    await asyncio.sleep(0)
    assert order == ["a", "b"]
    places.release()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    assert not places.try_take()


async def test_refused_waiters_get_the_error_and_the_place_stays() -> None:
    places, order = lanes(1), list[str]()
    assert places.try_take()
    (task,) = await queue_up(places, order, ("a", 4))
    places.refuse(ValueError("closed"))
    with pytest.raises(ValueError, match="closed"):
        await task
    places.release()
    assert places.try_take()


async def test_a_room_wakes_one_at_a_time_and_the_most_urgent_first() -> None:
    rooms, order = WaitingRooms(), list[int]()
    loop = asyncio.get_running_loop()

    async def wait(priority: int) -> None:
        await rooms.wait(["p", "q"], priority, 0, loop.time() + 60)
        order.append(priority)

    tasks = [asyncio.create_task(wait(priority)) for priority in (1, 7, 4)]
    await asyncio.sleep(0)
    assert rooms
    for pool in ("p", "q", "p"):
        rooms.wake(pool)
        await asyncio.sleep(0)
    assert order == [7, 4, 1]
    await asyncio.gather(*tasks)
    for pool in ("p", "q"):
        rooms.wake(pool)
    assert not rooms


async def test_a_room_is_looked_at_now_and_then_and_when_an_ejection_ends() -> None:
    rooms = WaitingRooms()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rooms.wait(["p"], 4, 1, began + 0.02)
    assert 0.02 <= loop.time() - began < 0.045
    began = loop.time()
    await rooms.wait(["p"], 4, 1, None)
    assert 0.045 <= loop.time() - began < 0.2


async def test_a_cancelled_waiter_leaves_its_room_to_the_next() -> None:
    rooms = WaitingRooms()
    until = asyncio.get_running_loop().time() + 60
    first, second = (asyncio.create_task(rooms.wait(["p"], 9 - number, number, until)) for number in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    rooms.wake("p")
    await second
    assert not rooms
