"""From single checks to a state: flapping is damped by counting what comes in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Health = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What the checks of one destination have found."""

    destination: str
    kind: str
    """http, tcp, tls, callable or heartbeat."""
    health: Health
    checks: int
    """Checks made, or heartbeats received."""
    failed: int
    """Checks that failed, or times it fell silent."""
    in_a_row: int
    """How many times in a row the last finding has been made, whether good or bad."""
    problem: str | None
    """What was wrong at the last check; None if nothing was."""


class Verdict:
    """The state of one destination: ``fall`` failures in a row make it unhealthy, ``rise`` good checks bring it back.

    A destination is healthy until shown otherwise. One that is in use and answers ``degraded`` is that at once: it
    goes on serving, only behind the others.
    """

    def __init__(self, destination: str, kind: str, *, fall: int, rise: int) -> None:
        self._destination, self._kind = destination, kind
        self._fall, self._rise = fall, rise
        self.health: Health = "healthy"
        self._checks = self._failed = self._in_a_row = 0
        self._problem: str | None = None

    def good(self, health: Health = "healthy") -> Health:
        """A check that found it fit, ``healthy`` or ``degraded``; the state that follows."""
        self._checks += 1
        self._in_a_row = self._in_a_row + 1 if self._problem is None else 1
        self._problem = None
        if self.health != "unhealthy" or self._in_a_row >= self._rise:
            self.health = health
        return self.health

    def bad(self, problem: str) -> Health:
        """A check that failed; the state that follows."""
        self._checks += 1
        self._failed += 1
        self._in_a_row = 1 if self._problem is None else self._in_a_row + 1
        self._problem = problem
        if self._in_a_row >= self._fall:
            self.health = "unhealthy"
        return self.health

    def report(self) -> HealthCheck:
        """What was found so far."""
        return HealthCheck(
            self._destination, self._kind, self.health, self._checks, self._failed, self._in_a_row, self._problem
        )
