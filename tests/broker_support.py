"""What is asked of every broker: nothing accepted is lost while it is killed and started again under flow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from servers import Server
from turnout import Router
from turnout.testing import Received, account


async def survives_a_restart(
    server: Server, destination: dict[str, Any], received: Callable[[], Awaitable[list[Received]]], count: int = 3000
) -> None:
    """Sends ``count`` messages, kills the server after a third of them and starts it again; then the account balances.

    What was received twice is allowed: an acknowledgement may have been on its way.
    """
    hub = Router(
        {
            "destinations": {"a": destination},
            "default": "default",
            "retries": {"max_attempts": 1000, "base_delay": "5ms", "max_delay": "100ms", "budget_per_second": 100000.0},
            "failover": {"recovery_time": "50ms"},
            "performance": {"timeout": "90s"},
        }
    )
    ids = [f"m-{number}" for number in range(count)]
    async with hub:
        for number, name in enumerate(ids):
            await hub.accept({"id": name})
            if number == count // 3:
                while not hub.ledger.delivered:  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.01)
                server.kill()
                await asyncio.to_thread(server.start)
            if number % 50 == 0:
                await asyncio.sleep(0.001)
        await hub.join()
    found = account(ids, [one.id for one in await received()], elsewhere=[letter.id for letter in hub.dead_letters])
    assert hub.ledger.balanced
    assert found.balanced, found
    assert not len(hub.dead_letters), next(iter(hub.dead_letters))
