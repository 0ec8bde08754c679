"""Redis streams as a source, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from cli_support import ledger, process
from servers import Server, redis_server
from source_support import (
    Hub,
    a_message_that_was_not_delivered_comes_again_after_the_delay,
    count_of,
    finish,
    folder,
    processes_share_the_work,
    survives_a_restart,
    survives_kills,
    wait_for,
)
from turnout.sources import Source, source


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = redis_server(tmp_path / "redis")
    one.start()
    yield one
    one.kill()


def url(server: Server, **options: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"stream": "orders", "group": "hub", **options}.items())
    return f"redis://127.0.0.1:{server.port}/0?{query}"


def orders(server: Server, **options: Any) -> Source:
    return source(url(server, **options))


def add(server: Server, ids: list[str], **fields: Any) -> None:
    with redis.Redis(port=server.port) as client, client.pipeline(transaction=False) as pipeline:
        for name in ids:
            pipeline.xadd("orders", {"body": json.dumps({"id": name}), **fields})
        pipeline.execute()


def pending(server: Server) -> int:
    with redis.Redis(port=server.port) as client:
        found: int = client.xpending("orders", "hub")["pending"]
        return found


@pytest.mark.parametrize("outbox", [False, True])
def test_nothing_is_lost_where_the_bridge_is_killed(server: Server, tmp_path: Path, outbox: bool) -> None:
    ids = [f"m-{number}" for number in range(2000)]
    add(server, ids)
    survives_kills(tmp_path / "bridge", url(server, claim_after="300ms", prefetch=64), ids, outbox=outbox)
    assert pending(server) == 0


def test_processes_share_a_group(server: Server, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(3000)]
    add(server, ids)
    processes_share_the_work(tmp_path / "bridge", url(server, prefetch=16), ids)
    assert pending(server) == 0


async def test_nothing_is_lost_where_the_server_is_restarted(server: Server) -> None:
    add(server, [f"m-{number}" for number in range(1000)])
    await survives_a_restart(server, orders(server, claim_after="300ms"))


async def test_what_is_not_delivered_comes_again(server: Server) -> None:
    add(server, ["m"])
    await a_message_that_was_not_delivered_comes_again_after_the_delay(orders(server, nack_delay="300ms"), "m")
    assert pending(server) == 0


async def test_what_is_held_long_is_not_taken_over(server: Server) -> None:
    add(server, ["m"])
    hubs = [Hub(), Hub()]

    async def hold(_message: Any, _destination: str) -> None:
        hubs[0].delivered.append("m")
        await asyncio.sleep(1.5)

    for hub in hubs:
        hub.router.transport("send", hold)
    stop = asyncio.get_running_loop().time() + 1.2

    def until() -> bool:
        return asyncio.get_running_loop().time() > stop

    await asyncio.gather(*(hub.bring(orders(server, claim_after="300ms"), until) for hub in hubs))
    assert hubs[0].delivered == ["m"]
    assert pending(server) == 0


async def test_what_was_fetched_and_not_handed_over_is_free_at_once(server: Server) -> None:
    add(server, [f"m-{number}" for number in range(50)])
    first = orders(server)
    await first.open()
    async for incoming in first:
        await incoming.ack()
        break
    await first.close()
    assert pending(server) == 49
    hub = Hub()
    await hub.bring(orders(server), lambda: len(hub.delivered) == 49)


async def test_what_is_no_message_is_acknowledged_and_the_rest_goes_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis(port=server.port) as client:
        client.xadd("orders", {"body": "{"})
        client.xadd("orders", {"other": "{}"})
        client.xadd("orders", {"id": "named", "body": '{"id": ""}'})
    add(server, ["good"])
    hub = Hub()
    hub.router.transport("send", lambda message, destination: hub.delivered.append(str(message["id"])))
    await hub.bring(orders(server), lambda: len(hub.delivered) == 2)
    assert pending(server) == 0
    assert "rejected: not JSON" in caplog.text
    assert "rejected: the entry has no field 'body'" in caplog.text


def test_what_was_given_up_on_and_what_is_no_message_is_in_the_letters_file_before_it_is_acknowledged(
    server: Server, tmp_path: Path
) -> None:
    arguments = folder(tmp_path / "bridge")
    refusing = "from turnout import DeliveryError\nasync def send(message, destination):\n"
    refusing += "    raise DeliveryError('refused', 'never', retryable=False)\n"
    refusing += "def setup(router): router.transport('send', send)\n"
    (tmp_path / "bridge" / "app.py").write_text(refusing)
    add(server, ["m"])
    with redis.Redis(port=server.port) as client:
        client.xadd("orders", {"body": "[]"})
    letters = tmp_path / "letters"
    with process(*arguments, "--source", url(server), "--dead-letters", str(letters), "-q") as running:
        wait_for(lambda: letters.exists() and len(letters.read_text().splitlines()) == 2)
        wait_for(lambda: pending(server) == 0)
        running.terminate()
        out, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert ledger(out)["dead"] == 1
    assert "rejected: not a message: a JSON object is expected, found a list" in err
    by_kind = {"rejected" in record: record for record in map(json.loads, letters.read_text().splitlines())}
    assert (by_kind[True]["body"], by_kind[False]["id"], by_kind[False]["reason"]) == ("[]", "m", "rejected")


def test_without_a_place_for_letters_what_cannot_be_delivered_goes_back_and_nothing_piles_up(
    server: Server, tmp_path: Path
) -> None:
    arguments = folder(tmp_path / "bridge")
    app = tmp_path / "bridge" / "app.py"
    here = "HERE = pathlib.Path(__file__).parent"
    refusing = f"""    {here}
    if not (HERE / 'up').exists():
        (HERE / 'tried').touch()
        raise ConnectionError('down')
    await asyncio"""
    app.write_text(app.read_text().replace("    await asyncio", refusing))
    add(server, ["m"])
    with process(*arguments, "--source", url(server, nack_delay="100ms"), "--json") as running:
        wait_for((tmp_path / "bridge" / "tried").exists)
        (tmp_path / "bridge" / "up").touch()
        wait_for(lambda: count_of(tmp_path / "bridge") == 1)
        wait_for(lambda: pending(server) == 0)
        running.terminate()
        out, err = running.communicate(timeout=60)
    counts = json.loads(out)["ledger"]
    assert counts["delivered"] == 1
    assert counts["dead_lettered"] >= 1
    assert counts["lost"] == 0
    assert "what cannot be delivered goes back to where it came from" in err


def test_what_does_not_settle_in_time_goes_back_and_is_no_dead_letter(server: Server, tmp_path: Path) -> None:
    arguments = folder(tmp_path / "bridge", seconds=60)
    add(server, ["m", "n"])
    letters = tmp_path / "letters"
    with process(*arguments, "--source", url(server), "--dead-letters", str(letters), "--drain", "0", "-q") as running:
        wait_for(lambda: has_group(server) and pending(server) == 2)
        running.terminate()
        out, err = running.communicate(timeout=60)
    assert running.returncode == 1, err
    assert (letters.read_text(), ledger(out)["lost"], pending(server)) == ("", 0, 2)
    finish(tmp_path / "bridge", [[*folder(tmp_path / "bridge"), "--source", url(server)]], 2)
    assert pending(server) == 0


def has_group(server: Server) -> bool:
    with redis.Redis(port=server.port) as client:
        return bool(client.xinfo_groups("orders"))
