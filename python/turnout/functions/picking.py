"""Decisions, and the results they are reported in: what ``route_message``, ``balance_load``, ``manage_failover`` share.

Nothing is held: a destination on probation, which only leases may try, is not picked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..config import FailoverConfig, notices
from ..errors import NoDestinationError, NoRouteError
from ..reports import PoolMember
from ..results import FailoverResult, LoadBalancingResult
from ..router import Router
from .poolview import PoolView

if TYPE_CHECKING:
    from .._core import Decision, Plan


def given(name: str | None) -> str:
    """The pool or destination of a decision that is known to have one."""
    if name is None:
        raise NoRouteError("the message is for dead letters")
    return name


def choose(plan: Plan) -> tuple[list[Decision], list[str]]:
    """A destination, or one of every pool with mode ``all``; and the pools that have none though the quorum is met."""
    if plan.mode == "first":
        return [plan.select()], []
    decisions, failed = [], []
    for branch in range(len(plan.pools)):
        try:
            decisions.append(plan.select(branch=branch))
        except NoDestinationError as error:
            failed.append(error)
    if failed and len(decisions) < max(plan.quorum, 1):
        raise failed[0]
    return decisions, [f"branch_failed: {error}" for error in failed]


def pick(router: Router, view: PoolView, message: Any) -> Decision:
    """A destination of one pool, of those that the view shows."""
    plan = router._plan_to({} if message is None else message, view.pool.id, "balance_load")
    return plan.select(exclude=_hidden(view))


def _hidden(view: PoolView) -> list[str]:
    shown = {one.id for one in view.members}
    return [one.id for one in view.pool.destinations if one.id not in shown]


def _idle(router: Router, section: str) -> list[str]:
    """Switches of the section that are set and have no effect under this configuration."""
    return [f"without_effect: {notice}" for notice in notices(router.config) if notice.startswith(f"{section}.")]


def balancing_result(router: Router, view: PoolView, decision: Decision) -> LoadBalancingResult:
    """What was picked of a pool, and the state it was picked from."""
    selected = given(decision.destination)
    warnings = [*_idle(router, "load_balancing"), *view.health_warnings()]
    if decision.panic:
        warnings.append(f"panic: health was ignored, for only {view.pool.healthy_ratio:.0%} are healthy")
    if (warning := view.performance_warning(selected)) is not None:
        warnings.append(warning)
    return LoadBalancingResult(
        selected_destination=view.destination(selected),
        load_distribution=view.load_distribution(),
        health_status=view.health_status(),
        performance=view.performance(selected),
        algorithm=view.pool.in_force,
        reason=decision.reason,
        degraded=tuple(warnings),
    ).with_router(router)


@dataclass(frozen=True)
class _Serving:
    """Who serves a pool now."""

    state: Literal["primary", "failed_over", "panic", "exhausted"]
    active: str | None
    """Id of the destination that serves; None if none does."""
    retry_at: float | None = None
    problem: str | None = None
    """Why none does."""


def _next(router: Router, view: PoolView) -> Decision:
    """Whom the pool would pick next of those that the view shows. Nothing is counted: it is for a report."""
    return router._peek(view.pool.id, _hidden(view))


def _serving(router: Router, view: PoolView, primary: PoolMember, decision: Decision | None) -> _Serving:
    """By the decision if there is one, else the primary if it is eligible; else the core is asked who it would be."""
    if decision is None:
        if primary.eligible and not any(view.state(one.id).failed_over for one in view.members):
            return _Serving("primary", primary.id)
        try:
            decision = _next(router, view)
        except NoDestinationError as error:
            return _Serving("exhausted", None, error.retry_at, str(error))
    if decision.panic:
        return _Serving("panic", decision.destination)
    by_tier = decision.tier == primary.tier and decision.reason != "operator"
    return _Serving("primary" if by_tier else "failed_over", decision.destination)


def failover_result(
    router: Router, view: PoolView, settings: FailoverConfig, decision: Decision | None
) -> FailoverResult:
    """Who serves, who stands by, and how recovery goes. ``decision``: what was picked of this pool, if anything."""
    events = [event for event in router.event_log() if not event.is_of_pool]
    primary = view.primary()
    others = [one for one in view.ranked() if one.id != primary.id] if settings.redundancy else []
    standby = [one for one in others if one.eligible]
    serving = _serving(router, view, primary, decision)
    warnings = [*_idle(router, "failover"), *view.trigger_warnings(events)]
    if serving.problem is not None and standby:
        held = f"{primary.id} is out and failover is not automatic; it could go to {standby[0].id}"
        warnings.append(f"failover_held: {held}")
    elif serving.problem is not None:
        warnings.append(f"exhausted: {serving.problem}")
    if settings.redundancy and not standby:
        warnings.append("no_backup: redundancy is asked for, and no other destination can serve")
    warnings += view.recovery_warnings() + view.monitoring_warnings(settings)
    return FailoverResult(
        primary_destination=view.destination(primary.id),
        backup_destinations=tuple(view.destination(one.id) for one in others),
        failover_status=view.failover_status(serving.state, serving.retry_at),
        recovery_metrics=view.recovery_metrics(settings),
        health_status=view.health_status(),
        active_destination=None if serving.active is None else view.destination(serving.active),
        degraded=tuple(warnings),
    ).with_router(router)
