"""Runs the benchmark of pools and prints its tables: `python -m benches.pools [--quick]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from benches.goal import table

from .contenders import BY_KEY, OURS, PEERS, POLICIES, Choose, Contender, check, cycle_of_keys, ids, pool_of, selection
from .goals import Results, goals
from .measure import change, fastest, together

COUNTS = (10, 1_000, 10_000, 100_000)
THREADS = (1, 2, 8)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches.pools", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 1,000 destinations and 30 ms a cell")
    return parser.parse_args()


def lease_of(policy: str, count: int) -> Callable[[], object]:
    """Takes a lease and ends it, of a pool in which every destination has been used."""
    pool = pool_of(policy, count)
    key = cycle_of_keys()

    def hold_by_key() -> None:
        pool.acquire(key=key()).success()

    def hold_any() -> None:
        pool.acquire().success()

    hold = hold_by_key if policy in BY_KEY else hold_any

    for _ in range(min(3 * count, 300_000)):
        hold()
    return hold


def selected(contender: Contender, count: int, seconds: float) -> tuple[Choose, float]:
    choose, checked = contender.build(count)
    check(contender, count, checked)
    return choose, fastest(choose, seconds)


def run(counts: tuple[int, ...], seconds: float) -> Results:
    """Measures everything."""
    results = Results()
    for contender in OURS + PEERS:
        for count in counts:
            if count > contender.most:
                continue
            if sys.stderr.isatty():
                print(f"\r{contender.name}, {count:,}", end="\x1b[K", file=sys.stderr)
            choose, taken = selected(contender, count, seconds)
            results.selections[contender.name, count] = taken
            if contender not in OURS:
                continue
            results.leases[contender.name, count] = fastest(lease_of(contender.name, count), seconds)
            if count in (counts[0], 10_000):
                for threads in THREADS:
                    steps = max(100, int(seconds / 5 / taken / threads))
                    results.threads[contender.name, count, threads] = together(choose, threads, steps)
            pool = pool_of(contender.name, count)
            results.changes[contender.name, count] = change(pool, ids(count)[count // 2], 11)
            selection(pool, contender.name)()
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


def report(results: Results, counts: tuple[int, ...]) -> list[str]:
    """The tables in Markdown."""

    def by_count(cells: dict[tuple[str, int], float]) -> dict[str, dict[str, float]]:
        return {f"{count:,}": {name: taken for (name, n), taken in cells.items() if n == count} for count in counts}

    ours = list(POLICIES)
    everyone = ours + [peer.name for peer in PEERS]
    lines = rows("A selection, by destinations", everyone, by_count(results.selections))
    lines += rows("A lease, acquired and ended in success", ours, by_count(results.leases))
    lines += rows(
        "A destination taken out or brought back, until a selection goes by it", ours, by_count(results.changes)
    )
    several = {
        f"{count:,}, {threads} threads": {
            name: taken for (name, n, t), taken in results.threads.items() if (n, t) == (count, threads)
        }
        for count in sorted({count for _, count, _ in results.threads})
        for threads in THREADS
    }
    lines += rows("A selection, by destinations and threads: time that passes, by all selections", ours, several)
    return lines + table(goals(results, POLICIES))


def litellm_version() -> str:
    try:
        return version("litellm")
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    quick = arguments().quick
    counts = COUNTS[:2] if quick else COUNTS
    results = run(counts, 0.03 if quick else 0.3)
    print(f"CPython {sys.version.split()[0]}, litellm {litellm_version()}")
    print("\n".join(report(results, counts)))


if __name__ == "__main__":
    main()
