"""What a run came to: the counts of the ledger, of rules and of destinations, as tables or as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from ..delivery import Ledger
from ..reports import DestinationStats, Event, Stats
from .output import OK, UNDELIVERED, console, duration, print_json, table

_SHOWN_EVENTS = 30
"""Events in the timeline: the first half and the last half of it, if there are more."""

_COLUMNS = (
    "destination", "pool", "tier", "attempts", "delivered", "failures", "ejections", "recoveries", "p50 ms", "p99 ms",
    "state",
)  # fmt: skip
_NARROW_COLUMNS = (
    "destination", "pool", "tier", "tried", "ok", "failed", "out", "back", "p50 ms", "p99 ms", "state",
)  # fmt: skip
_WIDE = 110
"""Columns of a terminal that the long heads fit into."""


@dataclass(frozen=True)
class Summary:
    """Everything that is told at the end. All plain values."""

    seconds: float
    rejected: int
    """Lines that were no message, and messages that the router refused: never accepted."""
    routed: Mapping[tuple[str | None, str | None], int]
    """Messages that were settled, by the stage that decided and the rule; None for no stage, or no rule."""
    failovers: int
    """Attempts that went to another destination than the failed one before."""
    ledger: Ledger
    stats: Stats
    events: Sequence[Event]
    stopped_by: str | None
    """The signal that ended the run before its input did."""
    trouble: str | None
    """What else ended the run before its input did."""

    @property
    def exit_code(self) -> int:
        """0 if everything that was given was delivered, else 1."""
        return UNDELIVERED if self.rejected or self.trouble or self.ledger.delivered < self.ledger.accepted else OK

    def as_dict(self) -> dict[str, Any]:
        """The summary for ``--json``."""
        return {
            "seconds": round(self.seconds, 3),
            "rejected": self.rejected,
            "failovers": self.failovers,
            "routed": [{"stage": stage, "rule": rule, "messages": n} for (stage, rule), n in self.routed.items()],
            "ledger": {**self.ledger.as_dict(), "lost": self.ledger.lost, "balanced": self.ledger.balanced},
            "stats": self.stats.as_dict(),
            "events": [event.as_dict() for event in self.events],
            "stopped_by": self.stopped_by,
            "trouble": self.trouble,
        }

    def print_json(self) -> None:
        """The summary as one JSON value on standard output."""
        print_json(self.as_dict())

    def print_tables(self, rule_ids: Sequence[str]) -> None:
        """The summary for people on standard output; ``rule_ids``: all rules, in the order of the file."""
        out = console(sys.stdout)
        wide = out.width >= _WIDE
        parts: list[RenderableType] = [self._rules(rule_ids), self._destinations(wide)]
        if self.events:
            parts.append(self._timeline())
        if self.ledger.reasons:
            rows = sorted(self.ledger.reasons.items(), key=lambda row: -row[1])
            parts.append(table("Dead letters", ["reason", "letters"], rows, right=["letters"]))
        parts.append(self._totals())
        for part in parts:
            with out.capture() as captured:
                out.print(part)
            # Tables fill their lines with spaces, which in a pipe are in the way.
            print("\n".join(line.rstrip() for line in captured.get().splitlines()), end="\n\n")
        out.print(self._ledger(), soft_wrap=True)

    def _rules(self, rule_ids: Sequence[str]) -> RenderableType:
        counts = {("content_based", rule): 0 for rule in rule_ids} | dict(self.routed)
        rows = [(rule or "", stage or "no route", f"{count:,}") for (stage, rule), count in counts.items()]
        return table("Rules", ["rule", "stage", "messages"], rows, right=["messages"])

    def _destinations(self, wide: bool) -> RenderableType:
        stats = self.stats
        columns = _COLUMNS if wide else _NARROW_COLUMNS
        rows = [
            _row(stats.destinations[member.id], pool.id, member.tier)
            for pool in stats.pools.values()
            for member in pool.destinations
        ]
        return table("Destinations", columns, rows, right=columns[2:-1], gap=2 if wide else 1)

    def _timeline(self) -> RenderableType:
        events = list(self.events)
        began = events[0].at
        half = _SHOWN_EVENTS // 2
        shown = events if len(events) <= _SHOWN_EVENTS else [*events[:half], *events[-half:]]
        rows = [(f"+{event.at - began:.2f} s", event.destination, event.kind, event.reason) for event in shown]
        others = events[-1].seq - len(shown)  # numbers have no gaps, though the router forgets the oldest
        left_out = f"; {others:,} others are left out" if others else ""
        title = f"Timeline from {time.strftime('%H:%M:%S', time.localtime(began))}{left_out}"
        return table(title, ["after", "destination", "event", "why"], rows, right=["after"])

    def _totals(self) -> RenderableType:
        ledger, times = self.ledger, self.stats.decision_ns
        per_second = ledger.delivered / self.seconds if self.seconds else 0.0
        rows = [
            ("time", f"{self.seconds:.2f} s, {per_second:,.0f} delivered a second"),
            ("attempts", f"{ledger.attempts:,}, of which {ledger.retries:,} retries and {self.failovers:,} failovers"),
            ("decision", f"p50 {_scaled(times.p50, 1e-9)}, p99 {_scaled(times.p99, 1e-9)}"),
            ("delivery", f"p50 {_scaled(ledger.p50_ms, 1e-3)}, p99 {_scaled(ledger.p99_ms, 1e-3)}"),
        ]
        if ledger.partial:
            rows.append(("partial", f"{ledger.partial:,} branches failed of messages that were delivered elsewhere"))
        if self.stopped_by:
            rows.append(("stopped", f"by {self.stopped_by}, before the input ended"))
        if self.trouble:
            rows.append(("trouble", self.trouble))
        return table("Run", ["what", "how much"], rows)

    def _ledger(self) -> Text:
        ledger = self.ledger
        balance = (
            f"Ledger: {ledger.accepted:,} accepted = {ledger.delivered:,} delivered"
            f" + {ledger.dead_lettered:,} dead-lettered + {ledger.expired:,} expired"
            f"{f' + {ledger.kept:,} kept for the next start' if ledger.kept else ''} + {ledger.waiting:,} waiting;"
            f" lost = {ledger.lost}"
        )
        text = Text(balance, style="bold green" if self.exit_code == OK else "bold yellow")
        if self.rejected:
            text.append(f"\n{self.rejected:,} rejected, never accepted: see the lines named above", style="yellow")
        if not ledger.balanced:
            text.append("\nThe ledger does not balance: that is a bug of turnout; please report it", style="bold red")
        return text


def _row(one: DestinationStats, pool: str, tier: int) -> tuple[object, ...]:
    counts = (one.attempts, one.successes, one.failures + one.overloaded, one.ejections, one.recoveries)
    times = ("-" if time is None else f"{time:.1f}" for time in (one.p50_ms, one.p99_ms))
    return (one.id, pool, tier, *(f"{count:,}" for count in counts), *times, one.state)


def _scaled(value: float | None, unit: float) -> str:
    return duration(None if value is None else value * unit)
