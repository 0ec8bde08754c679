"""A consumer group of Kafka as a source, against a real broker on a JVM: one for all tests of this file."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from servers import Server, kafka
from source_support import (
    Hub,
    a_message_that_was_not_delivered_comes_again_after_the_delay,
    processes_share_the_work,
    survives_a_restart,
    survives_kills,
)
from turnout.errors import ConfigError
from turnout.sources import Source, source

_names = (f"source-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = kafka(tmp_path_factory.mktemp("kafka"))
    one.start()
    yield one
    one.kill()


def url(broker: Server, topic: str, **options: Any) -> str:
    given = {"topic": topic, "group": "hub", "session_timeout": "6s", **options}
    return f"kafka://127.0.0.1:{broker.port}?" + "&".join(f"{name}={value}" for name, value in given.items())


def orders(broker: Server, topic: str, **options: Any) -> Source:
    return source(url(broker, topic, **options))


def filled(broker: Server, bodies: list[bytes], partitions: int = 4, **headers: str) -> str:
    """A new topic that holds the bodies."""
    name = next(_names)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}"})
    admin.create_topics([NewTopic(name, partitions, 1)], operation_timeout=30)[name].result(30)
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{broker.port}"})
    for number, body in enumerate(bodies):
        producer.produce(name, body, partition=number % partitions, headers=list(headers.items()))
    assert producer.flush(30) == 0
    return name


def named(*ids: str) -> list[bytes]:
    return [json.dumps({"id": name}).encode() for name in ids]


def behind(broker: Server, topic: str, count: int, partitions: int = 4) -> int:
    """How many records the group has not come to."""
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}"})
    asked = ConsumerGroupTopicPartitions("hub", [TopicPartition(topic, number) for number in range(partitions)])
    found = admin.list_consumer_group_offsets([asked])["hub"].result(30).topic_partitions
    return count - sum(max(0, one.offset) for one in found)


@pytest.mark.parametrize("outbox", [False, True])
def test_nothing_is_lost_where_the_bridge_is_killed(broker: Server, tmp_path: Path, outbox: bool) -> None:
    ids = [f"m-{number}" for number in range(2000)]
    topic = filled(broker, named(*ids))
    survives_kills(tmp_path / "bridge", url(broker, topic, prefetch=64), ids, outbox=outbox, kills=2)
    assert behind(broker, topic, 2000) == 0


def test_processes_share_a_group(broker: Server, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(4000)]
    topic = filled(broker, named(*ids))
    processes_share_the_work(tmp_path / "bridge", url(broker, topic, prefetch=8), ids, exactly=False)
    assert behind(broker, topic, 4000) == 0


async def test_what_is_not_delivered_comes_again(broker: Server) -> None:
    topic = filled(broker, named("m"))
    one = orders(broker, topic, nack_delay="300ms")
    await a_message_that_was_not_delivered_comes_again_after_the_delay(one, "m")
    assert behind(broker, topic, 1) == 0


async def test_a_record_that_is_not_settled_holds_up_the_offset_and_no_other_record(broker: Server) -> None:
    topic = filled(broker, named(*(f"m-{number}" for number in range(20))), partitions=1)
    hub = Hub()
    go = asyncio.Event()

    async def receive(message: Any, _destination: str) -> None:
        if message["id"] == "m-5" and not go.is_set():
            raise ConnectionError("not yet")
        hub.delivered.append(message["id"])

    hub.router.transport("send", receive)
    await hub.bring(orders(broker, topic, nack_delay="50ms"), lambda: len(hub.delivered) == 19)
    assert behind(broker, topic, 20, 1) == 15
    go.set()
    second = Hub()
    await second.bring(orders(broker, topic), lambda: len(second.delivered) == 15)
    assert "m-5" in second.delivered
    assert behind(broker, topic, 20, 1) == 0


async def test_no_more_is_fetched_than_there_is_room_for(broker: Server) -> None:
    topic = filled(broker, named(*(f"m-{number}" for number in range(200))))
    hub = Hub()
    now = most = 0

    async def receive(message: Any, _destination: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        hub.delivered.append(message["id"])

    hub.router.transport("send", receive)
    await hub.bring(orders(broker, topic, prefetch=7), lambda: len(hub.delivered) == 200)
    assert 1 < most <= 7


async def test_what_is_no_message_is_passed_over_and_the_id_of_the_producer_is_kept(
    broker: Server, caplog: pytest.LogCaptureFixture
) -> None:
    topic = filled(broker, [b"{", *named("good")], **{"message-id": "from the producer"})
    hub = Hub()
    await hub.bring(orders(broker, topic), lambda: hub.delivered == ["good"])
    assert "from the producer rejected: not JSON" in caplog.text
    assert behind(broker, topic, 2) == 0


async def test_nothing_is_lost_where_the_broker_is_restarted(broker: Server) -> None:
    topic = filled(broker, named(*(f"m-{number}" for number in range(1000))))

    await survives_a_restart(broker, orders(broker, topic, prefetch=32))


def test_a_url_without_a_host_and_a_password_in_the_clear_are_refused() -> None:
    with pytest.raises(ConfigError, match="names no host"):
        source("kafka://?topic=t&group=g")
    with pytest.raises(ConfigError, match="in the clear"):
        source("kafka://me:secret@host:9092,other:9092?topic=t&group=g&mechanism=PLAIN")
