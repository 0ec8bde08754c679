"""The benchmark of rules at ten rules and without peers: its known answers, and what the contenders say of them."""

from __future__ import annotations

import itertools

import pytest
from benches.goal import Goal
from benches.goal import table as goals_table
from benches.rules import batches, goals, peers
from benches.rules.__main__ import needed, optional
from benches.rules.answers import WrongAnswerError, check_with_oracle, checked
from benches.rules.cases import Case, cases
from benches.rules.contenders import OWN, Contender, First, Hand
from benches.rules.measure import Budget, Cell, expected_absence, measure
from benches.rules.table import markdown
from benches.rules.workloads import WORKLOADS, keyword

PLAIN = [Case(name, 10, hits="all" if workload.every else "1") for name, workload in WORKLOADS.items()]
OTHERS = [Case("equality-last", 10, hits=hits) for hits in ("0", "10", "all")]
OTHERS += [Case("mix", 20, hits="10"), Case("equality-first", 10, size=454), Case("equality-first", 10, size=10_240)]

ABLE = [
    (case, kind)
    for case, kind in itertools.product(PLAIN + OTHERS, OWN)
    if kind is not Hand or case.kind.by_hand is not None
]


def name_of(case: Case) -> str:
    return f"{case.workload}-{case.rules}-{case.hits}-{case.size}"


@pytest.mark.parametrize("case", PLAIN + OTHERS, ids=name_of)
def test_the_oracle_knows_the_same_answers(case: Case) -> None:
    check_with_oracle(case)


@pytest.mark.parametrize(("case", "kind"), ABLE, ids=lambda one: one.name if isinstance(one, type) else name_of(one))
def test_every_contender_gives_the_known_answers(case: Case, kind: type[Contender]) -> None:
    contender = kind(case)
    asked = case.questions()[:8]
    assert checked(contender, contender.build(), asked, 60) == asked


def test_a_wrong_answer_is_never_timed() -> None:
    contender = First(Case("prefix", 10))
    with pytest.raises(WrongAnswerError, match=r"RuleSet\.first"):
        checked(contender, lambda message: "rule-77", contender.case.questions(), 1)


@pytest.mark.parametrize(("size", "wanted"), [(454, 454), (10_240, 10_240), (262_144, 262_144)])
def test_messages_have_the_size_that_the_table_says(size: int, wanted: int) -> None:
    raw = Case("equality-first", 10, size=size).miss()
    assert raw is not None
    assert len(raw.raw) == pytest.approx(wanted, rel=0.2)


def test_keywords_differ() -> None:
    assert len({keyword(key) for key in range(20_000)}) == 20_000


def test_a_contender_that_would_take_too_long_is_left_out_and_says_so() -> None:
    budget = Budget(message=0.1, build=1.0)
    case = Case("prefix", 1_000)
    assert expected_absence(case, (10, Cell(p50=0.0005)), budget) is None
    assert expected_absence(case, (10, Cell(p50=0.002)), budget) == "message > 0.1 s"
    assert expected_absence(case, (10, Cell(build=0.02)), budget) is None  # what is done once weighs too much at ten
    assert expected_absence(Case("prefix", 100_000), (1_000, Cell(build=0.02)), budget) == "build > 1 s"
    large = Budget(build=60.0, memory=1 << 30)
    million = Case("prefix", 1_000_000)
    assert expected_absence(million, (100_000, Cell(build=1.0, memory=50 << 20)), large) is None
    assert expected_absence(million, (100_000, Cell(build=1.0, memory=200 << 20)), large) == "memory > 1 GB"
    assert expected_absence(case, (10, Cell(absent="has no CIDR")), budget) == "has no CIDR"


def test_a_case_is_measured_and_printed() -> None:
    measured = [Case("equality-last", 10), Case("mix", 10), Case("equality-last", 10, changing=True)]
    results = {case: measure(case, OWN, {}, Budget(cell=0.002)) for case in measured}
    printed = markdown(results, "no peers", 0.002)
    assert "| RuleSet.first_json |" in printed
    assert "[1] not a matter of one dict or sorted list." in printed
    assert "one rule removed and added again" in printed


def test_what_goals_compare_is_measured_before_peers_that_are_left_out_when_time_is_up() -> None:
    assert peers.Orjson in needed(goals.EVENT)
    for case in (goals.EVENT, Case("mix", 1_000)):
        assert {*needed(case), *optional(case)} == set(peers.EVERYONE)
    assert optional(Case("mix", 8)) == ()


def test_a_batch_is_answered_rightly_and_held_to_its_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CASE", Case("equality-first", 10, size=454))
    monkeypatch.setattr(batches, "MESSAGES", 100)
    monkeypatch.setattr(batches, "TURNS", 1)
    monkeypatch.setattr(batches.os, "cpu_count", lambda: 2)
    measured = batches.measure()
    assert measured is not None
    assert set(measured) == {1, 2}
    [goal] = goals.goals({}, None, {1: 1.8, 2: 1.0})
    assert goal.met
    assert "≥ 1.7" in goals_table([goal])[-1]
    monkeypatch.setattr(batches.os, "cpu_count", lambda: 1)
    assert batches.measure() is None


def test_a_goal_that_is_missed_says_where_the_time_goes() -> None:
    met, missed = (Goal("a step", figure, 1.0, "µs", why="(in the call)") for figure in (0.9, 1.1))
    assert goals_table([met])[-1].endswith("| met |")
    assert goals_table([missed])[-1].endswith("| **missed** (in the call) |")


def test_all_that_is_run_by_default_has_a_place_in_the_quick_run() -> None:
    assert {case.workload for case in cases(quick=True)} == {case.workload for case in cases()} == set(WORKLOADS)
    assert max(case.rules for case in cases(large=True)) == 1_000_000
