"""The checks of every transport, on those that need nothing but Python, and that they find what is wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import DeliveryError
from turnout.testing import NonConformingError, Noted, Received, TransportCase, account, checks_for, read_log
from turnout.testing.conformance import Check, Fault
from turnout.transports import SpoolTransport, Transport, Transports


class SpoolCase(TransportCase):
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def transport(self) -> Transport:
        return SpoolTransport(str(self._directory), "d")

    async def received(self) -> list[Received]:
        lines = (self._directory / "d.jsonl").read_bytes().splitlines()
        return [Received(json.loads(line)["id"], line) for line in lines]


class CallableCase(TransportCase):
    keeps_ids = False
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    def __init__(self, _: Path) -> None:
        self._fault: Fault | None = None
        self._received: list[Received] = []

    def transport(self) -> Transport:
        transports = Transports({"d": "callable:fn"})
        transports.register("fn", self._take)
        return transports.of("d")

    async def _take(self, message: dict[str, Any], destination: str) -> None:
        match self._fault:
            case "retryable":
                raise ConnectionError
            case "overloaded":
                raise DeliveryError("full", retry_after=1.0)
            case "permanent":
                raise DeliveryError("refused", retryable=False)
            case "hanging":
                await asyncio.Event().wait()
        if not isinstance(message["content"].get("text"), str):
            raise DeliveryError("unencodable", retryable=False)
        self._received.append(Received("", message["content"]["text"].encode()))

    async def received(self) -> list[Received]:
        return self._received

    async def fail(self, fault: Fault) -> None:
        self._fault = fault

    async def recover(self) -> None:
        self._fault = None


@pytest.mark.parametrize("check", checks_for(SpoolCase), ids=str)
async def test_the_spool_conforms(check: Check, tmp_path: Path) -> None:
    await check(SpoolCase(tmp_path))


class BatchCase(CallableCase):
    def transport(self) -> Transport:
        transports = Transports({"d": "callable:fn"})
        transports.register("fn", self._take_all, batch=50)
        return transports.of("d")

    async def _take_all(self, messages: list[dict[str, Any]], destination: str) -> list[Any]:
        taken = [self._take(message, destination) for message in messages]
        return await asyncio.gather(*taken, return_exceptions=True)


@pytest.mark.parametrize("check", checks_for(BatchCase), ids=str)
async def test_callables_that_take_many_conform(check: Check, tmp_path: Path) -> None:
    await check(BatchCase(tmp_path))


@pytest.mark.parametrize("check", checks_for(CallableCase), ids=str)
async def test_callables_conform(check: Check, tmp_path: Path) -> None:
    await check(CallableCase(tmp_path))


class Forgetful(CallableCase):
    """Loses what it should deliver, fails without classes, and hangs when it is closed."""

    async def _take(self, message: dict[str, Any], destination: str) -> None:
        if self._fault == "hanging":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(30)
        if self._fault in ("permanent", "overloaded"):
            raise ConnectionError
        if self._fault == "retryable":
            raise DeliveryError("wrong", retryable=False)


@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("a_message_arrives_once", "0 arrived"),
        ("many_at_once_all_arrive", "0 arrived"),
        ("what_cannot_be_encoded_is_refused_for_good", "was taken"),
        ("a_failure_may_be_tried_again", "not retryable"),
        ("overload_says_how_long_to_wait", "no retryable DeliveryError"),
        ("what_is_refused_for_good_is_not_tried_again", "would be tried again"),
        ("a_cancelled_send_takes_no_other_with_it", "0 arrived"),
        ("it_can_be_opened_again", "0 arrived"),
    ],
)
async def test_a_transport_that_does_not_conform_is_found_out(check: str, found: str, tmp_path: Path) -> None:
    checks = {str(one): one for one in checks_for(Forgetful)}
    with pytest.raises(NonConformingError, match=found):
        await checks[check](Forgetful(tmp_path))


def test_an_account_tells_what_was_lost_came_twice_or_out_of_order() -> None:
    noted = [Noted("a", "k", 1), Noted("c", "k", 3), Noted("b", "k", 2), Noted("a", "k", 1), Noted("z")]
    found = account(["a", "b", "c", "d", "e"], noted, elsewhere=["e"])
    assert (found.sent, found.received, found.twice, found.reordered) == (5, 3, 1, 1)
    assert (found.lost, found.unknown, found.balanced) == ({"d"}, {"z"}, False)
    assert account(["a"], ["a", "a"]).balanced


def test_a_torn_last_line_of_a_log_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"id": "1", "key": "k", "number": 5}\n{"id": "2')
    assert read_log(tmp_path / "log") == [Noted("1", "k", 5)]
