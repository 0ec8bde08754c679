"""The hub's providers, simulated: each waits as long as a real one would, and ``mail-north`` has an outage half-way.

``turnout run --app`` imports this file and calls :func:`setup` with the router, before it starts. Replace a
:class:`Provider` by a function that calls a real API, and the rest stays as it is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout import DeliveryError, Router

SEED = 7


@dataclass
class Outage:
    """Refuses everything from the ``after``-th call on, until ``seconds`` have passed and ``refusals`` were answered.

    Shorter than the ejection it causes (``recovery_time``), so that the trial after the ejection succeeds, on a slow
    machine too; with at least as many refusals as ejection needs (5 in a row), so that there is one.
    """

    after: int
    seconds: float
    refusals: int
    began: float | None = None
    answered: int = 0

    def refuses(self, call: int, now: float) -> bool:
        """Whether the call with this number is refused."""
        if call < self.after:
            return False
        if self.began is None:
            self.began = now
        return self.answered < self.refusals or now - self.began < self.seconds


@dataclass
class Provider:
    """An API that takes ``milliseconds`` for a message, give or take, and remembers what it took."""

    name: str
    milliseconds: float
    outage: Outage | None = None
    calls: int = 0
    received: dict[str, int] = field(default_factory=dict)
    """How often it took each message, by id."""

    def __post_init__(self) -> None:
        self._rng = random.Random(f"{SEED} {self.name}")

    async def __call__(self, message: Mapping[str, Any], _destination: str) -> None:
        """Takes the message; raises :class:`DeliveryError` during the outage."""
        self.calls += 1
        if self.outage is not None and self.outage.refuses(self.calls, time.monotonic()):
            await asyncio.sleep(0.1)  # in trouble it answers late: after everything it took before
            self.outage.answered += 1
            raise DeliveryError("unavailable", f"{self.name} answers 503")
        await asyncio.sleep(min(self._rng.lognormvariate(0, 0.4) * self.milliseconds, 90) / 1000)
        self.received[message["id"]] = self.received.get(message["id"], 0) + 1


def providers() -> list[Provider]:
    """One for every destination of router.yaml."""
    return [
        Provider("mail-north", 18, Outage(after=250, seconds=0.3, refusals=5)),
        Provider("mail-south", 24),
        Provider("mail-reserve", 40),
        Provider("sms-atlas", 30),
        Provider("sms-borealis", 35),
        Provider("sms-reserve", 60),
        Provider("push-android", 10),
        Provider("push-ios", 12),
        Provider("chat-main", 15),
        Provider("chat-relay", 25),
        Provider("hook-eu", 20),
        Provider("hook-us", 28),
    ]


def preferred_channel(message: Mapping[str, Any]) -> str | None:
    """The custom rule: where no rule applies, the channel that the recipient prefers, which is a pool's name."""
    preferred = message.get("recipient", {}).get("preferred")
    return preferred if preferred in ("push", "chat", "sms") else None


def setup(router: Router) -> None:
    """Gives the router what its configuration names: transports and custom rules."""
    for provider in providers():
        router.transport(provider.name, provider)
    router.custom_rule("preferred-channel", preferred_channel)
