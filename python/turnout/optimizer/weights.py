"""From scores to shares: better destinations get more, within a floor and a bound on the move.

A *share* is a destination's part of its tier's messages, 0..1; the shares of a tier sum to 1. All functions keep the
sum of what they are given, so destinations left out keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARPNESS = 2.0
"""Exponent of the score: half the score, a quarter of the weight. Proportional weights (1) leave a third of the
messages with a destination twice as slow; all to the best would stop observing the others."""

FLOOR = 0.1
"""Least share of a destination, in equal shares: with 4 destinations 2.5 %. It stays observed, so it can come back."""


def target_shares(shares: Sequence[float], scores: Sequence[float]) -> list[float]:
    """Where ``shares`` (each > 0) would go by ``scores`` (0..1): proportional to share x score^SHARPNESS.

    None falls below the floor, or below what it has if that is less: a share set low on purpose stays low.
    """
    total = math.fsum(shares)
    floors = [min(FLOOR * total / len(shares), share) for share in shares]
    wanted = [share * score**SHARPNESS for share, score in zip(shares, scores, strict=True)]
    if math.fsum(wanted) <= 0:  # all equally bad, or too small to tell
        return list(shares)
    held: set[int] = set()
    while True:  # ends: every turn but the last holds one more at its floor
        free = math.fsum(wanted[i] for i in range(len(wanted)) if i not in held)
        left = total - math.fsum(floors[i] for i in held)
        scale = left / free if free > 0 else 0.0
        below = {i for i, one in enumerate(wanted) if i not in held and one * scale < floors[i]}
        if not below:
            return [floors[i] if i in held else wanted[i] * scale for i in range(len(wanted))]
        held |= below


def distance(shares: Sequence[float], others: Sequence[float]) -> float:
    """Total variation: the part of the messages that goes elsewhere, 0..1."""
    return math.fsum(abs(a - b) for a, b in zip(shares, others, strict=True)) / 2


def moved(shares: Sequence[float], target: Sequence[float], part: float) -> list[float]:
    """``part`` (0..1) of the way from ``shares`` to ``target``."""
    return [share + part * (goal - share) for share, goal in zip(shares, target, strict=True)]
