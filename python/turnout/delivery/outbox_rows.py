"""What a message becomes in the outbox when it is accepted: its row, and what was known of its branches before."""

from __future__ import annotations

import json

from .jobs import Job, Redrive
from .outbox_schema import BranchRow, Row


def rows_of(job: Job, run: int, body: bytes) -> tuple[Row, list[BranchRow]]:
    """The rows of a job whose ``seq`` is set. ``run``: the run of the router; ``body``: its message, encoded."""
    row = Row(
        job.seq, job.id, job.priority, job.accepted, job.expires, job.not_before, job.ordering, target_of(job), 0, body
    )
    branches = [BranchRow(job.seq, pool, run, 0, job.tried, 0, 1, None) for pool in job.took]
    if job.tried:
        branches.append(BranchRow(job.seq, "", run, 0, job.tried, 0, 0, None))
    return row, branches


def target_of(job: Job) -> str | None:
    """The column ``target``."""
    return None if job.redrive is None else encode_redrive(job.redrive)


def encode_redrive(redrive: Redrive) -> str:
    """As text, for the column ``target``."""
    return json.dumps(redrive._asdict(), separators=(",", ":"))


def decode_redrive(text: str) -> Redrive:
    """The redrive that :func:`encode_redrive` wrote."""
    return Redrive(**json.loads(text))
