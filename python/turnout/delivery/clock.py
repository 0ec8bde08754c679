"""The wall clock of delivery, read in one place, so that tests can turn it.

Only what lasts longer than the process, or is said by people, is in wall time: ``not_before``, ``expires_at``, ages.
Deadlines and timers are in the event loop's time, which no clock step touches.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final


class Clock:
    """Wall time, and time that goes on steadily."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def steady(self) -> float:
        """Seconds since some moment, which no step of the clock touches."""
        return time.monotonic()


class OnLoop:
    """The event loop that a deliverer works on. ``asyncio.get_running_loop`` is a call of the system, to tell a fork,
    before Python 3.12; so it is asked once a message, where that comes in."""

    __slots__ = ("loop",)

    loop: asyncio.AbstractEventLoop
    """Set before the first message is accepted."""


clock: Final = Clock()
"""The clock that delivery reads."""
