"""The spool: one line of JSON a message, on the disk before the send returns, whole lines only."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from turnout.errors import ConfigError, DeliveryError
from turnout.message import Message
from turnout.transports import SpoolTransport, Transport


async def send(transport: Transport, message: object = None, *, destination: str = "d", attempt: int = 1) -> object:
    return await transport.send(message, destination, message_id="m-1", attempt=attempt)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_a_line_holds_id_destination_attempt_and_message(tmp_path: Path) -> None:
    spool = SpoolTransport(str(tmp_path / "new" / "directory"), "eu")
    spool.open()
    await send(spool, {"text": "grüß\n", "n": 1}, destination="eu", attempt=2)
    await spool.close()
    expected = {"id": "m-1", "destination": "eu", "attempt": 2, "message": {"text": "grüß\n", "n": 1}}
    assert lines(tmp_path / "new" / "directory" / "eu.jsonl") == [expected]


@dataclass
class Order:
    total: int


class Model(BaseModel):
    total: int = 5


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (Order(5), {"total": 5}),
        (Model(), {"total": 5}),
        (MappingProxyType({"total": 5}), {"total": 5}),
        (b'{"total" : 5}', {"total": 5}),
        ({"orders": [Order(5), Model()]}, {"orders": [{"total": 5}, {"total": 5}]}),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC)}, {"at": "2030-01-01T00:00:00+00:00"}),
        ({"nul": "\0", "big": 2**70}, {"nul": "\0", "big": 2**70}),
    ],
)
async def test_every_kind_of_message_is_written_as_json(tmp_path: Path, message: Any, written: Any) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    await send(spool, message)
    await spool.close()
    assert [line["message"] for line in lines(tmp_path / "d.jsonl")] == [written]


async def test_the_envelope_is_written_with_all_its_fields(tmp_path: Path) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    await send(spool, Message({"a": 1}, id="x", channel="sms"))
    await spool.close()
    message = lines(tmp_path / "d.jsonl")[0]["message"]
    assert (message["id"], message["content"], message["channel"], message["priority"]) == ("x", {"a": 1}, "sms", 4)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


cycle: dict[str, Any] = {}
cycle["self"] = [cycle]


class Unfit(BaseModel):
    what: Any = object()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (nested(10_000), "nested too deeply"),
        ({"a": [float("nan")]}, "a number is NaN or infinite"),
        ({"a": float("-inf")}, "a number is NaN or infinite"),
        ({"a": "\ud800"}, r"lone surrogate \(U\+D800\)"),
        ({"a": [{"b": {5: 1}}]}, "key '5' is of type int"),
        ({None: 1}, "key 'None' is of type NoneType"),
        ({"a": MappingProxyType({1: 1})}, "key '1' is of type int"),
        ({"a": {1, 2}}, "for the type set"),
        ({"a": b"bytes"}, "for the type bytes"),
        ({"a": object}, "for the type type"),
        (Unfit(), "for the type object"),
        (cycle, "Circular"),
        ({"a": 10**5000}, "integer string conversion"),
        (b"{", "is not JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
    ],
    ids=range(15),
)
async def test_what_json_cannot_hold_is_refused_for_good_and_leaves_no_trace(
    tmp_path: Path, message: Any, words: str
) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    with pytest.raises(DeliveryError, match=words) as caught:
        await send(spool, message)
    assert (caught.value.kind, caught.value.retryable) == ("unencodable", False)
    await send(spool, {})
    await spool.close()
    assert len(lines(tmp_path / "d.jsonl")) == 1


async def test_fifty_megabytes_are_one_line_like_any_other(tmp_path: Path) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    await send(spool, {"text": "x" * 50_000_000})
    await spool.close()
    assert (tmp_path / "d.jsonl").stat().st_size > 50_000_000


async def test_sends_at_the_same_time_share_writes_and_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    fsync = os.fsync

    def slow(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        time.sleep(0.005)
        fsync(fd)

    spool = SpoolTransport(str(tmp_path), "d")
    spool.open()
    monkeypatch.setattr(os, "fsync", slow)
    await asyncio.gather(*(send(spool, {"n": number}) for number in range(500)))
    await spool.close()
    assert syncs <= 3
    assert [line["message"]["n"] for line in lines(tmp_path / "d.jsonl")] == list(range(500))


async def test_a_send_returns_only_after_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, fsync = threading.Event(), os.fsync
    spool = SpoolTransport(str(tmp_path), "d")
    spool.open()
    monkeypatch.setattr(os, "fsync", lambda fd: (release.wait(5), fsync(fd)))
    sending = asyncio.create_task(send(spool, {}))
    await asyncio.sleep(0.03)
    assert (tmp_path / "d.jsonl").stat().st_size > 0
    assert not sending.done()
    release.set()
    await sending
    await spool.close()


async def test_the_torn_line_a_crash_left_gets_an_end_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"id":"1"}\n{"id":"2","mess')
    spool = SpoolTransport(str(tmp_path), "d")
    await send(spool, {"n": 3})
    await spool.close()
    first, torn, third = path.read_bytes().splitlines()
    assert json.loads(first) == {"id": "1"}
    assert torn == b'{"id":"2","mess'
    assert json.loads(third)["message"] == {"n": 3}


async def test_a_full_disk_fails_the_send_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    await send(spool, {"n": 1})
    write, calls = os.write, 0

    def full(fd: int, data: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return write(fd, bytes(data[:7]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    results = await asyncio.gather(*(send(spool, {"n": 2}) for _ in range(3)), return_exceptions=True)
    for error in results:
        assert isinstance(error, DeliveryError)
        assert (error.kind, error.retryable) == ("spool_full", True)
        assert "make room on the disk" in str(error)
    assert len(lines(tmp_path / "d.jsonl")) == 1
    monkeypatch.setattr(os, "write", write)
    await send(spool, {"n": 3})
    await spool.close()
    assert [line["message"]["n"] for line in lines(tmp_path / "d.jsonl")] == [1, 3]


async def test_a_torn_write_that_cannot_be_cut_off_at_once_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    await send(spool, {"n": 1})

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    fsync, ftruncate = os.fsync, os.ftruncate
    monkeypatch.setattr(os, "fsync", broken)
    monkeypatch.setattr(os, "ftruncate", broken)
    for _ in range(2):
        with pytest.raises(DeliveryError, match="broken") as caught:
            await send(spool, {"n": 2})
        assert caught.value.kind == "spool_failed"
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    await send(spool, {"n": 3})
    await spool.close()
    assert [line["message"]["n"] for line in lines(tmp_path / "d.jsonl")] == [1, 3]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_without_permission_is_an_error_in_words(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)  # noqa: PTH101
    spool = SpoolTransport(str(tmp_path / "out"), "d")
    with pytest.raises(ConfigError, match=r"cannot be written: Permission denied; make .* writable"):
        spool.open()
    with pytest.raises(DeliveryError, match="Permission denied"):
        await send(spool, {})


@pytest.mark.parametrize("url", ["{file}", "{file}/below", "/proc/nowhere", "/sys/turnout"])
async def test_an_unusable_directory_is_an_error_at_start_and_a_failure_at_send(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("")
    directory = url.format(file=tmp_path / "file")
    spool = SpoolTransport(directory, "d")
    with pytest.raises(ConfigError, match=directory):
        spool.open()
    with pytest.raises(DeliveryError) as caught:
        await send(spool, {})
    assert (caught.value.kind, caught.value.retryable) == ("spool_failed", True)
    await spool.close()


async def test_a_file_has_one_writer(tmp_path: Path) -> None:
    first, second = SpoolTransport(str(tmp_path), "d"), SpoolTransport(str(tmp_path), "d")
    first.open()
    with pytest.raises(ConfigError, match="another router or process"):
        second.open()
    await first.close()
    second.open()
    await second.close()


async def test_closing_writes_what_was_sent_and_closes_the_file(tmp_path: Path) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    sending = [asyncio.create_task(send(spool, {"n": number})) for number in range(10)]
    await asyncio.sleep(0)
    await spool.close()
    await asyncio.gather(*sending)
    assert len(lines(tmp_path / "d.jsonl")) == 10
    assert spool._fd is None


async def test_a_cancelled_send_that_was_not_begun_is_not_written(tmp_path: Path) -> None:
    spool = SpoolTransport(str(tmp_path), "d")
    first, second = (asyncio.create_task(send(spool, {"n": number})) for number in (1, 2))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([first, second])
    await spool.close()
    assert [line["message"]["n"] for line in lines(tmp_path / "d.jsonl")] == [1]


async def test_every_destination_has_a_file_of_its_own_inside_the_directory(tmp_path: Path) -> None:
    names = ["a", "a/b", "../a", "..", ".", "a%2Fb", "ä", "a b", "x" * 256, "x" * 255, "eu.1", "\ud800"]
    spools = [SpoolTransport(str(tmp_path), name) for name in names]
    for spool, name in zip(spools, names, strict=True):
        await send(spool, {}, destination="d")
        await spool.close()
        assert spool.path.parent == tmp_path, name
    assert len(os.listdir(tmp_path)) == len(names)  # noqa: PTH208
    assert (tmp_path / "eu.1.jsonl").exists()
