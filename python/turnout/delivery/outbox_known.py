"""Ids of messages that were delivered lately, so that a repeat is not delivered again.

They are remembered in steady time while the process lives: a step of the clock neither forgets one nor keeps it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from .clock import clock
from .settings import OutboxSettings


class Known:
    """The latest ids, the oldest first."""

    def __init__(self, found: Iterable[tuple[int, str, float]] = ()) -> None:
        """``found``: number, id and time of delivery (Unix seconds) of those that are on disk, in their order."""
        now, steady = clock.now(), clock.steady()
        # A plain dict would be searched for its first item past all those that were taken out before it.
        self._ids = OrderedDict((name, (number, steady - max(0.0, now - at))) for number, name, at in found)
        self._next = max([number for number, _ in self._ids.values()], default=0) + 1

    def has(self, name: str, window: float) -> bool:
        """Whether a message of that id was delivered within so many seconds."""
        found = self._ids.get(name)
        return found is not None and clock.steady() - found[1] < window

    def add(self, name: str, settings: OutboxSettings) -> tuple[int, int]:
        """A message of that id was delivered; the number it has here, and up to which number ids are forgotten (0:
        none are)."""
        now, forgotten = clock.steady(), 0
        self._ids.pop(name, None)
        number = self._next
        self._ids[name] = number, now
        self._next += 1
        while len(self._ids) > settings.max_ids or self._oldest() < now - settings.window:
            _, (forgotten, _) = self._ids.popitem(last=False)
        return number, forgotten

    def _oldest(self) -> float:
        return next(iter(self._ids.values()))[1] if self._ids else float("inf")
