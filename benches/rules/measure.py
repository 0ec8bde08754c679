"""Measures one case, contender after contender, in a process that does nothing else.

A call is timed by itself, and what reading the clock costs is taken off. The collector of garbage is off meanwhile.
Memory is what the process's resident set grew by while the rules were compiled.
"""

from __future__ import annotations

import gc
import itertools
import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .answers import WrongAnswerError, check_with_oracle, checked, given, known
from .cases import Case, Question
from .contenders import Ask, Contender
from .predicates import InexpressibleError

MIN_CALLS = 3
MANY = 100
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds: `cell` to time one contender in; what a single message, and a build, may take before it is left out.

    `memory` is what compiled rules may take, in bytes; with all else a process may have twice as much.
    """

    cell: float = 0.15
    message: float = 0.1
    build: float = 2.5
    memory: int = 4 << 30


@dataclass(frozen=True, slots=True)
class Cell:
    """What one contender did on one case: seconds and bytes; or, in `absent`, why there is nothing to tell."""

    p50: float = 0.0
    p99: float = 0.0
    calls: int = 0
    build: float | None = None
    memory: int | None = None
    absent: str | None = None
    mean: float = 0.0


def bounded(memory: int) -> None:
    """Ends this process, or raises MemoryError in it, before it takes more memory than this, in bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


def resident() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def clock_cost() -> int:
    """Nanoseconds between two readings of the clock with nothing in between, as a median."""
    clock = time.perf_counter_ns
    return sorted(-(clock() - clock()) for _ in range(2_000))[1_000]


def percentile(ordered: list[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e9


def timed(step: Callable[[Any], Any], given_messages: list[Any], seconds: float) -> tuple[float, float, int, float]:
    """p50 and p99 of a call, how many, and their mean: rounds through the messages until `seconds` are over."""
    clock = time.perf_counter_ns
    cost = clock_cost()
    for message in itertools.islice(itertools.cycle(given_messages), min(len(given_messages), 16)):
        step(message)
    spent: list[int] = []
    note = spent.append
    end = clock() + int(seconds * 1e9)
    while len(spent) < MIN_CALLS or clock() < end:
        for message in given_messages:
            before = clock()
            step(message)
            after = clock()
            note(after - before)
            # A round of slow calls would outlast the budget by far; a round of fast ones need not be looked at.
            if after > end and len(spent) >= MIN_CALLS:
                break
    ordered = sorted(max(0, one - cost) for one in spent)
    return percentile(ordered, 0.5), percentile(ordered, 0.99), len(ordered), sum(ordered) / len(ordered) / 1e9


def changing_step(contender: Contender, ask: Ask, questions: list[Question]) -> Callable[[Any], None]:
    """One step of the changing workload: a rule is removed and added again, and a message asked about.

    Raises WrongAnswerError if a rule that came back is not found at once. Every step's answer is compared.
    """
    numbers = itertools.cycle(range(contender.case.rules))
    replace = contender.replace

    def step(pair: tuple[Any, Any]) -> None:
        replace(next(numbers))
        if ask(pair[0]) != pair[1]:
            raise WrongAnswerError(f"{contender.case}: {contender.name} after a change")

    contender.replace(0)
    for question in questions[:1]:
        step((given(contender, question), known(contender, question)))
    return step


def expected_absence(case: Case, earlier: tuple[int, Cell] | None, budget: Budget) -> str | None:
    """Why a contender is not even tried: at fewer rules it took so long that in proportion it would be too long now."""
    if earlier is None:
        return None
    rules, cell = earlier
    if cell.absent is not None:
        return cell.absent
    # What an engine does once, and not for each rule, would pass for the price of ten rules.
    if rules >= MANY and cell.build is not None and cell.build * case.rules / rules > budget.build:
        return f"build > {budget.build:g} s"
    if rules >= MANY and cell.memory is not None and cell.memory * case.rules / rules > budget.memory:
        return f"memory > {budget.memory >> 30} GB"
    if cell.p50 * case.rules / rules > budget.message:
        return f"message > {budget.message:g} s"
    return None


def measure_one(kind: type[Contender], case: Case, budget: Budget) -> Cell:
    """Builds, checks, warms up and times one contender."""
    contender = kind(case)
    questions = case.questions()
    gc.collect()
    memory = resident()
    start = time.perf_counter()
    ask = contender.build()
    build = time.perf_counter() - start
    memory = max(0, resident() - memory)
    gc.collect()
    start = time.perf_counter()
    ask(given(contender, questions[0]))
    if time.perf_counter() - start > budget.message:
        return Cell(absent=f"message > {budget.message:g} s")
    right = checked(contender, ask, questions, budget.cell)
    gc.disable()
    try:
        if case.changing:
            pairs = [(given(contender, one), known(contender, one)) for one in right]
            p50, p99, calls, mean = timed(changing_step(contender, ask, right), pairs, budget.cell)
        else:
            p50, p99, calls, mean = timed(ask, [given(contender, one) for one in right], budget.cell)
    finally:
        gc.enable()
    built, grown = (build, memory) if kind.builds else (None, None)
    return Cell(p50, p99, calls, built, grown, mean=mean)


def measure(
    case: Case, kinds: Iterable[type[Contender]], earlier: Mapping[str, tuple[int, Cell]], budget: Budget
) -> dict[str, Cell]:
    """A cell for every contender. `earlier` holds what each did on the same workload with fewer rules."""
    check_with_oracle(case)
    cells: dict[str, Cell] = {}
    for kind in kinds:
        absent = expected_absence(case, earlier.get(kind.name), budget)
        if absent is None and case.changing and (kind.answers != "first" or kind.asks != "message"):
            continue
        if absent is not None:
            cells[kind.name] = Cell(absent=absent)
            continue
        try:
            cells[kind.name] = measure_one(kind, case, budget)
        except InexpressibleError as reason:
            cells[kind.name] = Cell(absent=str(reason))
        except MemoryError:
            cells[kind.name] = Cell(absent=f"memory > {2 * budget.memory >> 30} GB")
    return cells
