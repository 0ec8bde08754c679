"""Delivery: attempts, deadline, retries, branches; what a message ends as. The core is a fake: see fake_core."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_core import FakeCore, FakePlan, assert_settled, deliverer

from turnout.delivery import Deliverer, DeliverySettings
from turnout.errors import AccessDeniedError, DeliveryError, MessageError, NoRouteError
from turnout.message import Message
from turnout.transports import Transports


async def answer(message: object, destination: str) -> str:
    return destination


def failing(*bad: str, error: BaseException | None = None) -> Any:
    """A function that fails at these destinations and answers at others."""

    async def function(message: object, destination: str) -> str:
        if destination in bad:
            raise error or ConnectionError("down")
        return destination

    return function


async def hang(message: object, destination: str) -> None:
    await asyncio.sleep(60)


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


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("x" * 10_000), "ValueError", "x" * 500 + "…"),
        (Unprintable(), "Unprintable", "(no text: RuntimeError)"),
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
    core = FakeCore()

    async def slow(message: object, destination: str) -> None:
        await asyncio.sleep(0.04)
        raise ConnectionError

    deliveries = deliverer(core, slow, timeout=0.1, max_attempts=100)
    began = time.perf_counter()
    delivery = await deliveries.dispatch({})
    assert 0.09 <= time.perf_counter() - began < 0.3
    assert [attempt.kind for attempt in delivery.attempts] == ["ConnectionError", "ConnectionError", "timeout"]
    assert delivery.status == "expired"


@pytest.mark.parametrize(("own", "timeout", "expected"), [(0.05, 5.0, 0.05), (60.0, 0.05, 0.05)])
async def test_the_earlier_of_the_messages_deadline_and_the_timeout_holds(
    own: float, timeout: float, expected: float
) -> None:
    deliveries = deliverer(FakeCore(), hang, timeout=timeout)
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


# The retry budget


async def test_further_attempts_of_all_messages_together_stay_within_the_budget() -> None:
    core = FakeCore()
    deliveries = deliverer(core, failing("a", "b", "c"), budget_percent=20.0, budget_per_second=1.0, max_attempts=2)
    results = await asyncio.gather(*(deliveries.dispatch({}) for _ in range(200)))
    assert {result.reason for result in results} == {"attempts", "budget"}
    assert deliveries.ledger.retries == 0.2 * 200 + 10
    assert deliveries.ledger.attempts == 200 + deliveries.ledger.retries
    assert_settled(deliveries, core)


async def test_the_budget_is_charged_before_the_backoff() -> None:
    core = FakeCore()
    deliveries = deliverer(
        core, failing("a", "b", "c"), budget_percent=0.0, budget_per_second=1.0, base_delay=0.2, max_delay=0.2
    )
    tasks = [asyncio.create_task(deliveries.dispatch({})) for _ in range(100)]
    await asyncio.sleep(0.005)
    assert deliveries.ledger.retries == 10  # charged, and all of them still in backoff
    assert deliveries.ledger.reasons == {"budget": 90}
    await asyncio.gather(*tasks)
    assert_settled(deliveries, core)


# No route, no destination


def raises(error: Exception) -> Any:
    def decide(message: object) -> FakePlan:
        raise error

    return decide


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (NoRouteError("nothing matched"), "no_route", "nothing matched"),
        (MessageError("message.total", "is a set"), "unreadable", "field 'message.total': is a set"),
        (AccessDeniedError("not cleared"), "access_denied", "not cleared"),
        (RuntimeError("a bug"), "internal", "RuntimeError: a bug"),
        (TimeoutError("not ours"), "internal", "TimeoutError: not ours"),
    ],
)
async def test_a_message_that_cannot_be_decided_is_a_dead_letter(error: Exception, reason: str, words: str) -> None:
    core = FakeCore(decide=raises(error))
    deliveries = deliverer(core, answer)
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.reason, delivery.detail) == ("dead_lettered", reason, words)
    assert (delivery.rule, delivery.stage, delivery.attempts) == (None, None, ())
    assert_settled(deliveries, core)


async def test_a_route_to_dead_letter_is_one() -> None:
    core = FakeCore()
    core.decide = lambda message: FakePlan(core, (), rule="spam")
    deliveries = deliverer(core, answer)
    delivery = await deliveries.dispatch({})
    assert (delivery.reason, delivery.rule, delivery.detail) == ("dead_letter", "spam", "rule 'spam' says dead_letter")
    assert_settled(deliveries, core)


async def test_custom_rules_decide_within_the_deadline() -> None:
    core = FakeCore(decide=raises(AssertionError("not asked")))

    async def decide(message: Any) -> Any:
        await asyncio.sleep(message["for"])
        return FakePlan(core, ("p",), rule="custom", stage="custom_rules")

    settings = DeliverySettings(timeout=0.05)
    transports = Transports({"a": "callable:fn"})
    transports.register("fn", answer)
    deliveries = Deliverer(core, settings, transports, decide=decide)
    assert (await deliveries.dispatch({"for": 0})).rule == "custom"
    delivery = await deliveries.dispatch({"for": 60})
    assert (delivery.status, delivery.detail) == ("expired", "its time was up while custom rules ran")
    assert_settled(deliveries, core)


async def test_with_nowhere_to_go_before_the_deadline_it_is_given_up_at_once() -> None:
    core = FakeCore(out_until=dict.fromkeys("abc", time.time() + 60))
    deliveries = deliverer(core, answer)
    began = time.perf_counter()
    delivery = await deliveries.dispatch({})
    assert time.perf_counter() - began < 0.2
    assert (delivery.status, delivery.reason) == ("dead_lettered", "no_destination")
    assert delivery.detail == "pool 'p': none is free"
    assert_settled(deliveries, core)


async def test_with_somewhere_to_go_before_the_deadline_it_waits_and_holds_up_nobody() -> None:
    core = FakeCore(pools={"p": ["a"], "q": ["b"]}, out_until={"a": time.time() + 0.1})
    core.decide = lambda message: FakePlan(core, (message["pool"],))
    deliveries = deliverer(core, answer, concurrency=1)
    waiting = [asyncio.create_task(deliveries.dispatch({"pool": "p"})) for _ in range(20)]
    await asyncio.sleep(0)
    assert (await asyncio.wait_for(deliveries.dispatch({"pool": "q"}), 0.05)).delivered
    assert deliveries.ledger.waiting == 20
    results = await asyncio.gather(*waiting)
    assert all(result.delivered for result in results)
    assert all(0.09 <= result.elapsed < 0.5 for result in results)
    assert_settled(deliveries, core)


async def test_at_its_cap_a_destination_is_waited_for_the_urgent_first() -> None:
    core = FakeCore(pools={"p": ["a"]}, caps={"a": 2})
    order: list[int] = []

    async def slow(message: Any, destination: str) -> None:
        order.append(message["priority"])
        await asyncio.sleep(0.01)

    deliveries = deliverer(core, slow)
    tasks = [asyncio.create_task(deliveries.dispatch({"priority": p})) for p in (5, 5, 1, 3, 9, 2, 9, 4)]
    results = await asyncio.gather(*tasks)
    assert all(result.delivered for result in results)
    assert order == [5, 5, 9, 9, 4, 3, 2, 1]
    assert_settled(deliveries, core)


async def test_waiting_for_a_destination_ends_with_the_deadline() -> None:
    core = FakeCore(pools={"p": ["a"]}, caps={"a": 1})
    deliveries = deliverer(core, hang, timeout=0.08)
    first, second = await asyncio.gather(deliveries.dispatch({}), deliveries.dispatch({}))
    assert [len(result.attempts) for result in (first, second)] == [1, 0]
    assert second.status == "expired"
    assert second.detail == "its time is up before any attempt; pool 'p': none is free"
    assert_settled(deliveries, core)


async def test_a_recovering_destination_is_met_by_one_and_then_by_all_it_can_take() -> None:
    core = FakeCore(pools={"p": ["a"]}, out_until={"a": time.time() + 0.05}, caps={"a": 1})
    running, most = 0, 0

    async def count(message: object, destination: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        core.caps["a"] = 5

    deliveries = deliverer(core, count)
    results = await asyncio.gather(*(deliveries.dispatch({}) for _ in range(30)))
    assert all(result.delivered for result in results)
    assert most == 5
    assert_settled(deliveries, core)


# Several pools


def three(mode: str = "all", quorum: int = 3) -> FakeCore:
    return FakeCore(pools={"p": ["a1", "a2"], "q": ["b1"], "r": ["c1"]}, mode=mode, quorum=quorum)


@pytest.mark.parametrize("parallel", [True, False])
async def test_mode_all_delivers_to_every_pool_with_attempts_of_its_own(parallel: bool) -> None:
    core = three()
    deliveries = deliverer(core, failing("a1"), parallel=parallel)
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.pool, delivery.destination, delivery.value) == ("delivered", "p", "a2", "a2")
    assert [(b.pool, b.status, b.destination, b.value, len(b.attempts)) for b in delivery.branches] == [
        ("p", "delivered", "a2", "a2", 2),
        ("q", "delivered", "b1", "b1", 1),
        ("r", "delivered", "c1", "c1", 1),
    ]
    assert len(delivery.attempts) == 4
    assert len(deliveries.dead_letters) == 0
    assert_settled(deliveries, core)


@pytest.mark.parametrize(("parallel", "bound"), [(True, 0.1), (False, 0.2)])
async def test_branches_run_at_once_or_one_after_another(parallel: bool, bound: float) -> None:
    async def slow(message: object, destination: str) -> None:
        await asyncio.sleep(0.05)

    deliveries = deliverer(three(), slow, parallel=parallel)
    assert bound - 0.06 <= (await deliveries.dispatch({})).elapsed < bound + 0.1


@pytest.mark.parametrize(
    ("quorum", "bad", "status", "partial"),
    [
        (3, ["c1"], "dead_lettered", 0),
        (2, ["c1"], "delivered", 1),
        (2, ["a1", "a2", "c1"], "dead_lettered", 0),
        (1, ["a1", "a2", "c1"], "delivered", 2),
        (1, ["a1", "a2", "b1", "c1"], "dead_lettered", 0),
    ],
)
@pytest.mark.parametrize("parallel", [True, False])
async def test_the_quorum_decides_and_no_failed_branch_disappears(
    quorum: int, bad: list[str], status: str, partial: int, parallel: bool
) -> None:
    core = three(quorum=quorum)
    deliveries = deliverer(core, failing(*bad), max_attempts=2, parallel=parallel)
    delivery = await deliveries.dispatch({"id": "m"})
    assert delivery.status == status
    letters = list(deliveries.dead_letters)
    ledger = deliveries.ledger
    assert ledger.partial == partial
    if status == "delivered":
        assert [letter.pool for letter in letters] == [b.pool for b in delivery.branches if b.status != "delivered"]
        assert all((letter.partial, letter.id, letter.reason) == (True, "m", "attempts") for letter in letters)
        assert (ledger.delivered, ledger.dead_lettered) == (1, 0)
    else:
        (letter,) = letters
        assert (letter.partial, letter.pool, letter.reason) == (False, None, "attempts")
        assert letter.branches == delivery.branches
        took = sum(branch.status == "delivered" for branch in delivery.branches)
        assert (delivery.detail or "").startswith(f"{took} of 3 pools delivered, {quorum} are needed; ")
    assert_settled(deliveries, core)


async def test_different_reasons_are_told_branch_by_branch() -> None:
    core = three()
    core.out_until["b1"] = time.time() + 60
    deliveries = deliverer(core, failing("c1", error=DeliveryError("no", retryable=False)))
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.reason) == ("dead_lettered", "branches")
    assert delivery.detail == (
        "1 of 3 pools delivered, 3 are needed; q: pool 'q': none is free; r: c1: no: no"
    )
    assert_settled(deliveries, core)


async def test_a_message_expires_if_all_that_failed_of_it_expired() -> None:
    core = three()
    deliveries = deliverer(core, {"a1": answer, "a2": answer, "b1": hang, "c1": hang}, timeout=0.03)
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.reason) == ("expired", "deadline")
    assert_settled(deliveries, core)


async def test_parallel_branches_share_the_lanes_without_waiting_for_each_other_in_vain() -> None:
    core = three()

    async def slow(message: object, destination: str) -> None:
        await asyncio.sleep(0.001)

    deliveries = deliverer(core, slow, concurrency=2)
    results = await asyncio.gather(*(deliveries.dispatch({}) for _ in range(50)))
    assert all(result.delivered for result in results)
    assert_settled(deliveries, core)
