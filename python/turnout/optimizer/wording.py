"""Recommendations for people: what to do, with the figures it rests on.

``pool sms: move 20.0 % of messages from b (-20.0) to a (+20.0). success +1.2 points [+0.4, +2.0]; p95 -38 ms
[-45, -31] (-31 %); cost -13 % [-15, -11]. On 48,210 outcomes.``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .effect import Effect
from .scores import MIN_OUTCOMES, Observed

_NAMED = 5
"""Destinations named in one text; more are counted."""


def _names(parts: Sequence[str]) -> str:
    more = len(parts) - _NAMED
    return ", ".join(parts[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def move_text(
    pool: str,
    names: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    expected: Effect,
    p95_ms: float | None,
    samples: int,
) -> str:
    """The move between the shares ``before`` and ``after``, and what it is expected to change."""
    changes = sorted(zip((b - a for a, b in zip(before, after, strict=True)), names, strict=True))
    total = sum(change for change, _ in changes if change > 0)
    # Half of a tenth of a per cent is not worth a word.
    losing = _names([f"{name} ({change * 100:+.1f})" for change, name in changes if change <= -0.0005])
    gaining = _names([f"{name} ({change * 100:+.1f})" for change, name in reversed(changes) if change >= 0.0005])
    figures = []
    if (success := expected.success) is not None:
        points = [100 * value for value in (success.value, success.low, success.high)]
        if points[1] <= 0 <= points[2]:
            figures.append(f"success unchanged within [{points[1]:+.2f}, {points[2]:+.2f}] points")
        else:
            figures.append(f"success {points[0]:+.2f} points [{points[1]:+.2f}, {points[2]:+.2f}]")
    if (p95 := expected.p95_ms) is not None:
        relative = f" ({p95.value / p95_ms:+.0%})" if p95_ms else ""
        figures.append(f"p95 {p95.value:+.3g} ms [{p95.low:+.3g}, {p95.high:+.3g}]{relative}")
    if (cost := expected.cost) is not None:
        figures.append(f"cost {100 * cost.value:+.1f} % [{100 * cost.low:+.1f}, {100 * cost.high:+.1f}]")
    return (
        f"pool {pool}: move {total:.1%} of messages from {losing} to {gaining}. {'; '.join(figures)}. "
        f"On {samples:,} outcomes."
    )


def keep_text(pool: str, samples: int, held: str | None) -> str:
    """No move is surely better, or what is would risk ``held`` beyond its bound."""
    why = "no other split is better beyond chance" if held is None else f"a better split would risk the {held}"
    return f"pool {pool}: keep the weights; {why}. On {samples:,} outcomes."


def single_text(pool: str, serving: Sequence[Observed]) -> str:
    """There is nothing to choose between."""
    who = f"only {serving[0].id} serves" if serving else "no destination may receive anything now"
    return f"pool {pool}: keep the weights; {who}, so there is nothing to choose between."


def collect_text(pool: str, lacking: Mapping[str, int]) -> str:
    """Outcomes are missing; how many, and of which destination."""
    parts = _names([f"{name} ({missing} more)" for name, missing in lacking.items()])
    return f"pool {pool}: not enough data; {MIN_OUTCOMES} outcomes a destination are needed, missing: {parts}."


def price_text(pool: str, names: Sequence[str]) -> str:
    """Costs are missing."""
    return f"pool {pool}: set the cost of {_names(names)}; without it, cost is left out."
