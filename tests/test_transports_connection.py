"""One connection that many sends share."""

from __future__ import annotations

import asyncio

import pytest

from turnout.errors import DeliveryError
from turnout.transports.connection import Connection


class Fake:
    """A client that connects as told."""

    def __init__(self, timeout: float = 5.0) -> None:
        self.made: list[int] = []
        self.left: list[int] = []
        self.error: Exception | None = None
        self.alive = True
        self.connection = Connection(
            self._connect, self._leave, lambda client: self.alive, timeout=timeout, broken=(OSError,)
        )

    async def _connect(self) -> int:
        await asyncio.sleep(0.01)
        self.made.append(len(self.made))
        if self.error is not None:
            raise self.error
        return self.made[-1]

    async def _leave(self, client: int) -> None:
        self.left.append(client)

    async def used(self) -> int:
        async with self.connection.use() as client:
            return client


async def test_sends_at_the_same_time_share_one_connecting() -> None:
    fake = Fake()
    assert set(await asyncio.gather(*(fake.used() for _ in range(100)))) == {0}
    await fake.connection.close()
    assert (fake.made, fake.left) == ([0], [0])


async def test_who_is_cancelled_while_connecting_takes_it_from_nobody() -> None:
    fake = Fake()
    first, second = (asyncio.create_task(fake.used()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 0
    assert first.cancelled()
    await fake.connection.close()


async def test_a_server_that_is_down_is_not_tried_by_every_message() -> None:
    fake = Fake()
    fake.error = OSError("refused")
    for _ in range(100):
        with pytest.raises(DeliveryError, match="connection: cannot connect: OSError: refused"):
            await fake.used()
    assert len(fake.made) < 10
    fake.error = None
    await asyncio.sleep(0.15)
    await fake.used()
    await fake.connection.close()


async def test_a_connection_that_broke_is_made_anew_and_let_go() -> None:
    fake = Fake()
    await fake.used()
    fake.alive = False
    assert await fake.used() == 1
    fake.alive = True
    await fake.connection.close()
    assert fake.left == [0, 1]


async def test_a_connection_is_let_go_after_a_silence_and_not_by_who_was_in_a_hurry() -> None:
    fake = Fake(timeout=0.2)

    async def waits(seconds: float, other: bool = False) -> None:
        async with fake.connection.use():
            await asyncio.sleep(seconds)
            if other:
                await fake.used()
            raise DeliveryError("timeout")

    for seconds, other, made in ((0.0, False, 0), (0.25, False, 1), (0.25, True, 1)):
        with pytest.raises(DeliveryError, match="timeout"):
            await waits(seconds, other)
        assert await fake.used() == made
    await fake.connection.close()


async def test_a_client_that_cancels_what_waits_on_it_has_lost_its_connection() -> None:
    fake = Fake()
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    lost.cancel()
    with pytest.raises(DeliveryError, match="the connection was lost"):
        async with fake.connection.use():
            await lost
    await fake.connection.close()
