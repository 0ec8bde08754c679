"""``redis://HOST/DB?stream=S&group=G``: the entries of a Redis stream, shared out among the consumers of a group.

An entry's field ``body`` (``field``) holds the message as JSON, and its field ``id``, if it has one, the message's id:
what a ``redis:`` destination writes. Each process is a consumer of its own. What it was given and has not acknowledged
stays pending in the group; while it lives it says so (``XCLAIM`` to itself, three times in ``claim_after``), and what a
consumer that died left behind others take over after ``claim_after`` (``XAUTOCLAIM``). Redis has no negative
acknowledgement: an entry that could not be taken waits here, pending, and is free to all when the source closes.

What is no message is acknowledged, or it would come again for ever; it stays in the stream as long as the stream keeps
it. Acknowledged entries are not deleted: trim the stream where it is written (``max_length``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ..config import SourceOptions
from ..config.sources import RedisSourceOptions
from ..errors import ConfigError
from .base import Again, Backoff, Incoming, Window

_BLOCK: Final = 0.5
"""Seconds that a read waits for new entries: how late one that comes again, or is taken over, may be."""
_GROUP: Final = 256
"""Entries of one read or acknowledgement."""

_START: Final = b"0-0"

_Entry = tuple[bytes, dict[bytes, bytes]]


class RedisSource:
    """One consumer of a group."""

    keeps = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        """Raises ConfigError: the url cannot be used."""
        if not isinstance(options, RedisSourceOptions):
            raise ConfigError("a redis: source needs the options `stream` and `group`")
        self._options = options
        self.name = f"redis stream {options.stream}, group {options.group}"
        self.nack_delay = options.nack_delay
        self.field = options.field.encode()
        """Of an entry, that holds the message."""
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self.window = Window(options.prefetch)
        self._again: Again[_Entry] = Again(self.window)
        self._held: set[bytes] = set()
        """Entries that are this consumer's and not acknowledged."""
        self._acking: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._living: asyncio.Task[None] | None = None
        self._closing = False
        self._backoff = Backoff()
        self._has_group = False
        self._cursor, self._claim_at = _START, 0.0
        """Where taking over goes on, and when it is time for it, in the loop's time."""
        tls: dict[str, Any] = {}
        if options.ca_file is not None and url.startswith("rediss:"):
            tls["ssl_ca_certs"] = options.ca_file
        try:
            self._client = client.Redis.from_url(
                url,
                socket_timeout=options.timeout,
                socket_connect_timeout=options.timeout,
                retry=Retry(NoBackoff(), 0),  # a read sent again would leave what the first one took pending
                **tls,
            )
        except ValueError as error:
            raise ConfigError(f"the url of the redis: source cannot be used: {error}") from None

    async def open(self) -> None:
        """See :meth:`Source.open`."""
        self._living = asyncio.create_task(self._live())

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        """See :class:`Source`."""
        found: deque[_Entry] = deque()
        while True:
            if (again := self._again.pop()) is not None:
                yield _Incoming(self, again)
            elif found:
                yield _Incoming(self, found.popleft())
            elif not self.window.free:
                await self.window.changed()
            else:
                for entry in await self._fetch():
                    self._held.add(entry[0])
                    self.window.take()
                    found.append(entry)

    async def _fetch(self) -> list[_Entry]:
        """New entries, or those of a dead consumer; none where there are none, or the server is down."""
        now = asyncio.get_running_loop().time()
        try:
            if not self._has_group:
                await self._make_group()
                self._has_group = True
            if now < self._claim_at:
                entries = await self._read()
            else:
                entries = await self._claim()
                if self._cursor == _START:
                    self._claim_at = now + self._options.claim_after / 3
        except (RedisError, OSError) as error:
            self._has_group = self._has_group and "NOGROUP" not in str(error)
            await self._backoff.failed(f"{self.name}: waits for the server: {error}")
            return []
        self._backoff.reset()
        return entries

    async def close(self) -> None:
        """See :meth:`Source.close`. What is pending is free for other consumers to take over at once."""
        self._closing = True
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait([self._living])
        if self._writing is not None:
            await asyncio.wait([self._writing])
        options = self._options
        with contextlib.suppress(RedisError, OSError):  # others take them over after `claim_after` all the same
            if self._held:
                await self._client.xclaim(
                    options.stream, options.group, self._consumer, 0, list(self._held), idle=_milliseconds(options),
                    justid=True,
                )  # fmt: skip
            pending = await self._client.xpending_range(
                options.stream, options.group, min="-", max="+", count=1, consumername=self._consumer
            )
            if not pending:  # deleting a consumer deletes what is pending with it
                await self._client.xgroup_delconsumer(options.stream, options.group, self._consumer)
        await self._client.aclose()

    async def ack(self, names: list[bytes]) -> None:
        """Acknowledges entries, together with others; returns when Redis was told, or cannot be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._acking.extend((name, done) for name in names)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_acks())
        await done

    def again(self, entry: _Entry, delay: float) -> None:
        """Lets an entry come again; if the source closes before, to whoever takes it over."""
        if not self._closing:
            self._again.put(entry, delay)

    async def _write_acks(self) -> None:
        options, backoff = self._options, Backoff()
        try:
            while self._acking:
                group, self._acking = self._acking[:_GROUP], self._acking[_GROUP:]
                names = [name for name, _ in group]
                for _ in range(6):  # about 3 seconds; then they come again
                    try:
                        await self._client.xack(options.stream, options.group, *names)
                        break
                    except (RedisError, OSError) as error:
                        if self._closing:
                            break
                        await backoff.failed(f"{self.name}: waits for the server, to acknowledge: {error}")
                self._held.difference_update(names)
                for _, done in group:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._writing = None

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(self._options.stream, self._options.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _read(self) -> list[_Entry]:
        options = self._options
        answer: Any = await self._client.xreadgroup(
            options.group,
            self._consumer,
            {options.stream: ">"},
            count=min(_GROUP, self.window.free),
            block=round(min(_BLOCK, options.timeout / 2) * 1000),
        )
        return _entries(answer)

    async def _claim(self) -> list[_Entry]:
        """Takes over some of what dead consumers left behind; the cursor is at the start again when that was all."""
        options = self._options
        self._cursor, entries, *_ = await self._client.xautoclaim(
            options.stream, options.group, self._consumer, _milliseconds(options), self._cursor,
            count=min(_GROUP, self.window.free),
        )  # fmt: skip
        gone = [name for name, fields in entries if fields is None]  # deleted meanwhile
        if gone:
            await self._client.xack(options.stream, options.group, *gone)
        return [entry for entry in entries if entry[1] is not None and entry[0] not in self._held]

    async def _live(self) -> None:
        """Says of what is held that it is being worked on."""
        options = self._options
        while True:
            await asyncio.sleep(options.claim_after / 3)
            held: list[Any] = list(self._held)
            with contextlib.suppress(RedisError, OSError):  # said again in a while
                for begin in range(0, len(held), _GROUP):
                    await self._client.xclaim(
                        options.stream, options.group, self._consumer, 0, held[begin : begin + _GROUP], justid=True
                    )


class _Incoming(Incoming):
    """An entry of the stream."""

    __slots__ = ("_entry", "_source")

    def __init__(self, source: RedisSource, entry: _Entry) -> None:
        name, fields = entry
        super().__init__(
            fields.get(b"id", name).decode("utf-8", "replace"), fields.get(source.field, b""), source.window
        )
        self._source, self._entry = source, entry

    def message(self) -> dict[str, Any]:
        if self._source.field not in self._entry[1]:
            raise ValueError(f"the entry has no field {self._source.field.decode()!r}")
        return super().message()

    async def _ack(self) -> None:
        await self._source.ack([self._entry[0]])

    async def _nack(self, delay: float) -> None:
        self._source.again(self._entry, delay)

    async def _reject(self, why: str) -> None:
        await self._source.ack([self._entry[0]])


def _entries(answer: Any) -> list[_Entry]:
    """The entries in an answer of XREADGROUP, of protocol 2 or 3."""
    if not answer:
        return []
    found = next(iter(answer.values())) if isinstance(answer, dict) else answer[0][1]
    if found and isinstance(found[0], list) and found[0] and isinstance(found[0][0], (list, tuple)):
        found = found[0]  # protocol 3 of redis-py nests them once more
    return [(name, fields) for name, fields in found]


def _milliseconds(options: RedisSourceOptions) -> int:
    return round(options.claim_after * 1000)
