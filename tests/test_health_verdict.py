"""From single checks to a state."""

from __future__ import annotations

import pytest

from turnout.health.verdict import Verdict


@pytest.mark.parametrize(
    ("checks", "states"),
    [
        ("++", "hh"),
        ("---", "hhu"),
        ("--+--", "hhhhh"),
        ("---++", "hhuuh"),
        ("---+-++", "hhuuuuh"),
        ("d+", "dh"),
        ("d--+", "dddh"),
        ("---+d", "hhuud"),
        ("----", "hhuu"),
    ],
)
def test_three_in_a_row_make_unhealthy_and_two_make_healthy(checks: str, states: str) -> None:
    verdict = Verdict("a", "tcp", fall=3, rise=2)
    seen = ""
    for check in checks:
        found = verdict.bad("refused") if check == "-" else verdict.good("degraded" if check == "d" else "healthy")
        seen += found[0]
    assert seen == states
    report = verdict.report()
    assert (report.checks, report.failed) == (len(checks), checks.count("-"))
    assert report.problem == ("refused" if checks.endswith("-") else None)


def test_what_comes_in_a_row_is_counted() -> None:
    verdict = Verdict("a", "tcp", fall=3, rise=2)
    for count in (1, 2, 3):
        verdict.bad("refused")
        assert verdict.report().in_a_row == count
    verdict.good()
    assert verdict.report().in_a_row == 1
