"""The goals that pools are held to, each with what this run measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benches.goal import Goal

FEW, MANY = 10, 100_000


@dataclass(slots=True)
class Results:
    """Seconds of one step, by contender and number of destinations."""

    selections: dict[tuple[str, int], float] = field(default_factory=dict)
    leases: dict[tuple[str, int], float] = field(default_factory=dict)
    threads: dict[tuple[str, int, int], float] = field(default_factory=dict)
    changes: dict[tuple[str, int], float] = field(default_factory=dict)


def goals(results: Results, policies: Iterable[str]) -> Iterable[Goal]:
    """Every goal that this run can say something of; of all policies the worst is shown, and who else misses it."""
    flat = [policy for policy in policies if policy != "rendezvous"]
    for count in sorted({count for _, count in results.selections}):
        found = {
            policy: results.selections[policy, count] * 1e9 for policy in flat if (policy, count) in results.selections
        }
        yield worst(f"a selection from {count:,}", found, 120.0, "ns")
    grown = {
        policy: results.selections[policy, MANY] / results.selections[policy, FEW]
        for policy in flat
        if (policy, MANY) in results.selections
    }
    if grown:
        yield worst(f"a selection from {MANY:,} beside one from {FEW}", grown, 1.5, "×")
    for count, most in ((1_000, 300.0), (MANY, 700.0)):
        found = {policy: results.leases[policy, count] * 1e9 for policy in flat if (policy, count) in results.leases}
        if found:
            yield worst(f"a lease of {count:,}, acquired and ended", found, most, "ns")
    litellm = [
        taken for (name, count), taken in results.selections.items() if name.startswith("litellm") and count == FEW
    ]
    if litellm:
        found = {policy: results.selections[policy, FEW] / min(litellm) for policy in flat}
        yield worst(f"a selection from {FEW} beside litellm's fastest", found, 1 / 300, "×")
    found = {policy: taken * 1e6 for (policy, count), taken in results.changes.items() if count == 10_000}
    if found:
        yield worst("one of 10,000 destinations taken out or brought back", found, 1_000.0, "µs")


def worst(words: str, found: Mapping[str, float], most: float, unit: str) -> Goal:
    """The goal with the figure of whoever is the furthest from it."""
    name, figure = max(found.items(), key=lambda item: item[1])
    missing = sum(figure > most for figure in found.values())
    count = f"; {missing} of {len(found)} policies miss it" if missing > 1 else ""
    return Goal(f"{words}: {name}{count}", figure, most, unit)
