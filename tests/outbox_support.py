"""Deliverers with an outbox, and what an earlier run leaves in one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import zlib
from pathlib import Path
from typing import Any

from fake_core import FakeCore, deliverer, hang
from turnout.delivery import Deliverer
from turnout.delivery.outbox_codec import encode
from turnout.delivery.outbox_schema import APPLICATION, Row
from turnout.delivery.settings import OutboxSettings
from turnout.transports import Slot, Transport

LAYOUT_1 = """
CREATE TABLE message(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, priority INTEGER NOT NULL, accepted REAL NOT NULL,
                     expires REAL, body BLOB NOT NULL, crc INTEGER NOT NULL, tried INTEGER NOT NULL DEFAULT 0,
                     mark INTEGER NOT NULL);
CREATE INDEX message_id ON message(id, mark);
CREATE TABLE took(seq INTEGER NOT NULL, pool TEXT NOT NULL, PRIMARY KEY(seq, pool)) WITHOUT ROWID;
CREATE TABLE dead(number INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE known(number INTEGER PRIMARY KEY, id TEXT NOT NULL, at REAL NOT NULL);
"""
LETTER = {
    "id": "d", "status": "dead_lettered", "reason": "rejected", "detail": "400", "rule": None, "stage": None,
    "pool": "p", "attempts": [{"number": 1, "destination": "a", "gone_by": 3}], "branches": [], "partial": False,
    "priority": 4, "at": 5.0, "elapsed": 1.0, "of_a_later_release": [1],
}  # fmt: skip
"""As another release may have written it: with a field that is not known here, and of the attempt most are missing."""


def layout_1(path: Path, messages: int = 3, prefix: str = "m") -> None:
    """A file as the first layout's own statements made it: message 2 has been tried twice, message 3 has pool p."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(LAYOUT_1)
        db.execute(f"PRAGMA application_id={APPLICATION}")
        db.execute("PRAGMA user_version=1")
        insert = (
            "INSERT INTO message(seq, id, priority, accepted, expires, body, crc, tried, mark) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        for seq in range(1, messages + 1):
            body, accepted = encode({"id": f"{prefix}{seq}", "n": seq}), 4e9
            crc = zlib.crc32(body, zlib.crc32(f"{seq} {prefix}{seq} 4 {accepted!r} None".encode()))
            tried, mark = 2 * (seq == 2), zlib.crc32(f"{seq} {prefix}{seq}".encode())
            db.execute(insert, (seq, f"{prefix}{seq}", 4, accepted, None, body, crc, tried, mark))
        db.execute("INSERT INTO took VALUES (3, 'p')")
        letter = json.dumps({**LETTER, "message": "ansiaWQiOiJkIn0="}).encode()  # j{"id":"d"} in base64
        db.execute("INSERT INTO dead VALUES (1, ?, ?)", (letter, zlib.crc32(letter)))
        db.execute("INSERT INTO known VALUES (1, 'k', 4e9)")


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
