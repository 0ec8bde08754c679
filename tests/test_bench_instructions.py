"""When the count of instructions fails: what grew, what is new or gone; what shrank is only told."""

from __future__ import annotations

import pytest
from benches.instructions import compare

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
