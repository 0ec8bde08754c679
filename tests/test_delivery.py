"""Delivery: attempts, deadline, retries, branches; what a message ends as. The core is a fake: see fake_core."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from fake_core import FakeCore, answer, assert_settled, deliverer, failing, hang
from turnout.delivery import Deliverer, DeliverySettings
from turnout.errors import DeliveryError
from turnout.message import Message
from turnout.transports import Transports

# One message


async def test_a_delivery_says_who_took_it_and_what_was_answered() -> None:
    core = FakeCore()
    deliveries = deliverer(core, answer)
    delivery = await deliveries.dispatch({"id": "m-1"})
    assert (delivery.id, delivery.status, delivery.delivered) == ("m-1", "delivered", True)
    assert (delivery.rule, delivery.stage, delivery.pool, delivery.destination) == ("r", "content_based", "p", "a")
    assert (delivery.value, delivery.reason, delivery.branches) == ("a", None, ())
    (attempt,) = delivery.attempts
    assert (attempt.number, attempt.destination, attempt.outcome, attempt.kind) == (1, "a", "success", None)
    assert abs(attempt.started - time.time()) < 1.0
    assert 0.0 <= attempt.elapsed <= delivery.elapsed < 1.0
    assert delivery.check() is delivery
    assert delivery.as_dict()["attempts"][0]["destination"] == "a"
    assert core.outcomes == ["success"]
    assert_settled(deliveries, core)
    ledger = deliveries.ledger
    assert (ledger.accepted, ledger.delivered, ledger.attempts, ledger.retries) == (1, 1, 1, 0)
    assert ledger.p50_ms is not None


async def test_a_failed_attempt_is_followed_by_one_on_another_destination() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", "b"))
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.destination) == ("delivered", "c")
    assert [(a.number, a.destination, a.outcome, a.kind, a.error) for a in delivery.attempts] == [
        (1, "a", "failure", "ConnectionError", "down"),
        (2, "b", "failure", "ConnectionError", "down"),
        (3, "c", "success", None, None),
    ]
    assert core.outcomes == ["failure:ConnectionError", "failure:ConnectionError", "success"]
    assert [lease.attempt for lease in core.leases] == [1, 2, 3]
    assert deliveries.ledger.retries == 2
    assert_settled(deliveries, core)


async def test_when_all_were_tried_all_may_be_tried_again() -> None:
    core = FakeCore(pools={"p": ["a", "b"]})
    deliveries = deliverer(core, failing("a", "b"), max_attempts=5)
    delivery = await deliveries.dispatch({"id": "m-1"})
    assert core.destinations == ["a", "b", "a", "b", "a"]
    assert (delivery.status, delivery.reason) == ("dead_lettered", "attempts")
    assert delivery.detail == "given up after 5 attempts; the last: a: ConnectionError: down"
    assert_settled(deliveries, core)


async def test_a_dead_letter_has_the_message_the_reason_and_every_attempt() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", "b", "c"), max_attempts=2)
    message = {"id": "m-1", "priority": 7}
    delivery = await deliveries.dispatch(message)
    (letter,) = deliveries.dead_letters
    assert (letter.id, letter.status, letter.reason, letter.detail) == (
        "m-1", "dead_lettered", "attempts", delivery.detail,
    )  # fmt: skip
    assert letter.message is message
    assert (letter.rule, letter.stage, letter.pool, letter.priority) == ("r", "content_based", "p", 7)
    assert letter.attempts == delivery.attempts
    assert [(a.destination, a.outcome, a.kind, a.error) for a in letter.attempts] == [
        ("a", "failure", "ConnectionError", "down"),
        ("b", "failure", "ConnectionError", "down"),
    ]
    assert abs(letter.at - time.time()) < 1.0
    with pytest.raises(DeliveryError, match=r"attempts: message 'm-1': given up after 2 attempts"):
        delivery.check()
    assert deliveries.dead_letters.take() == [letter]
    assert len(deliveries.dead_letters) == 0


async def test_a_permanent_failure_is_a_dead_letter_at_once_and_nobody_is_blamed() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", error=DeliveryError("bad_number", "+99", retryable=False)))
    delivery = await deliveries.dispatch({})
    assert (delivery.reason, delivery.detail) == ("rejected", "a: bad_number: bad_number: +99")
    assert (delivery.attempts[0].outcome, delivery.attempts[0].retryable) == ("failure", False)
    assert core.outcomes == ["cancelled"]
    assert_settled(deliveries, core)


async def test_an_overloaded_destination_is_told_so_and_the_next_is_tried() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", error=DeliveryError("busy", retry_after=7.5)))
    delivery = await deliveries.dispatch({})
    assert core.outcomes == ["overloaded:7.5", "success"]
    assert [(a.destination, a.outcome) for a in delivery.attempts] == [("a", "overloaded"), ("b", "success")]


async def test_a_transport_that_is_missing_is_a_permanent_failure() -> None:
    core = FakeCore()
    deliveries = Deliverer(core, DeliverySettings(), Transports({"a": "callable:nobody", "b": None}))
    assert (await deliveries.dispatch({})).attempts[0].kind == "no_transport"
    core.pools = {"p": ["b"]}
    delivery = await deliveries.dispatch({})
    assert (delivery.reason, delivery.attempts[0].kind) == ("rejected", "no_transport")
    assert "has no url" in (delivery.detail or "")
    assert_settled(deliveries, core)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("x" * 10_000), "ValueError", "x" * 500 + "…"),
        (UnprintableError(), "UnprintableError", "(no text: RuntimeError)"),
        (TimeoutError("the transport's own"), "TimeoutError", "the transport's own"),
        (asyncio.CancelledError(), "CancelledError", ""),  # raised by the transport; nobody cancelled the message
        (StopAsyncIteration(), "StopAsyncIteration", ""),
    ],
)
async def test_whatever_a_transport_raises_is_a_failed_attempt(error: BaseException, kind: str, text: str) -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", error=error))
    delivery = await deliveries.dispatch({})
    assert delivery.status == "delivered"
    assert (delivery.attempts[0].outcome, delivery.attempts[0].kind, delivery.attempts[0].error) == (
        "failure", kind, text,
    )  # fmt: skip
    assert core.outcomes == [f"failure:{kind}", "success"]
    assert_settled(deliveries, core)


async def test_without_failover_further_attempts_go_to_the_same_destination() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a"), failover=False, max_attempts=3)
    assert (await deliveries.dispatch({})).reason == "attempts"
    assert core.destinations == ["a", "a", "a"]
    assert_settled(deliveries, core)


# Time


async def test_the_deadline_is_for_the_whole_message_and_ends_an_attempt() -> None:
    core = FakeCore()
    deliveries = deliverer(core, hang, timeout=0.05)
    began = time.perf_counter()
    delivery = await deliveries.dispatch({})
    assert 0.05 <= time.perf_counter() - began < 0.3
    assert (delivery.status, delivery.reason) == ("expired", "deadline")
    assert (delivery.attempts[0].outcome, delivery.attempts[0].kind) == ("failure", "timeout")
    assert "its time is up after 1 attempt; the last: a: timeout: no answer after 0.05" in (delivery.detail or "")
    assert core.outcomes == ["failure:timeout"]
    assert [letter.status for letter in deliveries.dead_letters] == ["expired"]
    assert deliveries.ledger.expired == 1
    assert_settled(deliveries, core)


async def test_further_attempts_share_the_time_of_the_first() -> None:
    until: list[float] = []

    async def fail_twice(message: object, destination: str, deadline: float) -> None:
        until.append(deadline)
        if len(until) == 3:
            await hang(message, destination)
        await asyncio.sleep(0.04)
        raise ConnectionError

    deliveries = deliverer(FakeCore(), fail_twice, timeout=1.0, max_attempts=100)
    began, at = time.perf_counter(), time.time()
    delivery = await deliveries.dispatch({})
    assert time.perf_counter() - began >= 0.99
    assert [attempt.kind for attempt in delivery.attempts] == ["ConnectionError", "ConnectionError", "timeout"]
    # Were the time anew for each, these would be 0.04 s apart at least.
    assert until == pytest.approx([until[0]] * 3, abs=0.02)
    assert until[0] >= at + 0.99
    assert delivery.status == "expired"


@pytest.mark.parametrize(("own", "configured", "expected"), [(0.05, 5.0, 0.05), (60.0, 0.05, 0.05)])
async def test_the_earlier_of_the_messages_deadline_and_the_timeout_holds(
    own: float, configured: float, expected: float
) -> None:
    deliveries = deliverer(FakeCore(), hang, timeout=configured)
    began = time.perf_counter()
    delivery = await deliveries.dispatch(Message(deadline=datetime.now(UTC) + timedelta(seconds=own)))
    assert expected - 0.01 <= time.perf_counter() - began < expected + 0.25
    assert delivery.status == "expired"


async def test_a_message_whose_deadline_has_passed_is_never_attempted() -> None:
    core = FakeCore()
    deliveries = deliverer(core, answer)
    delivery = await deliveries.dispatch(Message(deadline=datetime.now(UTC) - timedelta(seconds=1)))
    assert (delivery.status, delivery.reason, delivery.attempts) == ("expired", "deadline", ())
    assert delivery.detail == "its time was up before its turn came"
    assert_settled(deliveries, core)


async def test_a_function_that_turns_its_cancellation_into_an_error_has_timed_out_all_the_same() -> None:
    async def stubborn(message: object, destination: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError("connection lost") from None

    deliveries = deliverer(FakeCore(), stubborn, timeout=0.03)
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.attempts[0].kind) == ("expired", "timeout")


async def test_an_answer_that_comes_despite_the_cancellation_counts() -> None:
    async def late(message: object, destination: str) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "late"
        return "never"

    core = FakeCore()
    deliveries = deliverer(core, late, timeout=0.03)
    assert (await deliveries.dispatch({})).value == "late"
    assert core.outcomes == ["success"]
    assert_settled(deliveries, core)


async def test_a_plain_function_that_hangs_times_out_while_its_thread_goes_on() -> None:
    release, ended = threading.Event(), threading.Event()

    def function(message: object, destination: str) -> None:
        release.wait(5)
        ended.set()

    deliveries = deliverer(FakeCore(), function, timeout=0.05)
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.attempts[0].kind) == ("expired", "timeout")
    release.set()
    assert await asyncio.to_thread(ended.wait, 1)


def test_backoff_is_spread_over_the_whole_of_its_exponential_bound() -> None:
    deliveries = deliverer(FakeCore(), answer, base_delay=0.1, max_delay=0.8)
    for attempts, bound in [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 0.8), (5000, 0.8)]:
        delays = [deliveries._attempts.backoff(attempts) for _ in range(2000)]
        assert 0.0 <= min(delays) < bound * 0.01
        assert bound * 0.99 < max(delays) < bound
        assert abs(sum(delays) / len(delays) - bound / 2) < bound * 0.05


def test_backoff_repeats_with_its_seed() -> None:
    first, second = (deliverer(FakeCore(), answer, base_delay=1.0, max_delay=1.0) for _ in range(2))
    assert [first._attempts.backoff(1) for _ in range(5)] == [second._attempts.backoff(1) for _ in range(5)]


async def test_a_backoff_that_would_pass_the_deadline_ends_it_now() -> None:
    deliveries = deliverer(FakeCore(), failing("a", "b", "c"), timeout=0.5, base_delay=1e6, max_delay=1e6)
    began = time.perf_counter()
    delivery = await deliveries.dispatch({})
    assert time.perf_counter() - began < 0.3
    assert (delivery.status, delivery.reason) == ("expired", "deadline")
    assert (delivery.detail or "").startswith("no time for another attempt after 1 attempt; the last: a: Conn")
    assert deliveries.ledger.retries == 0
