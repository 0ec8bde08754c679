"""A goal that a benchmark is held to, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound: met if `figure` is no more than `bound`, or no less where that is a floor."""

    words: str
    figure: float
    bound: float
    unit: str
    is_floor: bool = False
    # Where the time or memory goes, in words: told if the goal is missed.
    why: str = ""

    @property
    def met(self) -> bool:
        return self.figure >= self.bound if self.is_floor else self.figure <= self.bound


def table(found: Iterable[Goal]) -> list[str]:
    """The goals in Markdown."""
    lines = ["\n**Goals**\n", "| | measured | goal | |", "|---|---:|---:|---|"]
    for goal in found:
        met = "met" if goal.met else f"**missed** {goal.why}".rstrip()
        sign = "≥" if goal.is_floor else "≤"
        lines.append(f"| {goal.words} | {goal.figure:.3g} {goal.unit} | {sign} {goal.bound:.3g} {goal.unit} | {met} |")
    return lines
