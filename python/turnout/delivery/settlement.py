"""How a message ended, from how its branches did: the delivery that is reported, the dead letters that are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from .clock import clock
from .jobs import Job, Run
from .records import DeadLetter, Delivery, Reason, Status


def delivery_of(job: Job, elapsed: float, *, outbox: bool) -> Delivery:
    """What became of a message whose runs have all ended. ``elapsed``: seconds since it was accepted.

    ``outbox``: whether there is one, which keeps what the router was closed before.
    """
    delivery = _ended(job, elapsed)
    if not outbox or delivery.status == "delivered":
        return delivery
    closed = job.reason == "closed" or any(run.reason == "closed" for run in job.runs)
    return dataclasses.replace(delivery, status="kept") if closed else delivery


def _ended(job: Job, elapsed: float) -> Delivery:
    plan, runs = job.plan, job.runs
    rule, stage = (None, None) if plan is None else (plan.rule, plan.stage)
    if job.redrive is not None and job.redrive.target is not None:
        rule, stage = None, "redrive"
    if len(runs) == 1 and runs[0].index is None:
        run = runs[0]
        return Delivery(
            job.id, run.status or "dead_lettered", rule, stage, run.pool, run.destination, tuple(run.attempts),
            run.reason, run.detail, run.value, elapsed,
        )  # fmt: skip
    if plan is None or not runs:
        status: Status = "expired" if job.reason == "deadline" else "dead_lettered"
        reason = job.reason or "internal"
        past = [
            dataclasses.replace(branch, status=status, reason=reason, detail=job.detail)
            if branch.status == "kept"
            else branch
            for branch in job.past.values()
        ]
        attempts = tuple(attempt for branch in past for attempt in branch.attempts)
        branches = tuple(past) if "" not in job.past else ()
        return Delivery(job.id, status, rule, stage, None, None, attempts, reason, job.detail, None, elapsed, branches)
    took = [run for run in runs if run.status == "delivered"]
    attempts = tuple(attempt for run in runs for attempt in run.attempts)
    branches = tuple(run.branch() for run in runs)
    first = took[0] if took else None
    pool, destination, value = (first.pool, first.destination, first.value) if first else (None, None, None)
    if len(took) >= plan.quorum:
        return Delivery(
            job.id, "delivered", rule, stage, pool, destination, attempts, None, None, value, elapsed, branches
        )
    failed = [run for run in runs if run.status != "delivered"]
    status = "expired" if all(run.status == "expired" for run in failed) else "dead_lettered"
    words = "; ".join(f"{run.pools[0]}: {run.detail}" for run in failed)
    detail = f"{len(took)} of {len(runs)} pools delivered, {plan.quorum} are needed; {words}"
    reason = _common_reason(failed)
    return Delivery(job.id, status, rule, stage, pool, destination, attempts, reason, detail, value, elapsed, branches)


def letters_of(job: Job, delivery: Delivery) -> list[DeadLetter]:
    """The dead letters of a message: one if it was not delivered, else one for each branch of it that failed."""
    at = clock.now()
    if delivery.status == "kept":
        return []
    redriven, lost_branch = (0, None) if job.redrive is None else (job.redrive.times, job.redrive.branch)
    if delivery.status != "delivered":
        pools = job.plan.pools if job.plan is not None else ()
        return [
            DeadLetter(
                id=job.id,
                message=job.message,
                status=delivery.status,
                reason=delivery.reason or "internal",
                detail=delivery.detail or "",
                rule=delivery.rule,
                stage=delivery.stage,
                pool=lost_branch or (pools[0] if len(pools) == 1 else None),
                attempts=delivery.attempts,
                branches=delivery.branches,
                partial=lost_branch is not None,
                priority=job.priority,
                at=at,
                elapsed=delivery.elapsed,
                tried=_tried(job, job.runs),
                redriven=redriven,
            )
        ]
    return [
        DeadLetter(
            id=job.id,
            message=job.message,
            status=branch.status,
            reason=branch.reason or "internal",
            detail=branch.detail or "",
            rule=delivery.rule,
            stage=delivery.stage,
            pool=branch.pool,
            attempts=branch.attempts,
            branches=(),
            partial=True,
            priority=job.priority,
            at=at,
            elapsed=delivery.elapsed,
            tried=_tried(job, [run for run in job.runs if run.pools[0] == branch.pool]),
            redriven=redriven,
        )
        for branch in delivery.branches
        if branch.status != "delivered" and branch.status != "kept"
    ]


def _tried(job: Job, runs: Collection[Run]) -> int:
    """Attempts in all, of the branch that had most."""
    numbers = (attempt.number for run in runs for attempt in run.attempts)
    if not runs:  # it was put by, or there was no plan
        return job.tried + max([0, *(known.earlier + known.tried for known in job.known.values())])
    return job.tried + max([0, *(run.earlier + run.tried for run in runs), *numbers])


def _common_reason(failed: list[Run]) -> Reason:
    reasons = {run.reason for run in failed}
    only = reasons.pop() if len(reasons) == 1 else None
    return only or "branches"
