"""Waiting rooms keep nothing of those who have left."""

from __future__ import annotations

import asyncio

import pytest

from simulated_time import simulated
from turnout.delivery.rooms import WaitingRooms


def entries(rooms: WaitingRooms) -> int:
    return sum(map(len, rooms._rooms.values()))


@pytest.mark.parametrize("pools", [("p",), ("p", "q")])
def test_those_who_were_cancelled_leave_no_entries_behind(pools: tuple[str, ...]) -> None:
    async def main() -> None:
        rooms = WaitingRooms()
        staying = asyncio.create_task(rooms.wait(pools, 9, 0, None))
        for number in range(1, 5000):
            task = asyncio.create_task(rooms.wait(pools, 4, number, 1e9))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert entries(rooms) <= 70 * len(pools)
        rooms.wake("p")
        await asyncio.wait_for(staying, 1.0)
        for pool in pools:
            rooms.wake(pool)
        assert not rooms
        assert rooms._gone == rooms._timers == {}

    simulated(main())


def test_those_woken_in_one_room_leave_the_other() -> None:
    async def main() -> None:
        rooms = WaitingRooms()
        for number in range(5000):
            task = asyncio.create_task(rooms.wait(("p", "q"), 4, number, 1e9))
            await asyncio.sleep(0)
            rooms.wake("p")
            await task
            assert entries(rooms) <= 70
        rooms.wake("q")
        assert not rooms

    simulated(main())


def test_of_many_who_come_and_go_those_who_stay_are_woken_in_their_order() -> None:
    async def main() -> None:
        rooms = WaitingRooms()
        woken: list[int] = []

        async def wait(number: int) -> None:
            await rooms.wait(("p",), number % 10, number, 1e9)
            woken.append(number)

        tasks = [asyncio.create_task(wait(number)) for number in range(1000)]
        await asyncio.sleep(0)
        staying = tasks[::7]
        for task in tasks:
            if task not in staying:
                task.cancel()
        await asyncio.sleep(0)
        for _ in staying:
            rooms.wake("p")
        await asyncio.gather(*staying)
        assert woken == sorted(range(0, 1000, 7), key=lambda number: (-(number % 10), number))
        assert not rooms

    simulated(main())
