"""A goal that a benchmark is held to, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound from above: met if `figure` is no more than `most`."""

    words: str
    figure: float
    most: float
    unit: str

    @property
    def met(self) -> bool:
        return self.figure <= self.most


def table(found: Iterable[Goal]) -> list[str]:
    """The goals in Markdown."""
    lines = ["\n**Goals**\n", "| | measured | at most | |", "|---|---:|---:|---|"]
    for goal in found:
        met = "met" if goal.met else "**missed**"
        lines.append(f"| {goal.words} | {goal.figure:.3g} {goal.unit} | {goal.most:.3g} {goal.unit} | {met} |")
    return lines
