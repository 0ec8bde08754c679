"""The retry budget: how many further attempts, retries and hedges, all messages together may make.

Both multiply the load on destinations that are failing already; a bound per message does not bound their sum. The
budget does: in any window, at most a share of the messages accepted in it, and besides a steady allowance so that
little traffic can retry too. Finagle's ``RetryBudget`` (Twitter), with its defaults: 20 % and 10 a second over 10 s.

Time is an argument, in seconds of a monotonic clock. A call costs about 0.2 µs.
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 10.0
"""Seconds over which the budget holds."""
_SLOTS: Final = 10
"""Parts of the window; what is older than it lapses a part at a time."""
_STEP: Final = WINDOW / _SLOTS


class RetryBudget:
    """Counts messages and further attempts over the last ten whole steps of a second and refuses what is beyond.

    In the ten steps up to and with that of any further attempt:
    further attempts <= ``percent``/100 * messages + ``per_second`` * 10.
    """

    __slots__ = ("_messages", "_now", "_per_window", "_retries", "_share")

    def __init__(self, percent: float, per_second: float) -> None:
        self.configure(percent, per_second)
        self._messages = [0] * _SLOTS
        self._retries = [0] * _SLOTS
        self._now = 0

    def configure(self, percent: float, per_second: float) -> None:
        """Changes the allowances; what was counted stays counted."""
        self._share = percent / 100.0
        self._per_window = per_second * WINDOW

    def deposit(self, now: float) -> None:
        """A message was accepted: further attempts may grow by its share."""
        step = int(now / _STEP)
        if step != self._now:
            self._advance(step)
        self._messages[step % _SLOTS] += 1

    def withdraw(self, now: float) -> bool:
        """Whether one further attempt is allowed; if so it is counted."""
        if not self.allows(now):
            return False
        self._retries[int(now / _STEP) % _SLOTS] += 1
        return True

    def allows(self, now: float) -> bool:
        """Whether one further attempt is allowed; nothing is counted."""
        step = int(now / _STEP)
        if step != self._now:
            self._advance(step)
        return self.balance() >= 1.0

    def balance(self) -> float:
        """Further attempts that are allowed now, as of the last call; below 1: none."""
        return self._per_window + self._share * sum(self._messages) - sum(self._retries)

    def _advance(self, step: int) -> None:
        """Empties the slots between the last step and this one; a clock that steps back is taken as standing still."""
        for passed in range(max(self._now + 1, step - _SLOTS + 1), step + 1):
            self._messages[passed % _SLOTS] = 0
            self._retries[passed % _SLOTS] = 0
        self._now = max(step, self._now)
