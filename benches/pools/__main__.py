"""Runs the benchmark of pools and prints its tables: `python -m benches.pools [--quick]`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version

from benches.goal import table

from turnout.config import POLICIES

from .contenders import OURS, PEERS, Choose, Contender, check, holding, leases, pool_of, selections
from .goals import CHANGED, FEW, LINEAR, MANY, TABLED, Results, goals
from .measure import change, repeated, together, typical

COUNTS = (10, 1_000, 10_000, 100_000)
THREADS = (2, 8)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches.pools", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 1,000 destinations and 30 ms a cell")
    parser.add_argument("--only", metavar="A,B", help="these policies, and no peers")
    return parser.parse_args()


def measure_ours(results: Results, contender: Contender, count: int, seconds: float) -> None:
    policy = contender.name
    pool = pool_of(policy, count)
    check(contender, count, holding(pool, policy))
    select, lease = selections(pool, policy), leases(pool, policy)
    results.selections[policy, count, 1] = taken = typical(select, seconds)
    for threads in THREADS:
        results.selections[policy, count, threads] = together(select, threads, steps(taken, threads, seconds))
    lease(min(3 * count, 20_000 if policy == LINEAR else 300_000))  # every destination has been used
    results.leases[policy, count] = typical(lease, seconds)
    if count <= CHANGED:
        # A table for maglev takes 0.2 s at 10,000.
        results.changes[policy, count] = change(pool, select, 2 if policy == TABLED else 25)


def measure_peer(results: Results, peer: Contender, choose: Choose, count: int, seconds: float) -> None:
    check(peer, count, choose)
    select = repeated(choose)
    results.selections[peer.name, count, 1] = taken = typical(select, seconds)
    for threads in THREADS if peer.threads else ():
        results.selections[peer.name, count, threads] = together(select, threads, steps(taken, threads, seconds))


def steps(taken: float, threads: int, seconds: float) -> int:
    """How many each thread makes in a round."""
    return max(1, int(seconds / 8 / taken / threads))


def run(contenders: tuple[Contender, ...], counts: tuple[int, ...], seconds: float) -> Results:
    """Measures everything."""
    results = Results()
    for contender in contenders:
        for count in counts:
            if count > contender.most:
                continue
            if sys.stderr.isatty():
                print(f"\r{contender.name}, {count:,}", end="\x1b[K", file=sys.stderr)
            if contender.build is None:
                measure_ours(results, contender, count, seconds)
            else:
                measure_peer(results, contender, contender.build(count), count, seconds)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return results


def short(seconds: float | None) -> str:
    """Seconds in ns, µs or ms."""
    if seconds is None:
        return ""
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 10_000 or unit == "ms":
            return f"{seconds * factor:,.0f} {unit}"
    raise AssertionError


def rows(title: str, names: list[str], columns: dict[str, dict[str, float]]) -> list[str]:
    """A table in Markdown of times by name and column."""
    lines = [f"\n**{title}**\n", "| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    return lines + [
        f"| {name} | " + " | ".join(short(column.get(name)) for column in columns.values()) + " |" for name in names
    ]


def report(results: Results, names: list[str], policies: list[str], counts: tuple[int, ...]) -> list[str]:
    """The tables in Markdown; the first is README's."""

    def of(threads: int, count: int) -> dict[str, float]:
        found = results.selections.items()
        return {name: taken for (name, n, t), taken in found if (n, t) == (count, threads)}

    def by_count(cells: dict[tuple[str, int], float], count: int) -> dict[str, float]:
        return {name: taken for (name, n), taken in cells.items() if n == count}

    last = counts[-1]
    columns = {f"select, {count:,}": of(1, count) for count in (FEW, last)}
    columns |= {f"{last:,}, 8 threads": of(8, last)}
    columns |= {f"lease, {count:,}": by_count(results.leases, count) for count in (1_000, MANY) if count in counts}
    columns |= {"add or remove, 10,000": by_count(results.changes, CHANGED)} if CHANGED in counts else {}
    lines = rows("For README: a step of each, by destinations", names, columns)
    several = {f"{count:,}, {t} thread{'s'[: t - 1]}": of(t, count) for count in counts for t in (1, *THREADS)}
    lines += rows("A selection, by destinations and threads: time that passes, by all selections", names, several)
    leases = {f"{count:,}": by_count(results.leases, count) for count in counts}
    lines += rows("A lease, acquired and ended in success", policies, leases)
    changes = {f"{count:,}": by_count(results.changes, count) for count in counts if count <= CHANGED}
    lines += rows("A destination added or removed while two threads select", policies, changes)
    return lines + table(goals(results, policies))


def litellm_version() -> str:
    try:
        return version("litellm")
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    asked = arguments()
    counts = COUNTS[:2] if asked.quick else COUNTS
    policies = [policy for policy in POLICIES if asked.only is None or policy in asked.only.split(",")]
    contenders = tuple(one for one in OURS if one.name in policies) + (PEERS if asked.only is None else ())
    results = run(contenders, counts, 0.03 if asked.quick else 0.3)
    print(f"CPython {sys.version.split()[0]}, litellm {litellm_version()}; medians")
    print("\n".join(report(results, [one.name for one in contenders], policies, counts)))


if __name__ == "__main__":
    main()
