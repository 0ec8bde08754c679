"""The goals that rules are held to, each with what this run measured of it, and whether it is met.

Times are p50. A goal whose cases were not part of the run is left out of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benches.goal import Goal

from .cases import Case
from .measure import Cell

Results = Mapping[Case, Mapping[str, Cell]]
FEW_TO_MANY = ("equality-first", "equality-last", "prefix", "range", "mix")
SIMPLE = ("equality-first", "equality-last", "prefix", "range")
# Ratios of two measurements on a machine that others use too; what lies below is not told from noise.
NOISE = 1.05
EVENT = Case("equality-first", 100_000, size=454)
# Where the time goes in what is known to be missed, by callgrind on a release build.
LAMBDAS_WHY = (
    "(where the first rule matches, a lambda is a few bytecodes: `first` takes 610 instructions for the call, the "
    "snapshot and room for the fields, and 455 a field: 130 in CPython's dict, 45 for the text's UTF-8, the rest to "
    "hold, keep and compare it)"
)


def cell(results: Results, case: Case, name: str = "RuleSet.first") -> Cell | None:
    """What was measured, if it was."""
    found = results.get(case, {}).get(name)
    return None if found is None or found.absent is not None else found


def ratio(one: Cell | None, other: Cell | None) -> float | None:
    return None if one is None or other is None or other.p50 == 0 else one.p50 / other.p50


def plain(workload: str, count: int) -> Case:
    return Case(workload, count)


def goals(
    results: Results, deliveries: Mapping[str, float] | None, batched: Mapping[int, float] | None
) -> Iterable[Goal]:
    """Every goal that this run can say something of. `batched` holds seconds a message by number of threads."""
    yield from first_match(results)
    yield from beside_hand(results)
    yield from raw(results, deliveries)
    yield from building(results)
    yield from all_matches(results)
    yield from beside_lambdas(results)
    if batched is not None:
        words = "a batch of newline-delimited JSON, two threads as fast as one"
        yield Goal(words, batched[1] / batched[2], 1.7, "×", is_floor=True)
    changing = cell(results, Case("equality-last", 100_000, changing=True))
    if changing is not None:
        # A step removes a rule, adds it again and asks; the mean, since layers are merged now and then.
        yield Goal("a change among 100,000 rules, amortised", changing.mean / 2 * 1e6, 20.0, "µs")


def first_match(results: Results) -> Iterable[Goal]:
    for count, most in ((10, 0.5), (100_000, 1.0), (1_000_000, 1.5)):
        if found := cell(results, plain("equality-last", count)):
            yield Goal(f"`first` of five fields, {count:,} rules", found.p50 * 1e6, most, "µs")
    for workload in FEW_TO_MANY:
        few, many = cell(results, plain(workload, 10)), cell(results, plain(workload, 100_000))
        if grown := ratio(many, few):
            yield Goal(f"{workload}: 100,000 rules beside 10", grown, 2.0, "×")


def beside_hand(results: Results) -> Iterable[Goal]:
    for workload in ("equality-first", "equality-last"):
        case = plain(workload, 10_000)
        if beside := ratio(cell(results, case), cell(results, case, "by hand")):
            yield Goal(f"{workload}: beside the dict by hand, 10,000 rules", beside, 3.0, "×")
    for workload, most in (("wildcard", 5.0), ("contains", 3.0)):
        if found := cell(results, plain(workload, 10_000)):
            yield Goal(f"{workload}: 10,000 rules, a message", found.p50 * 1e6, most, "µs")
            if workload == "wildcard":
                yield Goal(f"{workload}: 10,000 rules, to build", found.build or 0.0, 1.0, "s")


def raw(results: Results, deliveries: Mapping[str, float] | None) -> Iterable[Goal]:
    if beside := ratio(cell(results, EVENT, "RuleSet.first_json"), cell(results, EVENT, "orjson alone")):
        yield Goal("`first_json` of 454 B, 100,000 rules, beside `orjson.loads` alone", beside, 1.0, "×")
    if deliveries is not None:
        ours, theirs = deliveries["RuleSet.first_json"], deliveries["orjson.loads and a dict by hand"]
        yield Goal(
            "`first_json` of real deliveries, beside `orjson.loads` and a dict by hand", ours / theirs, 1 / 3, "×"
        )


def building(results: Results) -> Iterable[Goal]:
    for workload in SIMPLE:
        found = cell(results, plain(workload, 100_000))
        if found is not None and found.build is not None and found.memory is not None:
            yield Goal(f"{workload}: to build a rule", found.build / 100_000 * 1e6, 3.0, "µs")
            yield Goal(f"{workload}: memory of a rule", found.memory / 100_000, 300.0, "B")
    worst = (0.0, "")
    for case, cells in results.items():
        most = cells.get("RuleSet.first")
        least = cell(results, Case(case.workload, 1_000, case.hits))
        if case.size or case.changing or case.rules <= 1_000 or most is None or not most.build:
            continue
        if least is not None and least.build:
            grown = (most.build / case.rules) / (least.build / 1_000)
            worst = max(worst, (grown, f"{case.workload}, {case.rules:,} rules"))
    if worst[1]:
        yield Goal(f"build a rule beside 1,000 rules, the worst: {worst[1]}", worst[0], 2.0, "×")


def all_matches(results: Results) -> Iterable[Goal]:
    for workload in ("equality-last", "mix"):
        few = cell(results, Case(workload, 1_000, "all"), "RuleSet.all")
        many = cell(results, Case(workload, 100_000, "all"), "RuleSet.all")
        if grown := ratio(many, few):
            yield Goal(f"{workload}: `all`, a match among 100,000 beside one among 1,000", grown / 100, 2.0, "×")


def beside_lambdas(results: Results) -> Iterable[Goal]:
    """At each number of rules from 8 on the worst of all workloads, and which others are slower than lambdas."""
    found: dict[int, list[tuple[float, str]]] = {}
    for case in results:
        beside = ratio(cell(results, case), cell(results, case, "lambdas"))
        if case.rules >= 8 and beside is not None and not case.changing:
            size = "" if case.size is None else f", {case.size:,} B"
            found.setdefault(case.rules, []).append((beside, f"{case.workload}, {case.hits} matching{size}"))
    for count, compared in sorted(found.items()):
        compared.sort(reverse=True)
        slower = [f"{name} ({beside:.2g} ×)" for beside, name in compared if beside > NOISE]
        words = f": {'; '.join(slower)}" if slower else f", the worst of {len(compared)} workloads"
        yield Goal(f"beside lambdas, {count:,} rules{words}", compared[0][0], NOISE, "×", why=LAMBDAS_WHY)


def deliveries_table(deliveries: Mapping[str, float] | None) -> list[str]:
    """What real deliveries took, in Markdown."""
    if deliveries is None:
        return ["\nReal deliveries: skipped, ../shared/data/github-webhooks.ndjson is absent."]
    lines = ["\n**270 real GitHub deliveries, the 30 rules of examples/github**\n", "| | µs a delivery |", "|---|---:|"]
    return lines + [f"| {name} | {taken * 1e6:.2f} |" for name, taken in deliveries.items()]
