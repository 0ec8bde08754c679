"""What was measured, in Markdown: one table for each workload, contenders in rows, numbers of rules in columns."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .cases import Case
from .contenders import First
from .measure import Cell

BASE = {"RuleSet.all": "lambdas, all"}
SINGLE = "lambdas"
NOT_COMPARED = {"orjson alone"}
Results = Mapping[Case, Mapping[str, Cell]]


@dataclass
class Footnotes:
    """Reasons for dashes, each numbered once."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"– [{self.reasons.index(reason) + 1}]"


def heading(case: Case) -> str:
    """What the columns of one table have in common."""
    words = case.kind.title
    if case.size is not None:
        words += f"; messages of {size_name(case.size)}"
    if case.changing:
        words += "; one rule removed and added again before each message"
    return f"{words}; rules that match: {case.hits}"


def size_name(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size // 1024} KB"


def machine() -> str:
    """The processor, as the kernel names it, and how many there are."""
    names = [line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def microseconds(seconds: float) -> str:
    """Three significant digits at most, and never scientific notation."""
    value = seconds * 1e6
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def times(ratio: float) -> str:
    return f"{ratio:.4f}" if ratio < 0.01 else f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"


def answer_cell(name: str, cells: Mapping[str, Cell], notes: Footnotes) -> str:
    """p50 / p99, and p50 beside the list of lambdas that does the same work."""
    cell = cells.get(name)
    if cell is None:
        return ""
    if cell.absent is not None:
        return notes.mark(cell.absent)
    shown = f"{microseconds(cell.p50)} / {microseconds(cell.p99)}"
    if cell.calls < 100:
        shown += "\\*"
    base = cells.get(BASE.get(name, name if name == "lambdas, all" else SINGLE))
    if base is not None and base.absent is None and base.p50 > 0 and name not in NOT_COMPARED:
        shown += f" (×{times(cell.p50 / base.p50)})"
    return shown


def build_cell(case: Case, name: str, cell: Cell) -> str:
    """Time to compile, a rule and in all, and growth of resident memory a rule. Below 1,000 rules it says nothing."""
    if cell.build is None or case.rules < 1_000:
        return ""
    shown = f"{microseconds(cell.build / case.rules)} µs"
    # Whoever comes later finds memory that others gave back; the rule set is the first in its process.
    if name == First.name and cell.memory is not None:
        shown += f", {cell.memory / case.rules:,.0f} B"
    return shown


def one_table(group: list[Case], results: Results, notes: Footnotes) -> Iterable[str]:
    """The table of the cases that differ in their number of rules alone."""
    names = list(dict.fromkeys(name for case in group for name in results[case]))
    yield f"\n**{heading(group[0])}**\n"
    yield "| µs a message: p50 / p99 (× lambdas) |" + "".join(f" {case.rules:,} rules |" for case in group)
    yield "|---|" + "---:|" * len(group)
    for name in names:
        yield f"| {name} |" + "".join(f" {answer_cell(name, results[case], notes)} |" for case in group)
    if group[0].changing:
        return
    for name in names:
        shown = [build_cell(case, name, results[case].get(name, Cell())) for case in group]
        if any(shown):
            yield f"| *to build a rule: {name}* |" + "".join(f" {one} |" for one in shown)


def markdown(results: Results, versions: str, seconds: float) -> str:
    """All tables, the machine and the versions before them, the footnotes behind."""
    groups: dict[str, list[Case]] = {}
    for case in results:
        groups.setdefault(heading(case), []).append(case)
    notes = Footnotes()
    lines = [
        "## Rules: one message against many",
        "",
        f"{machine()}; CPython {platform.python_version()}; {versions}. {seconds:g} s a cell.",
        "Every answer was compared with the known one before it was timed.",
    ]
    for group in groups.values():
        lines += one_table(group, results, notes)
    lines.append("\n(×): p50 beside that of the list of lambdas; of `RuleSet.all`, beside lambdas that find all.")
    lines.append("*orjson alone* reads the bytes that `first_json` is given, and decides nothing.")
    lines.append("\\* fewer than 100 calls fitted: the p99 is the slowest of them, or nearly.")
    lines += [f"\n[{number}] {reason}." for number, reason in enumerate(notes.reasons, 1)]
    return "\n".join(lines)
