"""What a failed attempt means: for the destination, for the message, and in words."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import DeliveryError
from .records import Outcome, Reason

if TYPE_CHECKING:
    from .._core import Lease
    from .jobs import Run

_LONGEST_TEXT: Final = 500
"""Characters of an error that are kept: dead letters stay in memory."""


_LAST: Final = 253_402_300_799.0
"""The last second of the year 9999, beyond which a date has no words."""


class Failure(NamedTuple):
    """How an attempt failed."""

    outcome: Outcome
    kind: str
    text: str
    retryable: bool = True
    retry_after: float | None = None

    def end(self, lease: Lease) -> None:
        """Gives the lease its outcome. A message refused for good is the message's fault, not the destination's."""
        if self.outcome == "cancelled" or not self.retryable:
            lease.cancel()
        elif self.outcome == "overloaded":
            lease.overloaded(self.retry_after)
        else:
            lease.failure(self.kind)


STOPPED: Final = Failure("cancelled", "cancelled", "stopped before it ended")
OUTRUN: Final = Failure("cancelled", "outrun", "another attempt beside it was faster")


def judged(error: Exception) -> Failure:
    """What an exception of a transport means."""
    if not isinstance(error, DeliveryError):
        return Failure("failure", type(error).__name__, text_of(error))
    outcome: Outcome = "failure" if error.retry_after is None or not error.retryable else "overloaded"
    return Failure(outcome, error.kind, text_of(error), error.retryable, error.retry_after)


def stopped_by(error: BaseException) -> tuple[Reason, str]:
    """The reason and detail for a message whose task ended by an exception that is not an attempt's."""
    if isinstance(error, Exception):
        return "internal", f"{type(error).__name__}: {text_of(error)}"
    return "cancelled", f"the task that delivered it was stopped by {type(error).__name__}"


def after(run: Run, otherwise: str = "") -> str:
    """After how many attempts, and how the last one ended; ``otherwise`` where there was none."""
    return f" after {count_of(len(run.attempts))}; the last: {last_of(run)}" if run.attempts else otherwise


def count_of(attempts: int) -> str:
    """So many attempts, in words."""
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def last_of(run: Run) -> str:
    """How the last attempt ended."""
    last = run.attempts[-1]
    return f"{last.destination}: {last.kind}: {last.error}"


def moment(at: float) -> str:
    """A time, given in Unix seconds, in words; rounded up to whole seconds."""
    return "at " + datetime.fromtimestamp(math.ceil(min(at, _LAST)), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def text_of(error: BaseException) -> str:
    """The exception's text, shortened."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - somebody else's exception; it must not take the message with it
        text = f"(no text: {type(broken).__name__})"
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
