"""Dispatch to a callable that does nothing, beside awaiting that callable. Each round does it 1,000 times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from test_route import router_of
from turnout import Router
from workload import messages

REPEAT = 1_000


async def nothing(message: Any, destination: str) -> None:
    """The destination of all messages."""


def delivering_router() -> Router:
    router = router_of(10, url="callable:nothing")
    router.transport("nothing", nothing)
    return router


def bench(benchmark: Any, one: Callable[[Any], Awaitable[Any]], loop: asyncio.AbstractEventLoop) -> None:
    batch = messages(REPEAT, 10)

    async def all_of_them() -> None:
        for message in batch:
            await one(message)

    benchmark.group = "1,000 deliveries to a callable that does nothing"
    benchmark(lambda: loop.run_until_complete(all_of_them()))


def test_dispatch(benchmark: Any) -> None:
    loop = asyncio.new_event_loop()
    router = delivering_router()
    loop.run_until_complete(router.start())
    bench(benchmark, router.dispatch, loop)
    loop.run_until_complete(router.close())
    assert router.ledger.balanced
    assert router.ledger.delivered == router.ledger.accepted > 0
    loop.close()


def test_bare_await(benchmark: Any) -> None:
    loop = asyncio.new_event_loop()
    bench(benchmark, lambda message: nothing(message, "d0"), loop)
    loop.close()
