"""Deliverers with an outbox, and what an earlier run leaves in one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fake_core import FakeCore, deliverer, hang
from turnout.delivery import Deliverer
from turnout.delivery.outbox_schema import Row
from turnout.delivery.settings import OutboxSettings
from turnout.transports import Slot, Transport


def with_outbox(core: FakeCore, function: Any, path: Path, **settings: Any) -> Deliverer:
    outbox = {name: settings.pop(name) for name in list(settings) if name in OutboxSettings.__dataclass_fields__}
    return deliverer(core, function, outbox=OutboxSettings(str(path), **outbox), **settings)


def row_of(seq: int, body: bytes, **fields: Any) -> Row:
    return Row(seq, f"id-{seq}", 4, float(seq), None, None, None, None, 0, body)._replace(**fields)


async def kept(path: Path, *messages: Any, **core: Any) -> None:
    """Leaves the messages in the outbox, as a close does that has no time to drain."""
    deliveries = with_outbox(FakeCore(**core), hang, path)
    await deliveries.start()
    await asyncio.gather(*(deliveries.accept(message) for message in messages))
    await deliveries.close(drain=0)
    assert deliveries.ledger.kept == len(messages)
    assert deliveries.ledger.balanced
    assert len(deliveries.dead_letters) == 0


class _Noting:
    """A transport that notes what goes through it."""

    def __init__(self, inner: Transport, sent: list[tuple[str, str, int]]) -> None:
        self.inner, self.sent = inner, sent

    def open(self) -> None:
        self.inner.open()

    async def send(self, message: Any, destination: str, *, message_id: str, attempt: int, **told: Any) -> object:
        self.sent.append((message_id, destination, attempt))
        return await self.inner.send(message, destination, message_id=message_id, attempt=attempt, **told)

    async def close(self) -> None:
        await self.inner.close()


def sent_by(deliveries: Deliverer) -> list[tuple[str, str, int]]:
    """What is sent from now on: id, destination, number of the attempt."""
    sent: list[tuple[str, str, int]] = []
    take = deliveries.transports.take

    def noting(destination: str) -> Slot:
        slot = take(destination)
        if not isinstance(slot.transport, _Noting):
            slot.transport = _Noting(slot.transport, sent)
        return slot

    deliveries.transports.take = noting  # type: ignore[method-assign]
    return sent
