"""Transports: the registry, and Python callables."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import ConfigError, DeliveryError
from turnout.transports import SCHEMES, Target, Transport, Transports


async def send(transport: Transport, message: object = None, *, destination: str = "d", attempt: int = 1) -> object:
    return await transport.send(message, destination, message_id="m-1", attempt=attempt)


def calling(function: Any, **options: Any) -> Transport:
    transports = Transports({"d": "callable:fn"})
    transports.register("fn", function, **options)
    return transports.of("d")


# The registry


def test_opening_lists_every_destination_that_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    urls = {"a": "callable:nobody", "b": None, "c": "gopher://secret@host/", "d": f"spool:{tmp_path / 'file'}"}
    with pytest.raises(ConfigError) as caught:
        Transports(urls).open()
    assert [problem.path for problem in caught.value.problems] == [("destinations", name, "url") for name in "acd"]
    text = str(caught.value)
    assert "call router.transport('nobody', fn)" in text
    assert "unknown scheme 'gopher'; known: callable:, spool:" in text
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


class Watched:
    """A transport that tells when it sends and when it is closed."""

    def __init__(self, name: str) -> None:
        self.name, self.closed, self.go = name, 0, asyncio.Event()

    def open(self) -> None:
        pass

    async def send(self, message: object, destination: str, **_: object) -> str:
        await self.go.wait()
        return self.name

    async def close(self) -> None:
        self.closed += 1
        if self.name == "broken":
            raise OSError("cannot")


async def test_a_transport_that_was_replaced_is_closed_when_its_last_attempt_has_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Watched] = []

    def make(transports: Transports, target: Target) -> Any:
        made.append(Watched(target.rest))
        return made[-1]

    monkeypatch.setitem(SCHEMES, "watched", make)
    transports = Transports({"d": "watched:one"})
    transports.open()
    slots = [transports.take("d") for _ in range(2)]
    await asyncio.to_thread(transports.update, {"d": "watched:two"})
    assert transports.take("d").transport is made[1]
    await asyncio.sleep(0)
    transports.give_back(slots[0])
    await asyncio.sleep(0)
    assert made[0].closed == 0, "an attempt is under way on it"
    transports.give_back(slots[1])
    await asyncio.sleep(0)
    assert (made[0].closed, made[1].closed) == (1, 0)
    transports.update({"d": "watched:broken"})
    transports.of("d")
    transports.update({})
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [one.closed for one in made] == [1, 0, 1], "one is still in use"
    assert "destination d: closing its former transport failed: OSError" in caplog.text
    await transports.close()
    assert [one.closed for one in made] == [1, 1, 1]
    assert list(transports._slots) == []


async def test_one_that_comes_back_while_it_is_in_use_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "watched", lambda transports, target: Watched(target.rest))
    transports = Transports({"d": "watched:one"})
    transports.open()
    slot = transports.take("d")
    transports.update({"d": "watched:two"})
    transports.update({"d": "watched:one"})
    assert transports.of("d") is slot.transport
    transports.give_back(slot)
    await asyncio.sleep(0)
    assert slot.transport.closed == 0  # type: ignore[attr-defined]
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

    for name in "ab":
        transports._slots.find(name, Target(name, ""), lambda name=name: Broken(name))  # type: ignore[misc, return-value]
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


def test_a_home_directory_and_a_double_slash_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    transports = Transports({"a": "spool:~/out", "b": f"spool://{tmp_path}/out"})
    assert transports.of("a").path == tmp_path / "out" / "a.jsonl"  # type: ignore[attr-defined]
    assert transports.of("b").path == tmp_path / "out" / "b.jsonl"  # type: ignore[attr-defined]


# Callables that take many messages at once


async def test_a_function_with_batch_gets_what_came_while_it_was_at_work() -> None:
    groups: list[list[Any]] = []

    async def function(messages: list[Any], destination: str, *, deadline: float) -> list[Any]:
        groups.append(messages)
        assert deadline == 7.0
        await asyncio.sleep(0.01)
        return [f"{destination}:{message}" for message in messages]

    transport = calling(function, batch=4)
    sends = [transport.send(number, "d", message_id=str(number), attempt=1, deadline=7.0) for number in range(10)]
    assert await asyncio.gather(*sends) == [f"d:{number}" for number in range(10)]
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    await transport.close()


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_of_a_group_each_message_has_its_own_end(kind: str) -> None:
    refused = DeliveryError("odd", retryable=False)

    def plain(messages: list[int], destination: str) -> list[Any]:
        if 9 in messages:
            raise ConnectionError("down")
        return [refused if message % 2 else message for message in messages]

    async def function(messages: list[int], destination: str) -> list[Any]:
        return plain(messages, destination)

    transport = calling(function if kind == "async" else plain, batch=4)
    found = await asyncio.gather(*(send(transport, number) for number in range(4)), return_exceptions=True)
    assert found == [0, refused, 2, refused]
    found = await asyncio.gather(*(send(transport, number) for number in (8, 9)), return_exceptions=True)
    assert [type(each) for each in found] == [ConnectionError] * 2
    await transport.close()


@pytest.mark.parametrize("answer", [[], [1], "ab", 5])
async def test_an_answer_that_is_not_one_a_message_fails_all_in_words(answer: Any) -> None:
    transport = calling(lambda messages, destination: answer, batch=4)
    found = await asyncio.gather(*(send(transport, number) for number in range(2)), return_exceptions=True)
    assert all(isinstance(each, DeliveryError) and each.kind == "bad_answer" and each.retryable for each in found)
    assert "return None, or one answer each" in str(found[0])


async def test_none_delivers_all_of_a_group() -> None:
    transport = calling(lambda messages, destination: None, batch=4)
    assert await asyncio.gather(*(send(transport, number) for number in range(9))) == [None] * 9


async def test_a_call_for_a_group_ends_when_nobody_waits_for_it_and_the_next_goes_on() -> None:
    ended: list[Any] = []

    async def function(messages: list[Any], destination: str) -> None:
        if "hang" in messages:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(messages)

    transport = calling(function, batch=2)
    hanging = [asyncio.create_task(send(transport, "hang")) for _ in range(2)]
    await asyncio.sleep(0.01)
    next_one = asyncio.create_task(send(transport, "go"))
    hanging[0].cancel()
    await asyncio.sleep(0.01)
    assert not ended, "one still waits"
    hanging[1].cancel()
    assert await asyncio.wait_for(next_one, 1.0) is None
    assert ended == [["hang", "hang"]]
    await transport.close()


async def test_a_call_that_is_cancelled_by_itself_is_a_failure_and_no_delivery() -> None:
    async def function(messages: list[Any], destination: str) -> None:
        raise asyncio.CancelledError

    with pytest.raises(DeliveryError, match="CancelledError"):
        await asyncio.wait_for(send(calling(function, batch=2)), 1.0)


async def test_a_function_may_be_exchanged_for_one_of_another_kind() -> None:
    transports = Transports({"d": "callable:fn"})
    transports.register("fn", lambda messages, destination: ["many"] * len(messages), batch=8)
    assert await send(transports.of("d")) == "many"
    transports.register("fn", lambda message, destination: "one")
    assert await send(transports.of("d")) == "one"
    transports.register("fn", lambda messages, destination: ["more"] * len(messages), batch=1)
    assert await send(transports.of("d")) == "more"
    with pytest.raises(ConfigError, match="batch is 0"):
        transports.register("fn", print, batch=0)
