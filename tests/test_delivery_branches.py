"""Delivery to several pools at once: branches, quorum, and what becomes of a branch that failed."""

from __future__ import annotations

import asyncio

import pytest

from fake_core import FakeCore, answer, assert_settled, deliverer, failing, hang
from turnout.errors import DeliveryError


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
    core.out_until["b1"] = 4_102_444_800.0
    deliveries = deliverer(core, failing("c1", error=DeliveryError("no", retryable=False)))
    delivery = await deliveries.dispatch({})
    assert (delivery.status, delivery.reason) == ("dead_lettered", "branches")
    assert delivery.detail == (
        "1 of 3 pools delivered, 3 are needed; q: pool 'q': none is free; it may be tried again at 2100-01-01 00:00:00 "
        "UTC; r: c1: no: no"
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
