"""What the command line prints, piece by piece."""

from __future__ import annotations

import json

import pytest

from cli_support import ledger, row
from turnout.cli.output import duration, print_json_line
from turnout.cli.summary import Summary
from turnout.delivery import Ledger
from turnout.reports import CacheStats, DecisionTimes, Event, Stats


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0, "0 ns"),
        (850e-9, "850 ns"),
        (1.234e-6, "1.23 µs"),
        (0.0456, "45.6 ms"),
        (0.456, "456 ms"),
        (2.0, "2.00 s"),
        (300.0, "300 s"),
    ],
)
def test_duration_is_shown_in_the_unit_that_suits_it(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_json_lines_are_ascii_in_any_locale(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_line({"name": "Chloé", "odd": object})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isascii()
    assert json.loads(line)["name"] == "Chloé"


def summary(events: int = 0, **counts: int) -> Summary:
    known = dict.fromkeys(("accepted", "delivered", "dead_lettered", "expired", "waiting", "in_flight"), 0)
    rest = dict.fromkeys(("refused", "attempts", "retries", "hedges", "partial", "kept", "delayed", "repeated"), 0)
    return Summary(
        seconds=0.0,
        rejected=counts.pop("rejected", 0),
        routed={},
        failovers=0,
        ledger=Ledger(**{**known, **rest, **counts}, reasons={}, p50_ms=None, p95_ms=None, p99_ms=None),
        stats=Stats(0, 0, {}, 1, DecisionTimes(), CacheStats("off", False, "", 0, 0, 0, 0, 0), {}, {}),
        events=[Event(seq, 1000.0 + seq, f"d{seq}", "ejected", "failures in a row") for seq in range(1, events + 1)],
        stopped_by=None,
        trouble=None,
    )


@pytest.mark.parametrize(
    ("counts", "exit_code"),
    [
        ({}, 0),
        ({"accepted": 2, "delivered": 2}, 0),
        ({"accepted": 2, "delivered": 2, "rejected": 1}, 1),
        ({"accepted": 2, "delivered": 1, "dead_lettered": 1}, 1),
        ({"accepted": 2, "delivered": 1, "expired": 1}, 1),
        ({"accepted": 2, "delivered": 1, "waiting": 1}, 1),
        ({"accepted": 2, "delivered": 1}, 1),
    ],
)
def test_exit_code_is_1_unless_everything_was_delivered(counts: dict[str, int], exit_code: int) -> None:
    assert summary(**counts).exit_code == exit_code


def test_ledger_that_does_not_balance_is_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    summary(accepted=2, delivered=1).print_tables([])
    out = capsys.readouterr().out
    assert ledger(out)["lost"] == 1
    assert "that is a bug" in out


def test_long_timeline_shows_its_ends_and_counts_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    summary(events=100).print_tables(["a"])
    out = capsys.readouterr().out
    assert "; 70 others are left out" in out
    shown = [line.split()[2] for line in out.splitlines() if line.lstrip().startswith("+")]
    assert shown == [f"d{number}" for number in (*range(1, 16), *range(86, 101))]
    assert row(out, "a") == ["a", "content_based", "0"]
