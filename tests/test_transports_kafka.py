"""Kafka, against a real broker on a JVM, which takes some seconds to start: one for all tests of this file."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from broker_support import survives_a_restart
from servers import KAFKA_LARGEST, Server, free_port, kafka
from transport_support import made, refusal, send
from turnout.errors import ConfigError, DeliveryError
from turnout.testing import Received, TransportCase, checks_for
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport

_names = (f"topic-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = kafka(tmp_path_factory.mktemp("kafka"))
    one.start()
    yield one
    one.kill()


async def topic(server: Server, partitions: int = 1, **config: str) -> str:
    """A new topic."""

    def create() -> str:
        name = next(_names)
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{server.port}"})
        admin.create_topics([NewTopic(name, partitions, 1, config=config)], operation_timeout=30)[name].result(30)
        return name

    return await asyncio.to_thread(create)


def produced(server: Server, name: str, **options: Any) -> Transport:
    return made(f"kafka://127.0.0.1:{server.port}", topic=name, **{"timeout": "3s", **options})


async def records(server: Server, name: str) -> list[Any]:
    """All records of a topic, partition by partition."""

    def read() -> list[Any]:
        settings = {"bootstrap.servers": f"127.0.0.1:{server.port}", "group.id": "reader", "enable.auto.commit": False}
        consumer = Consumer(settings)
        found: list[Any] = []
        for partition in consumer.list_topics(name, timeout=30).topics[name].partitions:
            begin, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=30)
            consumer.assign([TopicPartition(name, partition, begin)])
            position = begin
            while position < end:
                for record in consumer.consume(min(500, end - position), timeout=30):
                    assert record.error() is None
                    found.append(record)
                    position = record.offset() + 1
        consumer.close()
        return found

    return await asyncio.to_thread(read)


async def arrived(server: Server, name: str) -> list[Received]:
    return [Received(dict(one.headers())["message-id"].decode(), one.value()) for one in await records(server, name)]


class KafkaCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    def __init__(self, server: Server) -> None:
        self._server = server
        self._least = 0
        self._filling: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> TransportCase:
        self._topic = await topic(self._server)
        return self

    def transport(self) -> Transport:
        self._transport = produced(self._server, self._topic)
        return self._transport

    def message(self, number: int, size: int = 0) -> dict[str, Any]:
        return super().message(number, max(size, self._least))

    async def received(self) -> list[Received]:
        return await arrived(self._server, self._topic)

    async def fail(self, fault: Fault) -> None:
        match fault:
            case "retryable":
                self._server.kill()
            case "overloaded":  # what has no room waits with us
                await send(self._transport, {}, "first")
                self._server.pause()
                self._filling = [
                    asyncio.create_task(send(self._transport, {}, f"fill-{number}")) for number in range(10_000)
                ]
                await asyncio.sleep(0)
            case "permanent":
                self._least = KAFKA_LARGEST
            case "hanging":
                self._server.pause()

    async def recover(self) -> None:
        self._least = 0
        if not self._server.running:
            await asyncio.to_thread(self._server.start)
        self._server.go_on()
        await asyncio.gather(*self._filling, return_exceptions=True)


@pytest.mark.parametrize("check", checks_for(KafkaCase), ids=str)
async def test_kafka_conforms(check: Check, server: Server) -> None:
    await check(KafkaCase(server))


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(
    server: Server, tmp_path: Path
) -> None:
    name = await topic(server, partitions=3)
    destination = {"url": f"kafka://127.0.0.1:{server.port}", "options": {"topic": name}}
    await survives_a_restart(server, destination, lambda: arrived(server, name), tmp_path / "outbox.db")


async def test_messages_of_a_key_stay_in_order_in_one_partition(server: Server) -> None:
    name = await topic(server, partitions=3)
    transport = produced(server, name)
    await asyncio.gather(*(send(transport, {"key": f"k-{n % 7}", "number": n}, f"m-{n}") for n in range(700)))
    await send(transport, b'{"key": 5}', "raw")
    await transport.close()
    partitions = defaultdict(set)
    found = await records(server, name)
    for record in found:
        partitions[record.key()].add(record.partition())
    assert {len(one) for one in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) > 1
    ours = [dict(one.headers())["message-id"].decode() for one in found if one.key() == b"k-3"]
    assert ours == [f"m-{n}" for n in range(700) if n % 7 == 3]
    assert b"5" in partitions


async def test_a_record_says_what_it_is(server: Server) -> None:
    name = await topic(server)
    transport = produced(server, name, compression="zstd")
    assert await send(transport, {"a": "ü"}, "m 1", 2) == (0, 0)
    await transport.close()
    record = (await records(server, name))[0]
    assert (record.value(), record.key()) == ('{"a":"ü"}'.encode(), None)
    assert dict(record.headers()) == {"message-id": b"m 1", "attempt": b"2"}


async def test_what_is_too_large_for_the_topic_is_at_fault_alone(server: Server) -> None:
    name = await topic(server, **{"max.message.bytes": "20000"})
    transport = produced(server, name)
    sizes = [3000] * 20
    sizes[7] = 30_000
    sends = (send(transport, {"x": "y" * size}, str(number)) for number, size in enumerate(sizes))
    answers = await asyncio.gather(*sends, return_exceptions=True)
    await transport.close()
    kinds = [getattr(answer, "kind", None) for answer in answers]
    assert kinds == [None] * 7 + ["too_large"] + [None] * 12
    assert sorted(int(one.id) for one in await arrived(server, name)) == [n for n in range(20) if n != 7]


async def test_a_topic_that_is_not_there_is_the_destinations_fault(server: Server) -> None:
    transport = produced(server, "nowhere", timeout="20s")
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == ("refused", True, None)


async def test_a_compacted_topic_refuses_what_has_no_key_for_good(server: Server) -> None:
    name = await topic(server, **{"cleanup.policy": "compact"})
    transport = produced(server, name)
    error = await refusal(transport, {"a": 1})
    await send(transport, {"key": "k"})
    await transport.close()
    assert (error.kind, error.retryable) == ("rejected", False)


# Without a broker


async def test_a_broker_that_is_down_ends_sends_before_their_time() -> None:
    transport = made(f"kafka://127.0.0.1:{free_port()}", topic="x", timeout="60s")
    async with asyncio.timeout(30):
        errors = [await refusal(transport, {}, str(number)) for number in range(3)]
        await transport.close()
    assert {(error.kind, error.retryable) for error in errors} == {("connection", True)}


async def test_what_waits_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = made(f"kafka://127.0.0.1:{silent.getsockname()[1]}", topic="x", timeout="1s")
        sends = [asyncio.create_task(send(transport, {}, str(number))) for number in range(10_100)]
        errors = await asyncio.gather(*sends, return_exceptions=True)
        await transport.close()
    kinds = [error.kind for error in errors if isinstance(error, DeliveryError)]
    assert kinds.count("overloaded") == 100
    assert len(kinds) == 10_100


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("kafka://h", {}, "the key 'topic' is missing"),
        ("kafka://h", {"topic": "a b"}, "topic"),
        ("kafka://user@", {"topic": "a"}, "names no host"),
        ("kafka://user:x@h", {"topic": "a", "mechanism": "PLAIN"}, "sent in the clear"),
    ],
)
def test_a_destination_that_can_never_work_is_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(url, **options)
