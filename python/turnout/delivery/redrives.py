"""From a dead letter to a message again: where it goes, and what it remembers of before."""

from __future__ import annotations

from .admission import read_envelope
from .clock import clock
from .jobs import Job, Redrive
from .records import DeadLetter


def redriven(letter: DeadLetter, to: str | None, number: int) -> Job:
    """A job for the letter's message, not accepted yet. Its own deadline counts as before, all else begins anew.

    ``to``: a pool or destination; None: the pool of a partial letter, else routing says, less the pools that have it.
    """
    job = Job(letter.id, letter.message, letter.priority, number, expiry_of(letter))
    job.accepted = clock.now()
    job.redrive, job.took, job.tried, job.letter = redrive_of(letter, to), took_of(letter), letter.tried, letter.number
    return job


def redrive_of(letter: DeadLetter, to: str | None) -> Redrive:
    """What its message carries."""
    branch = letter.pool if letter.partial else None
    return Redrive(letter.redriven + 1, to or branch, branch)


def took_of(letter: DeadLetter) -> frozenset[str]:
    """The pools that have it already."""
    return frozenset(branch.pool for branch in letter.branches if branch.status == "delivered")


def expiry_of(letter: DeadLetter) -> float | None:
    """The message's own deadline, in Unix seconds."""
    return read_envelope(letter.message, strict=False).expires
