"""Selecting and holding a destination. Each round does it 1,000 times; divide by 1,000 for one."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from turnout import Pool
from turnout.config import KEYED, POLICIES

REPEAT = 1_000
IDS = [f"d{number}" for number in range(10)]


def pool_of(policy: str) -> Pool:
    return Pool([{"id": name, "weight": 1 + position % 3} for position, name in enumerate(IDS)], policy=policy)


def key_for(policy: str) -> dict[str, str]:
    """What a policy by key goes by; one key, since a real message brings its own."""
    return {"key": "user-4711"} if policy in KEYED else {}


def repeated(step: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in itertools.repeat(None, REPEAT):
            step()

    return run


@pytest.mark.parametrize("policy", POLICIES)
def test_select(benchmark: Any, policy: str) -> None:
    pool = pool_of(policy)
    # Without leases nothing is in flight, so weighted_least_connections keeps to the heaviest.
    assert {pool.select() for _ in range(2_000)} <= set(IDS)
    benchmark.group = "1,000 selections of 10 destinations"
    benchmark(repeated(functools.partial(pool.select, **key_for(policy))))


def test_select_by_random_choices(benchmark: Any) -> None:
    weights = [1 + position % 3 for position in range(10)]
    benchmark.group = "1,000 selections of 10 destinations"
    benchmark(repeated(lambda: random.choices(IDS, weights)))


@pytest.mark.parametrize("policy", POLICIES)
def test_acquire_and_success(benchmark: Any, policy: str) -> None:
    pool = pool_of(policy)

    acquire = functools.partial(pool.acquire, **key_for(policy))

    def hold() -> None:
        acquire().success()

    benchmark.group = "1,000 leases of 10 destinations, acquired and ended"
    benchmark(repeated(hold))
    assert all(one["in_flight"] == 0 for one in pool.destinations())
