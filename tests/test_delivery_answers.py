"""What transports are told of an attempt, and what their answers say besides that it was delivered."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fake_core import FakeCore, assert_settled, deliverer
from turnout import Router
from turnout.delivery import Deliverer, DeliverySettings
from turnout.message import Message
from turnout.transports import Transports


class Recording(Transports):
    """Transports that only note what they are told."""

    def __init__(self) -> None:
        super().__init__({})
        self.told: list[dict[str, Any]] = []

    def take(self, destination: str) -> Any:
        return SimpleNamespace(transport=self)

    def give_back(self, slot: object) -> None:
        pass

    async def send(self, message: object, destination: str, **told: Any) -> None:
        self.told.append(told)
        if len(self.told) == 1:
            raise ConnectionError


async def test_a_transport_is_told_when_the_attempt_ends_and_when_the_message_does() -> None:
    core, transports = FakeCore(), Recording()
    settings = DeliverySettings(timeout=30.0, attempt_timeout=5.0, base_delay=0.0, max_delay=0.0)
    deliveries = Deliverer(core, settings, transports)
    before = time.time()
    assert (await deliveries.dispatch({"id": "m-1"})).delivered
    assert [one["attempt"] for one in transports.told] == [1, 2]
    for one in transports.told:
        assert before + 5.0 <= one["deadline"] + 0.001 <= time.time() + 5.1
        assert (one["message_id"], one["expires"]) == ("m-1", None)
    own = datetime.now(UTC) + timedelta(seconds=3)
    assert (await deliveries.dispatch(Message(deadline=own))).delivered
    assert transports.told[-1]["deadline"] == pytest.approx(own.timestamp(), abs=0.05)
    assert transports.told[-1]["expires"] == own.timestamp()
    assert_settled(deliveries, core)


@pytest.mark.parametrize("kind", ["async", "plain", "object"])
async def test_a_function_that_takes_a_deadline_is_given_it(kind: str) -> None:
    told: list[Any] = []

    async def function(message: object, destination: str, *, deadline: float) -> None:
        told.append(deadline)

    def plain(message: object, destination: str, deadline: float = 0.0) -> None:
        told.append(deadline)

    class Called:
        def __call__(self, message: object, destination: str, *, deadline: float) -> None:
            told.append(deadline)

    functions: dict[str, Any] = {"async": function, "plain": plain, "object": Called()}
    deliveries = deliverer(FakeCore(), functions[kind], timeout=5.0)
    assert (await deliveries.dispatch({})).delivered
    assert time.time() < told[0] <= time.time() + 5.0


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (0.5, 0.5), (0, 0.0), (7, 7.0), (None, None), (-1.0, None), (math.nan, None), (math.inf, None), (True, None),
        ("0.5", None), (10**400, None),
    ],
)  # fmt: skip
async def test_an_answer_tells_the_load_of_its_destination(load: object, told: float | None) -> None:
    router = Router(
        {"default": "p", "pools": {"p": {"destinations": ["d"]}}, "destinations": {"d": {"url": "callable:fn"}}}
    )

    async def function(message: object, destination: str) -> object:
        return SimpleNamespace(utilisation=load)

    router.transport("fn", function)
    async with router:
        assert (await router.dispatch({})).delivered
    assert router.stats().destinations["d"].utilisation == told
    assert router.stats().destinations["d"].successes == 1
