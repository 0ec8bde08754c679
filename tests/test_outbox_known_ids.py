"""Ids that were delivered lately: which are remembered, and which are forgotten."""

from __future__ import annotations

from turnout.delivery.outbox_known import Known
from turnout.delivery.settings import OutboxSettings


def test_the_latest_ids_are_remembered_and_the_oldest_forgotten() -> None:
    known, settings = Known(), OutboxSettings("unused", max_ids=3)
    told = [known.add(name, settings) for name in ("a", "b", "c", "a", "d", "e")]
    assert told == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 2), (6, 3)]
    assert [known.has(name, 600.0) for name in ("a", "b", "c", "d", "e")] == [True, False, False, True, True]


def test_ids_found_are_the_oldest() -> None:
    known = Known([(7, "x", 0.0), (9, "y", 0.0)])
    assert known.add("z", OutboxSettings("unused", window=1e12, max_ids=2)) == (10, 7)
    assert [known.has(name, 1e12) for name in ("x", "y", "z")] == [False, True, True]
