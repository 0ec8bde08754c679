"""Runs the benchmark of rules and prints its tables: `python -m benches.rules [--quick] [--large] [--only WORKLOAD]`.

Each case runs in a new process, so that memory is measured from the ground up and no contender inherits another's heap.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from benches.goal import table as goals_table

import turnout

from . import batches, deliveries, goals, peers
from .cases import Case, cases
from .contenders import OWN, Contender, First, Hand, Lambdas
from .measure import Budget, Cell, bounded, measure
from .table import markdown
from .workloads import WORKLOADS

# Seconds of a default run after which engines from PyPI are no longer tried, so that it ends.
PEERS_UNTIL = 420.0
# Who is asked in cases that only goals need.
GOALS_ONLY = (First, Lambdas, Hand)
P = ParamSpec("P")
T = TypeVar("T")
QUICK = Budget(cell=0.03, message=0.1, build=1.0)


def before(case: Case, results: Mapping[Case, Mapping[str, Cell]]) -> dict[str, tuple[int, Cell]]:
    """What each contender did nearest to this case: the same work with fewer rules, or the workload's plain form."""
    plain = [done for done in results if done.workload == case.workload and is_plain(done) and done.rules <= case.rules]
    alike = [done for done in results if kin(done) == kin(case) and done.rules < case.rules]
    found: dict[str, tuple[int, Cell]] = {}
    for done in plain + alike:
        found |= {name: (done.rules, cell) for name, cell in results[done].items()}
    return found


def kin(case: Case) -> tuple[object, ...]:
    """What two cases share that differ in their number of rules alone."""
    return case.workload, case.hits, case.size, case.changing


def is_plain(case: Case) -> bool:
    return case.hits == "1" and case.size is None and not case.changing


def needed(case: Case) -> tuple[type[Contender], ...]:
    """Who is asked of the case whatever the time: those that goals compare."""
    if case.for_goals:
        return GOALS_ONLY
    return (*OWN, peers.Orjson) if case == goals.EVENT else OWN


def optional(case: Case) -> tuple[type[Contender], ...]:
    """The others, as long as there is time."""
    return () if case.for_goals else tuple(peer for peer in peers.EVERYONE if peer not in needed(case))


def alone(step: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What the step returns, taken in a new process, whose memory is bounded: a peer may take all of the machine's.

    Raises BrokenProcessPool if the process dies.
    """
    context = multiprocessing.get_context("spawn")
    limit = (2 * Budget().memory,)
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=bounded, initargs=limit) as pool:
        return pool.submit(step, *given, **named).result()


def absent(kinds: Iterable[type[Contender]], reason: str) -> dict[str, Cell]:
    return {kind.name: Cell(absent=reason) for kind in kinds}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches.rules", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="up to 1,000 rules and 30 ms a cell: under a minute")
    parser.add_argument("--large", action="store_true", help="a million rules too, where a contender can take them")
    parser.add_argument("--cell", type=float, metavar="SECONDS", help="time to measure one contender on one case in")
    parser.add_argument("--only", action="append", choices=sorted(WORKLOADS), metavar="WORKLOAD", help="repeatable")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    budget = QUICK if asked.quick else Budget(build=60.0) if asked.large else Budget()
    if asked.cell is not None:
        budget = Budget(asked.cell, budget.message, budget.build)
    chosen = [
        case
        for case in cases(quick=asked.quick, large=asked.large)
        if asked.only is None or case.workload in asked.only
    ]
    # What goals need comes first, so that no peer takes its time.
    turns = [(case, needed(case)) for case in chosen] + [(case, kinds) for case in chosen if (kinds := optional(case))]
    results: dict[Case, dict[str, Cell]] = {}
    start = time.perf_counter()
    for number, (case, kinds) in enumerate(turns, 1):
        if sys.stderr.isatty():
            print(f"\r{number}/{len(turns)} {case.workload}, {case.rules:,} rules", end="\x1b[K", file=sys.stderr)
        if number > len(chosen) and not asked.large and time.perf_counter() - start > PEERS_UNTIL:
            cells = absent(kinds, f"not tried: {PEERS_UNTIL:g} s of the run were over")
        else:
            try:
                cells = alone(measure, case, kinds, before(case, results), budget)
            except BrokenProcessPool:
                # A peer may run out of memory where we cannot catch it. We may not.
                if number <= len(chosen):
                    raise
                cells = absent(kinds, "the process died")
        results.setdefault(case, {}).update(cells)
    batched = alone(batches.measure) if asked.only is None else None
    print(f"\n{len(chosen)} cases in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    real = deliveries.measure()
    shown = {case: cells for case, cells in results.items() if not case.for_goals}
    print(markdown(shown, f"turnout {turnout.__version__}, {peers.versions()}", budget.cell))
    print("\n".join(goals.deliveries_table(real)))
    print("\n".join(goals_table(goals.goals(results, real, batched))))


if __name__ == "__main__":
    main()
