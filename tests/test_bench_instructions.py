"""When the count of instructions fails: what grew, what is new or gone; what shrank is only told."""

from __future__ import annotations

import pytest
from benches.instructions import compare, growth

BASELINE = {"a": 1_000, "b": 40}


@pytest.mark.parametrize(
    ("counts", "wrong", "lower"),
    [
        ({"a": 1_050, "b": 38}, [], []),
        ({"a": 1_051, "b": 40}, ["a: 1,000 -> 1,051 instructions (+5.1%)"], []),
        ({"a": 900, "b": 40}, [], ["a: 1,000 -> 900 instructions (-10.0%)"]),
        ({"a": 1_000}, ["b: is in the baseline, and is no case any more"], []),
        ({"a": 1_000, "b": 40, "c": 1}, ["c: is not in the baseline"], []),
    ],
)
def test_growth_of_more_than_five_percent_is_wrong_and_shrinking_is_told(
    counts: dict[str, int], wrong: list[str], lower: list[str]
) -> None:
    assert compare(counts, BASELINE) == (wrong, lower)


def test_a_policy_that_costs_more_with_more_destinations_is_wrong_unless_it_looks_at_all() -> None:
    counts = {
        "Pool::select, random, 10 destinations": 500,
        "Pool::select, random, 1000 destinations": 751,
        "Pool::select, maglev, 10 destinations": 500,
        "Pool::select, maglev, 1000 destinations": 750,
        "Pool::select, rendezvous, 10 destinations": 900,
        "Pool::select, rendezvous, 1000 destinations": 30_000,
        "resolve, 10 rules": 100,
        "resolve, 1000 rules": 900,
    }
    assert growth(counts) == [
        "Pool::select, random, 10 destinations: 500, and 751 with 1000, more than 1.5 times as many"
    ]
