"""Outcomes remembered between calls, old ones fading, so that yesterday's failures do not decide today's weights.

The router counts outcomes since its start. Each call adds what is new and lets the rest fade by FADE for each new
outcome of any destination: S <- FADE^n S + s, the discounting of discounted Thompson sampling (arXiv 2305.10718). A
destination that gets little of the traffic is forgotten with the rest, and is then observed anew.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from ..reports import DestinationStats

FADE = 0.9999
"""Weight kept per outcome: half after 6,931 outcomes."""


@dataclass
class _Counted:
    seen_successes: int = 0
    seen_outcomes: int = 0
    successes: float = 0.0
    outcomes: float = 0.0

    def is_ahead_of(self, now: DestinationStats) -> bool:
        """Whether successes, or the other outcomes, are fewer now than they were."""
        others = now.outcomes - now.successes
        return now.successes < self.seen_successes or others < self.seen_outcomes - self.seen_successes


class FadingOutcomes:
    """The outcomes of one router's destinations. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[str, _Counted] = {}

    def update(self, destinations: Mapping[str, DestinationStats]) -> tuple[dict[str, tuple[float, float]], list[str]]:
        """Takes in the counters as they stand now.

        Returns each destination's (successes, outcomes) after fading, and the ids whose counters went backwards: those
        were counted anew, and are learned anew. Destinations no longer there are forgotten.
        """
        with self._lock:
            restarted = []
            for name, now in destinations.items():
                counted = self._counted.get(name)
                if counted and counted.is_ahead_of(now):
                    restarted.append(name)
                    counted = None
                self._counted[name] = counted or _Counted()
            for gone in self._counted.keys() - destinations.keys():
                del self._counted[gone]
            new = sum(now.outcomes - self._counted[name].seen_outcomes for name, now in destinations.items())
            kept = FADE**new
            for name, now in destinations.items():
                counted = self._counted[name]
                counted.successes = kept * counted.successes + (now.successes - counted.seen_successes)
                counted.outcomes = kept * counted.outcomes + (now.outcomes - counted.seen_outcomes)
                counted.seen_successes, counted.seen_outcomes = now.successes, now.outcomes
            faded = {name: (one.successes, one.outcomes) for name, one in self._counted.items()}
            return faded, restarted
