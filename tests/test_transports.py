"""Transports: the registry, Python callables, and the spool."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
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
from turnout.transports import SpoolTransport, Transport, Transports


async def send(transport: Transport, message: object = None, *, destination: str = "d", attempt: int = 1) -> object:
    return await transport.send(message, destination, message_id="m-1", attempt=attempt)


def calling(function: Any, **options: Any) -> Transport:
    transports = Transports({"d": "callable:fn"})
    transports.register("fn", function, **options)
    return transports.of("d")


# The registry


def test_opening_lists_every_destination_that_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    urls = {"a": "callable:nobody", "b": None, "c": "https://secret@host/", "d": f"spool:{tmp_path / 'file'}"}
    with pytest.raises(ConfigError) as caught:
        Transports(urls).open()
    assert [problem.path for problem in caught.value.problems] == [("destinations", name, "url") for name in "acd"]
    text = str(caught.value)
    assert "call router.transport('nobody', fn)" in text
    assert "unknown scheme 'https'; known: callable:, spool:" in text
    assert "is not a directory" in text
    assert "secret" not in text


def test_a_destination_without_a_url_says_so_when_it_is_used() -> None:
    with pytest.raises(ConfigError, match="'b' has no url"):
        Transports({"b": None}).of("b")


async def test_a_changed_url_takes_effect_and_coming_back_finds_the_first_transport(tmp_path: Path) -> None:
    transports = Transports({"d": f"spool:{tmp_path}/one"})
    first = transports.of("d")
    await send(first, {})
    transports.update({"d": f"spool:{tmp_path}/two"})
    assert transports.of("d") is not first
    transports.update({"d": f"spool:{tmp_path}/one"})
    assert transports.of("d") is first
    await transports.close()


async def test_closing_closes_all_even_if_one_fails() -> None:
    transports = Transports({"a": "callable:a", "b": "callable:b"})
    closed = []

    class Broken:
        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            closed.append(self.name)
            raise OSError(self.name)

    transports._made = {("a", ""): Broken("a"), ("b", ""): Broken("b")}  # type: ignore[dict-item]
    with pytest.raises(OSError, match="b"):
        await transports.close()
    assert closed == ["a", "b"]


@pytest.mark.parametrize(("function", "options"), [(5, {}), (None, {}), (print, {"threads": 0})])
def test_what_cannot_be_called_is_not_registered(function: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="transport 'fn'"):
        Transports({}).register("fn", function, **options)


# Callables


class Sender:
    async def __call__(self, message: object, destination: str) -> object:
        return destination

    async def method(self, message: object, destination: str) -> object:
        return destination

    def plain(self, message: object, destination: str) -> object:
        return destination


async def two(message: object, destination: str) -> object:
    return destination


async def three(prefix: str, message: object, destination: str) -> object:
    return destination


@pytest.mark.parametrize(
    "function",
    [
        two,
        functools.partial(three, "x"),
        Sender(),
        Sender().method,
        Sender().plain,
        lambda message, destination: destination,
        lambda message, destination: two(message, destination),
    ],
)
async def test_any_kind_of_function_gets_the_message_and_the_destination(function: Any) -> None:
    assert await send(calling(function)) == "d"


async def test_a_plain_function_runs_in_a_thread_with_the_context_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    thread, value = await send(calling(lambda message, destination: (threading.current_thread(), variable.get())))  # type: ignore[misc]
    assert thread is not threading.main_thread()
    assert value == "set"


async def test_a_plain_function_does_not_stop_the_loop_and_one_that_hangs_holds_up_no_other() -> None:
    release = threading.Event()
    transports = Transports({"slow": "callable:slow", "fast": "callable:fast"})
    transports.register("slow", lambda message, destination: release.wait(5), threads=1)
    transports.register("fast", lambda message, destination: 1)
    hanging = [asyncio.create_task(send(transports.of("slow"))) for _ in range(40)]
    await asyncio.sleep(0.01)
    assert await asyncio.wait_for(send(transports.of("fast")), 1.0) == 1
    release.set()
    assert await asyncio.gather(*hanging) == [True] * 40
    await transports.close()


async def test_a_call_that_was_given_up_before_its_thread_was_free_is_never_made() -> None:
    release, made = threading.Event(), []

    def function(message: object, destination: str) -> None:
        made.append(message)
        release.wait(5)

    transport = calling(function, threads=1)
    first, second = (asyncio.create_task(send(transport, number)) for number in (1, 2))
    await asyncio.sleep(0.02)
    second.cancel()
    await asyncio.wait([second])
    release.set()
    await first
    await asyncio.sleep(0.02)
    assert made == [1]


def raising(error: BaseException) -> Any:
    def function(message: object, destination: str) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x"), ValueError),
        (DeliveryError("refused"), DeliveryError),
        (StopIteration("x"), DeliveryError),  # a future cannot carry it
        (SystemExit(3), DeliveryError),
        (KeyboardInterrupt(), DeliveryError),
    ],
)
async def test_what_a_plain_function_raises_is_a_failure_and_nothing_worse(
    error: BaseException, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        await asyncio.wait_for(send(calling(raising(error))), 1.0)


async def test_an_unknown_name_fails_for_good_until_it_is_registered() -> None:
    transports = Transports({"d": "callable:later"})
    with pytest.raises(DeliveryError, match="registered: none") as caught:
        await send(transports.of("d"))
    assert not caught.value.retryable
    transports.register("later", two)
    assert await send(transports.of("d")) == "d"


async def test_a_function_may_be_exchanged() -> None:
    transports = Transports({"d": "callable:fn"})
    transports.register("fn", lambda message, destination: 1)
    assert await send(transports.of("d")) == 1
    transports.register("fn", lambda message, destination: 2)
    assert await send(transports.of("d")) == 2


# The spool


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
    tmp_path.chmod(0o500)
    spool = SpoolTransport(str(tmp_path / "out"), "d")
    with pytest.raises(ConfigError, match="cannot be written: Permission denied; make .* writable"):
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
    assert len(list(tmp_path.iterdir())) == len(names)
    assert (tmp_path / "eu.1.jsonl").exists()


def test_a_home_directory_and_a_double_slash_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    transports = Transports({"a": "spool:~/out", "b": f"spool://{tmp_path}/out"})
    assert transports.of("a").path == tmp_path / "out" / "a.jsonl"  # type: ignore[attr-defined]
    assert transports.of("b").path == tmp_path / "out" / "b.jsonl"  # type: ignore[attr-defined]
