"""A router core in a page of Python, for tests of delivery: what it decides is given, and it records every lease."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout.delivery import Deliverer, DeliverySettings
from turnout.errors import NoDestinationError
from turnout.transports import Function, Transports


@dataclass
class FakeLease:
    core: FakeCore
    pool: str
    destination: str
    attempt: int
    is_probe: bool = False
    outcome: str | None = None

    def _end(self, outcome: str) -> bool:
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self.core.in_flight[self.destination] -= 1
        return True

    def success(self, utilisation: float | None = None) -> bool:
        return self._end("success")

    def failure(self, kind: str = "error") -> bool:
        return self._end(f"failure:{kind}")

    def overloaded(self, retry_after: float | None = None) -> bool:
        return self._end(f"overloaded:{retry_after}")

    def cancel(self) -> bool:
        return self._end("cancelled")


@dataclass
class FakePlan:
    core: FakeCore
    pools: tuple[str, ...]
    mode: str = "first"
    quorum: int = 1
    rule: str | None = "r"
    stage: str = "content_based"
    resume: int | None = None

    def acquire(self, *, branch: int | None = None, exclude: Sequence[str] = (), attempt: int = 1) -> FakeLease:
        pools = self.pools if branch is None else (self.pools[branch],)
        for pool in pools:
            for destination in self.core.pools[pool]:
                if destination not in exclude and self.core.eligible(destination):
                    lease = FakeLease(self.core, pool, destination, attempt)
                    self.core.in_flight[destination] += 1
                    self.core.leases.append(lease)
                    return lease
        out = [
            self.core.out_until[name] for pool in pools for name in self.core.pools[pool] if name in self.core.out_until
        ]
        raise NoDestinationError(pools[0], "none is free", min(out) if out else None)


@dataclass
class FakeCore:
    """Destinations are taken in the order of their pool; each may have a cap, or be out until a Unix time."""

    pools: dict[str, list[str]] = field(default_factory=lambda: {"p": ["a", "b", "c"]})
    mode: str = "first"
    quorum: int = 1
    caps: dict[str, int] = field(default_factory=dict)
    out_until: dict[str, float] = field(default_factory=dict)
    decide: Callable[[Any], FakePlan] | None = None
    in_flight: Counter[str] = field(default_factory=Counter)
    leases: list[FakeLease] = field(default_factory=list)
    generation: int = 1

    def _plan(self, message: Any, start: int = 0) -> FakePlan:
        if self.decide is not None:
            return self.decide(message)
        return FakePlan(self, tuple(self.pools), self.mode, self.quorum)

    def _pools(self) -> list[dict[str, Any]]:
        return [{"id": pool, "destinations": [{"id": name} for name in names]} for pool, names in self.pools.items()]

    def eligible(self, destination: str) -> bool:
        if self.out_until.get(destination, 0.0) > time.time():
            return False
        return self.in_flight[destination] < self.caps.get(destination, 1_000_000)

    @property
    def outcomes(self) -> list[str | None]:
        return [lease.outcome for lease in self.leases]

    @property
    def destinations(self) -> list[str]:
        return [lease.destination for lease in self.leases]


def deliverer(core: FakeCore, function: Function | Mapping[str, Function], **settings: Any) -> Deliverer:
    """A deliverer whose destinations all call ``function``, or each its own; backoff is short unless set."""
    names = {name for pool in core.pools.values() for name in pool}
    functions = function if isinstance(function, Mapping) else dict.fromkeys(names, function)
    transports = Transports({name: f"callable:{name}" for name in names})
    for name, fn in functions.items():
        transports.register(name, fn)
    settings = {"base_delay": 0.0, "max_delay": 0.0, "budget_per_second": 1000.0, **settings}
    return Deliverer(core, DeliverySettings(**settings), transports, seed=1)


def assert_settled(deliverer: Deliverer, core: FakeCore) -> None:
    """Nothing is held, nothing is waiting, everything is accounted for."""
    ledger = deliverer.ledger
    assert ledger.balanced, ledger
    assert ledger.waiting == ledger.in_flight == 0
    assert +core.in_flight == Counter()
    assert None not in core.outcomes
    assert sum(ledger.reasons.values()) == ledger.dead_lettered + ledger.expired + ledger.partial


async def answer(message: object, destination: str) -> str:
    return destination


def failing(*bad: str, error: BaseException | None = None) -> Any:
    """A function that fails at these destinations and answers at others."""

    async def function(message: object, destination: str) -> str:
        if destination in bad:
            raise error or ConnectionError("down")
        return destination

    return function


async def hang(message: object, destination: str) -> None:
    await asyncio.sleep(60)


async def slow(message: object, destination: str) -> None:
    await asyncio.sleep(0.005)
