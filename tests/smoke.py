"""What an installed wheel must do with nothing else there: decide, explain, hold and deliver. Run as a script."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import turnout


async def main(config: str) -> None:
    """Decides by the configuration at ``config``, and delivers by one of its own."""
    hub = turnout.Router.from_yaml(config)
    decision = hub.route({"channel": "sms", "priority": 4, "content": {"text": "hello"}})
    assert decision.destination is not None, decision

    rules = turnout.RuleSet(
        [{"id": "a", "when": 'message.channel == "sms"'}, {"id": "b", "match": {"channel": ["fax"]}}]
    )
    assert rules.first({"channel": "sms"}) == "a"
    assert rules.first_json(b'{"channel": "fax"}') == "b"

    router = turnout.Router(
        {"destinations": {"one": {"url": "callable:take"}, "two": {"url": "callable:take"}}},
        rules=[{"id": "all", "when": "true", "to": "default"}],
    )
    taken: list[Any] = []

    async def take(message: Any, destination: str) -> None:
        taken.append((destination, message))

    router.transport("take", take)
    async with router:
        for number in range(10):
            delivery = await router.dispatch({"number": number})
            assert delivery.status == "delivered", delivery
    assert len(taken) == router.ledger.delivered == router.ledger.accepted == 10
    assert router.ledger.balanced
    print(f"turnout {turnout.__version__}: decided, held and delivered; {router.ledger}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
