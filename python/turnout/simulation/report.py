"""What a simulation measured, as plain values. Latencies are in milliseconds, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..reports import Report

FORMATS = (".png", ".svg")
"""How the name of a picture may end that :mod:`.plot` draws."""


@dataclass(frozen=True)
class Latency(Report):
    """Latencies of messages or attempts; quantiles are off by at most 1.6 %."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class DestinationOutcome(Report):
    """One destination, all routers together."""

    id: str
    attempts: int
    share: float
    """Its part of all attempts, 0..1."""
    successes: int
    failures: int
    """Attempts that failed, time-outs included."""
    timeouts: int
    overloaded: int
    """Attempts answered with a request for a pause."""
    ejections: int
    recoveries: int
    most_in_flight: int
    latency: Latency | None
    """Of its successes."""


class States(NamedTuple):
    """How many routers see a destination in which state."""

    in_use: int
    ramping: int
    probation: int
    out: int


@dataclass(frozen=True)
class Point(Report):
    """A point of the series: the messages that came in it, and the states of destinations at its end."""

    at: float
    """Its start, seconds from the start of the simulation."""
    messages: int
    undelivered: int
    p50_ms: float | None
    p99_ms: float | None
    attempts: Sequence[int]
    """By destination, as are the states."""
    states: Sequence[States]


@dataclass(frozen=True)
class Switch(Report):
    """A policy that ``auto`` put on trial, kept or replaced."""

    at: float
    """Seconds from the start of the simulation."""
    pool: str
    """The pool's id; of the second router on with ``#1``, ``#2``."""
    to: str
    """The policy in force from then on."""
    reason: str


@dataclass(frozen=True)
class PolicyOutcome(Report):
    """What one policy made of the scenario. ``messages = delivered + failed + unrouted``, but for a run cut short."""

    policy: str
    bounded_load: float | None
    """The bound of load it ran with: the pool's, under policies by key."""
    messages: int
    """Messages that came after the warm-up."""
    delivered: int
    failed: int
    """Messages whose last attempt failed."""
    unrouted: int
    """Messages that no destination could take."""
    attempts: int
    timeouts: int
    events: int
    """Events that were computed."""
    latency: Latency | None
    """From the arrival of a message to its delivery."""
    destinations: Sequence[DestinationOutcome]
    series: Sequence[Point]
    switches: Sequence[Switch]
    """What ``auto`` did, in the order of time."""
    ended_early: str | None
    """Why the run ended before its time, if it did."""

    @property
    def ejections(self) -> int:
        """Ejections of all destinations by all routers."""
        return sum(one.ejections for one in self.destinations)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> PolicyOutcome:
        """From what ``turnout._core.simulate`` returns."""
        destinations = [
            DestinationOutcome(**{**one, "latency": _latency(one["latency"])}) for one in raw["destinations"]
        ]
        series = [Point(**{**one, "states": [States(*states) for states in one["states"]]}) for one in raw["series"]]
        switches = [Switch(**one) for one in raw["switches"]]
        made = {"latency": _latency(raw["latency"]), "destinations": destinations, "series": series}
        return cls(**{**raw, **made, "switches": switches})


def _latency(raw: Mapping[str, float] | None) -> Latency | None:
    return None if raw is None else Latency(**raw)


@dataclass(frozen=True)
class Simulated(Report):
    """A pool under several policies, each with the same arrivals and the same work."""

    pool: str
    scenario: str
    """The preset's or file's name."""
    rate: float | None
    """Messages a second; None for a closed loop."""
    duration: float
    routers: int
    shared: bool
    seed: int
    bounded_load: float | None
    """As the pool is configured; None: no bound."""
    outcomes: Sequence[PolicyOutcome]

    @property
    def unbounded(self) -> Sequence[str]:
        """Policies that ran without the pool's bound of load, for they know no keys."""
        return [one.policy for one in self.outcomes if one.bounded_load != self.bounded_load]
