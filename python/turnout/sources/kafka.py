"""``kafka://USER:PASSWORD@HOST:9092,HOST2:9092?topic=T&group=G``: a topic, shared out by partition in a consumer group.

Kafka knows no acknowledgement of one record, only how far a group has come in a partition. So the offset that is
committed is that of the lowest record that is not settled: after a crash what is above comes again, settled or not
(with an outbox, what has an id of its own is not delivered twice). A record that could not be taken waits here and
comes again; it holds up the offset, though not the records behind it. What is no message is passed over, and told.

librdkafka polls in a thread of its own; while there is no room for more, its partitions are paused and it is polled all
the same, or the group would take this consumer for dead. The header ``message-id`` is the message's id, else topic,
partition and offset.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ..config import SourceOptions
from ..config.sources import KafkaSourceOptions
from ..errors import ConfigError
from .base import Again, Backoff, Incoming, Window

_WAIT: Final = 0.2
"""Seconds that a poll waits for the first record."""
_GROUP: Final = 500
"""Records of one poll."""

# What goes wrong is told by Backoff; librdkafka would tell it a second time, on standard error.
_client_log = logging.getLogger(f"{__name__}.client")
_client_log.addHandler(logging.NullHandler())
_client_log.propagate = False


class KafkaSource:
    """One consumer of a group."""

    keeps = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        """Raises ConfigError: the url names no host, or a setting is refused by librdkafka."""
        if not isinstance(options, KafkaSourceOptions):
            raise ConfigError("a kafka: source needs the options `topic` and `group`")
        self._options = options
        self.name = f"kafka topic {options.topic}, group {options.group}"
        self.nack_delay = options.nack_delay
        self.window = Window(options.prefetch)
        self._settings = _settings(url, options)
        self._client: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="turnout-kafka")
        self._parts: dict[int, _Partition] = {}
        self._changes: list[tuple[bool, list[int]]] = []
        """Partitions that were given (True) or taken in a poll, as they came."""
        self._paused = False
        self._trouble = ""
        self._again: Again[_Incoming] = Again(self.window)
        self._backoff = Backoff()

    async def open(self) -> None:
        """See :meth:`Source.open`."""
        try:
            self._client = Consumer({**self._settings, "error_cb": self._told}, logger=_client_log)
        except (KafkaException, ValueError) as error:
            raise ConfigError(f"{self.name}: the client cannot be made: {error}") from None
        self._client.subscribe([self._options.topic], on_assign=self._given, on_revoke=self._taken, on_lost=self._taken)

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        """See :class:`Source`."""
        found: deque[_Incoming] = deque()
        while True:
            if (again := self._again.pop()) is not None:
                yield again.once_more()
            elif found:
                incoming = found.popleft()
                if incoming.partition.is_ours:
                    yield incoming
                else:
                    await incoming.nack(0.0)
            else:
                if not self.window.free:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_WAIT):
                            await self.window.changed()
                found.extend(await self._fetch())

    async def close(self) -> None:
        """See :meth:`Source.close`. How far this came is committed."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, client.close)
        self._thread.shutdown(wait=False)

    def came_to(self, partition: int, offset: int) -> None:
        """All records of the partition below the offset are settled."""
        if self._client is not None:
            with contextlib.suppress(KafkaException):  # it was taken meanwhile: who has it starts at what was committed
                self._client.store_offsets(offsets=[TopicPartition(self._options.topic, partition, offset)])

    def again(self, incoming: _Incoming, delay: float) -> None:
        """Lets a record come again."""
        if incoming.partition.is_ours:
            self._again.put(incoming, delay)

    async def _fetch(self) -> list[_Incoming]:
        client = self._client
        if client is None:
            return []
        try:
            records = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._poll, client, self.window.free
            )
        except (KafkaException, RuntimeError) as error:
            await self._backoff.failed(f"{self.name}: waits for the brokers: {error}")
            return []
        self._take_over_changes()
        good = [record for record in records if record.error() is None]
        trouble = self._trouble or next((why.str() for record in records if (why := record.error()) is not None), "")
        self._trouble = ""
        if good:
            self._backoff.reset()
        elif trouble:
            await self._backoff.failed(f"{self.name}: waits for the brokers: {trouble}")
        return [self._incoming(record) for record in good]

    def _incoming(self, record: Message) -> _Incoming:
        number, offset = record.partition() or 0, record.offset() or 0
        partition = self._parts.setdefault(number, _Partition(number))
        partition.began(offset)
        self.window.take()
        return _Incoming(self, partition, offset, record)

    def _take_over_changes(self) -> None:
        changes, self._changes = self._changes, []
        for is_given, numbers in changes:
            for number in numbers:
                before = self._parts.pop(number, None)
                if before is not None:
                    before.is_ours = False
                if is_given:
                    self._parts[number] = _Partition(number)

    # -- in librdkafka's thread

    def _poll(self, client: Consumer, room: int) -> list[Message]:
        if self._paused != (room <= 0):
            self._paused = room <= 0
            (client.pause if self._paused else client.resume)(client.assignment())
        first = client.poll(_WAIT if room > 0 else 0.0)
        if first is None:
            return []
        return [first, *client.consume(min(room, _GROUP) - 1, 0.0)] if room > 1 else [first]

    def _given(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        self._changes.append((True, [one.partition for one in partitions]))
        self._paused = False

    def _taken(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        with contextlib.suppress(KafkaException):  # nothing is stored, or they are another's already
            client.commit(asynchronous=False)
        self._changes.append((False, [one.partition for one in partitions]))

    def _told(self, error: KafkaError) -> None:
        self._trouble = error.str()


class _Partition:
    """How far a partition has come, while it is this consumer's."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ours = True
        self._begun: deque[int] = deque()
        self._settled: set[int] = set()

    def began(self, offset: int) -> None:
        """A record was fetched."""
        self._begun.append(offset)

    def settled(self, offset: int) -> int | None:
        """A record was settled; the offset below which all are, if that has changed."""
        self._settled.add(offset)
        reached = None
        while self._begun and self._begun[0] in self._settled:
            reached = self._begun.popleft()
            self._settled.remove(reached)
        return None if reached is None else reached + 1


class _Incoming(Incoming):
    """A record of the topic."""

    __slots__ = ("_offset", "_record", "_source", "partition")

    def __init__(self, source: KafkaSource, partition: _Partition, offset: int, record: Message) -> None:
        headers: dict[str, Any] = dict(record.headers() or ())
        given = headers.get("message-id")
        name = f"{record.topic()}-{partition.number}-{offset}" if given is None else given.decode("utf-8", "replace")
        super().__init__(name, record.value() or b"", source.window)
        self.partition = partition
        self._source, self._offset, self._record = source, offset, record

    def once_more(self) -> _Incoming:
        """The same, to be ended once more."""
        return _Incoming(self._source, self.partition, self._offset, self._record)

    async def _ack(self) -> None:
        reached = self.partition.settled(self._offset)
        if reached is not None and self.partition.is_ours:
            self._source.came_to(self.partition.number, reached)

    async def _nack(self, delay: float) -> None:
        self._source.again(self, delay)

    async def _reject(self, why: str) -> None:
        await self._ack()


def _settings(url: str, options: KafkaSourceOptions) -> dict[str, Any]:
    """librdkafka's."""
    user, _, hosts = urlsplit(url).netloc.rpartition("@")
    if not hosts or any(not host or host.startswith(":") for host in hosts.split(",")):
        raise ConfigError("the url of the kafka: source names no host; write one such as kafka://broker.example:9092")
    name, _, password = user.partition(":")
    settings: dict[str, Any] = {
        "bootstrap.servers": hosts,
        "client.id": "turnout",
        "group.id": options.group,
        "security.protocol": ("sasl_" if name else "") + ("ssl" if options.tls else "plaintext"),
        "session.timeout.ms": round(options.session_timeout * 1000),
        "socket.connection.setup.timeout.ms": max(round(options.timeout * 1000), 1000),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,  # only what is settled
        "auto.commit.interval.ms": 500,
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": False,
    }
    if options.tls and options.ca_file is not None:
        settings["ssl.ca.location"] = options.ca_file
    if name:
        if options.mechanism == "PLAIN" and not options.tls:
            raise ConfigError("tls is false and the mechanism is PLAIN: the password would be sent in the clear")
        settings["sasl.mechanism"] = options.mechanism
        settings["sasl.username"], settings["sasl.password"] = unquote(name), unquote(password)
    return settings
