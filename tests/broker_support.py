"""What is asked of every channel: nothing accepted is lost while its other end is killed, or cut off, under flow.

The settings are such as a user would have: some attempts, a budget, a breaker, an outbox. So an outage makes dead
letters; when it is over they are redriven, as an operator would.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from servers import Server
from turnout import Router
from turnout.testing import Account, Received, account

_PATIENCE = 60.0
"""Seconds until what was given up on must be delivered: a broker may answer before its queues are back."""
_PAUSE = 0.2


def hub_to(destination: dict[str, Any], outbox: Path | None) -> Router:
    settings: dict[str, Any] = {
        "destinations": {"a": destination},
        "default": "default",
        "retries": {"max_attempts": 6, "base_delay": "50ms", "max_delay": "1s", "attempt_timeout": "1s"},
        "failover": {"recovery_time": "200ms", "on_exhausted": "wait"},
        "performance": {"timeout": "30s"},
    }
    return Router(settings if outbox is None else {**settings, "outbox": {"path": str(outbox)}})


async def accounted(
    hub: Router,
    ids: list[str],
    trouble: Callable[[], Awaitable[None]],
    received: Callable[[], Awaitable[list[Received]]],
) -> Account:
    """Dispatches every message, a few at a time, with the trouble from a third of them on; redrives what was given up
    on until nothing is; and compares what was sent with what arrived. The ledger balances."""
    async with hub:
        sends = []
        troubled: asyncio.Task[None] | None = None
        for number, name in enumerate(ids):
            sends.append(asyncio.create_task(hub.dispatch({"id": name})))
            if number == len(ids) // 3:
                while not hub.ledger.delivered:  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.01)
                troubled = asyncio.ensure_future(trouble())
            if number % 10 == 0:
                await asyncio.sleep(0.002)
        await asyncio.gather(*sends)
        assert troubled is not None
        await troubled
        until = time.monotonic() + _PATIENCE
        while len(hub.dead_letters) and time.monotonic() < until:
            await hub.dead_letters.redrive(list(hub.dead_letters))
            await hub.join()
            await asyncio.sleep(_PAUSE if len(hub.dead_letters) else 0)
        letters = list(hub.dead_letters)
    assert not letters, letters[0]
    assert hub.ledger.balanced, hub.ledger
    return account(ids, [one.id for one in await received()])


async def survives_a_restart(
    server: Server,
    destination: dict[str, Any],
    received: Callable[[], Awaitable[list[Received]]],
    outbox: Path,
    count: int = 2000,
) -> None:
    """Kills the server after a third of ``count`` messages and starts it again; then the account balances.

    What was received twice is allowed: an acknowledgement may have been on its way.
    """

    async def killed() -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    ids = [f"m-{number}" for number in range(count)]
    found = await accounted(hub_to(destination, outbox), ids, killed, received)
    assert found.balanced, found
