"""The retry budget's bound, in every window."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.delivery.budget import WINDOW, RetryBudget


@pytest.mark.parametrize(
    ("percent", "per_second", "messages", "allowed"),
    [(20.0, 10.0, 1000, 300), (20.0, 0.0, 1000, 200), (0.0, 10.0, 1000, 100), (0.0, 0.0, 1000, 0), (100.0, 0.5, 3, 8)],
)
def test_allows_the_share_and_the_allowance_of_one_window(
    percent: float, per_second: float, messages: int, allowed: int
) -> None:
    budget = RetryBudget(percent, per_second)
    for _ in range(messages):
        budget.deposit(100.0)
    assert sum(budget.withdraw(100.5) for _ in range(messages + 1000)) == allowed


def test_what_was_used_comes_back_when_the_window_has_passed() -> None:
    budget = RetryBudget(0.0, 1.0)
    assert [budget.withdraw(50.0) for _ in range(11)] == [True] * 10 + [False]
    assert not budget.withdraw(50.0 + WINDOW - 1.0)
    assert budget.withdraw(50.0 + WINDOW)


def test_messages_no_longer_count_when_the_window_has_passed() -> None:
    budget = RetryBudget(50.0, 0.0)
    for _ in range(100):
        budget.deposit(0.0)
    assert not budget.withdraw(WINDOW + 1)


def test_new_allowances_keep_what_was_counted() -> None:
    budget = RetryBudget(0.0, 1.0)
    assert sum(budget.withdraw(1.0) for _ in range(100)) == 10
    budget.configure(0.0, 2.0)
    assert sum(budget.withdraw(1.0) for _ in range(100)) == 10


@given(st.integers(0, 2**32), st.floats(0, 200), st.floats(0, 50))
def test_no_attempt_takes_the_window_that_ends_with_it_beyond_the_bound(
    seed: int, percent: float, per_second: float
) -> None:
    rng = random.Random(seed)
    budget = RetryBudget(percent, per_second)
    now, messages, retries = rng.random() * 100, [0] * 1000, [0] * 1000
    for _ in range(300):
        now += rng.choice([0.0, 0.01, 0.3, 2.0]) * rng.random()
        if rng.random() < 0.5:
            budget.deposit(now)
            messages[int(now)] += 1
        elif budget.withdraw(now):
            retries[int(now)] += 1
            window = slice(max(int(now) - 9, 0), int(now) + 1)
            assert sum(retries[window]) <= percent / 100 * sum(messages[window]) + per_second * 10 + 1e-6
