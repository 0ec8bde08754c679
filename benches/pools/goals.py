"""The goals that pools are held to, each with what this run measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benches.goal import Goal

FEW, MANY, CHANGED = 10, 100_000, 10_000
# A policy that looks at all destinations by design, and one whose table is built anew, off the path of picks.
LINEAR, TABLED = "rendezvous", "maglev"


@dataclass(slots=True)
class Results:
    """Seconds of one step, by contender and number of destinations."""

    selections: dict[tuple[str, int, int], float] = field(default_factory=dict)
    """By number of threads, too."""
    leases: dict[tuple[str, int], float] = field(default_factory=dict)
    changes: dict[tuple[str, int], float] = field(default_factory=dict)


def goals(results: Results, policies: Iterable[str]) -> Iterable[Goal]:
    """Every goal that this run can say something of; of all policies the worst is shown, and who else misses it."""
    flat = [policy for policy in policies if policy != LINEAR]
    alone = {(name, count): taken for (name, count, threads), taken in results.selections.items() if threads == 1}
    for count in sorted({count for _, count in alone}):
        found = {policy: alone[policy, count] * 1e9 for policy in flat if (policy, count) in alone}
        yield from worst(f"a selection from {count:,}", found, 120.0, "ns")
    grown = {policy: alone[policy, MANY] / alone[policy, FEW] for policy in flat if (policy, MANY) in alone}
    yield from worst(f"a selection from {MANY:,} beside one from {FEW}", grown, 1.5, "×")
    for count, most in ((1_000, 300.0), (MANY, 700.0)):
        found = {policy: results.leases[policy, count] * 1e9 for policy in flat if (policy, count) in results.leases}
        yield from worst(f"a lease of {count:,}, acquired and ended", found, most, "ns")
    litellm = [taken for (name, count), taken in alone.items() if name.startswith("litellm") and count == FEW]
    if litellm:
        found = {policy: alone[policy, FEW] / min(litellm) for policy in flat}
        yield from worst(f"a selection from {FEW} beside litellm's fastest", found, 1 / 300, "×")
    found = {
        policy: taken * 1e6
        for (policy, count), taken in results.changes.items()
        if count == CHANGED and policy != TABLED
    }
    yield from worst(f"one of {CHANGED:,} destinations added or removed", found, 1_000.0, "µs")


def worst(words: str, found: Mapping[str, float], most: float, unit: str) -> Iterable[Goal]:
    """The goal with the figure of whoever is the furthest from it; none where nothing was measured."""
    if not found:
        return
    name, figure = max(found.items(), key=lambda item: item[1])
    missing = sum(figure > most for figure in found.values())
    count = f"; {missing} of {len(found)} policies miss it" if missing > 1 else ""
    yield Goal(f"{words}: {name}{count}", figure, most, unit)
