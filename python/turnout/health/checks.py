"""The health checks of a router: a task for each destination, from the router's start to its close.

A destination whose check is unchanged by a reload is watched on, with what is known of it. A check that raises, hangs
or does not heed its cancellation has failed; its task goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from ..config import HealthCheckConfig, RouterConfig
from ..errors import ConfigError, Problem
from .probes import Check, CheckError, Http, Probe, callable_probe, http_probe, tcp_probe
from .verdict import Health, HealthCheck, Verdict

_log = logging.getLogger("turnout")

JITTER: Final = 0.1
"""An interval is up to this share shorter or longer, so that checks do not come in step."""
GRACE: Final = 1.0
"""Seconds that checks under way are given to heed their cancellation when checking stops."""


def checks_of(config: RouterConfig) -> dict[str, HealthCheckConfig]:
    """The health checks of a configuration by destination; none where health is not to count."""
    if not config.load_balancing.health_checking:
        return {}
    found = ((name, destination.health_check) for name, destination in config.destinations.items())
    return {name: check for name, check in found if check is not None}


@dataclass
class _Watch:
    """One destination under check."""

    destination: str
    config: HealthCheckConfig
    verdict: Verdict
    told: Health = "healthy"
    """The health last reported."""
    heard: float = 0.0
    """When the last heartbeat came, by the monotonic clock."""
    task: asyncio.Task[None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Heartbeats come from any thread."""


class HealthChecks:
    """The health checks of a router."""

    def __init__(
        self,
        report: Callable[[str, Health], None],
        checks: Mapping[str, HealthCheckConfig],
        *,
        seed: int | None = None,
    ) -> None:
        """``report`` sets the health of a destination; ``checks`` by destination; ``seed`` makes the jitter repeat."""
        self._report = report
        self._functions: dict[str, Check] = {}
        self._http = Http()
        self._random = random.Random(seed)  # noqa: S311 - jitter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches = {name: _watch(name, check) for name, check in checks.items()}

    def register(self, name: str, function: Check) -> None:
        """Makes ``function`` what checks by the callable ``name`` call, from the next start or reload on.

        Raises:
            ConfigError: it is not callable.
        """
        given: object = function  # whatever it is said to be
        if not callable(given):
            kind = type(given).__name__
            raise ConfigError(f"health check {name!r}: {kind} is not callable; give a function fn(destination)")
        self._functions[name] = function

    def prepare(self, checks: Mapping[str, HealthCheckConfig]) -> Mapping[str, HealthCheckConfig]:
        """Whether ``checks`` can be made: while checking runs, what cannot is an error before anything is replaced.

        Raises:
            ConfigError: a check cannot be made; every problem is listed.
        """
        if self._loop is not None:
            self._probes(checks)
        return checks

    def replace(self, checks: Mapping[str, HealthCheckConfig]) -> None:
        """Takes over the checks of a new configuration, from any thread."""
        loop = self._loop
        if loop is None or _running_loop() is loop:
            self._replace(checks)
        else:
            loop.call_soon_threadsafe(self._replace, checks)

    def _replace(self, checks: Mapping[str, HealthCheckConfig]) -> None:
        before = self._watches
        kept = {name for name, watch in before.items() if checks.get(name) == watch.config}
        self._watches = {name: before[name] if name in kept else _watch(name, check) for name, check in checks.items()}
        for name, watch in before.items():
            if name in kept:
                continue
            if watch.task is not None:
                watch.task.cancel()
            if watch.told != "healthy" and name not in checks:
                self._tell(watch, "healthy")  # nobody would find it fit again
            elif watch.told != "healthy":
                # The new check goes on from the state that the old one found.
                self._watches[name].verdict.health = self._watches[name].told = watch.told
        if self._loop is not None:
            self._start_all()

    def start(self) -> None:
        """Starts checking, on the running loop.

        Raises:
            ConfigError: a check cannot be made; every problem is listed, and no check starts.
        """
        if self._loop is not None:
            return
        self._probes({name: watch.config for name, watch in self._watches.items()})
        self._loop = asyncio.get_running_loop()
        self._start_all()

    def _start_all(self) -> None:
        new = {name: watch for name, watch in self._watches.items() if watch.task is None}
        probes = self._probes({name: watch.config for name, watch in new.items()})
        for name, watch in new.items():
            watch.heard = time.monotonic()
            probe = probes[name]
            work = self._listen(watch) if probe is None else self._ask(watch, probe)
            watch.task = asyncio.get_running_loop().create_task(work, name=f"turnout-health-{name}")

    async def stop(self) -> None:
        """Stops checking. The destinations keep the health they have."""
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        self._loop = None
        for watch in self._watches.values():
            watch.task = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        await self._http.close()

    def heartbeat(self, destination: str, health: Health) -> None:
        """The destination says how it is.

        Raises:
            ConfigError: it is not to be heard by heartbeats, or there is no such health.
        """
        watch = self._watches.get(destination)
        if watch is None or watch.config.heartbeat is None:
            raise ConfigError(
                f"destination {destination!r} is not heard by heartbeats; give it health_check: {{heartbeat: 10s}}"
            )
        if health not in get_args(Health):
            raise ConfigError(f"{health!r} is no health; known: {', '.join(get_args(Health))}")
        with watch.lock:
            watch.heard = time.monotonic()
            if health == "unhealthy":
                self._tell(watch, watch.verdict.bad("it says so itself"))
            else:
                self._tell(watch, watch.verdict.good(health))

    def reports(self) -> dict[str, HealthCheck]:
        """What was found, by destination."""
        return {name: watch.verdict.report() for name, watch in self._watches.items()}

    def _probes(self, checks: Mapping[str, HealthCheckConfig]) -> dict[str, Probe | None]:
        """What asks each destination; None for one that is listened to."""
        probes: dict[str, Probe | None] = {}
        problems: list[Problem] = []
        for name, check in checks.items():
            try:
                probes[name] = self._probe(name, check)
            except ConfigError as error:
                place = ("destinations", name, "health_check")
                problems.extend(Problem(place, problem.message) for problem in error.problems)
        if problems:
            raise ConfigError(problems)
        return probes

    def _probe(self, destination: str, check: HealthCheckConfig) -> Probe | None:
        match check.kind:
            case "http":
                return http_probe(check, self._http)
            case "tcp" | "tls":
                return tcp_probe(check)
            case "callable":
                function = self._functions.get(check.callable or "")
                if function is None:
                    name = check.callable
                    raise ConfigError(f"there is no function {name!r}; give it by router.health_check({name!r}, fn)")
                return callable_probe(destination, function)
        return None

    def _tell(self, watch: _Watch, health: Health) -> None:
        """Reports a change of health. One that cannot be told, since the destination just went, changes nothing."""
        if health == watch.told:
            return
        watch.told = health
        try:
            self._report(watch.destination, health)
        except ConfigError as error:
            _log.info("health of %r was found and nobody wants it: %s", watch.destination, error)

    async def _ask(self, watch: _Watch, probe: Probe) -> None:
        interval = watch.config.interval
        await asyncio.sleep(self._random.uniform(0, interval))  # or all would begin at once
        asked: asyncio.Task[Health] | None = None
        try:
            while True:
                began = time.monotonic()
                if asked is None or asked.done():
                    asked = asyncio.ensure_future(_outcome(probe))
                    asked.add_done_callback(_retrieve)
                    await asyncio.wait({asked}, timeout=watch.config.timeout)
                self._judge(watch, asked)
                pause = interval * self._random.uniform(1 - JITTER, 1 + JITTER)
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
        finally:
            if asked is not None:
                asked.cancel()

    def _judge(self, watch: _Watch, asked: asyncio.Task[Health]) -> None:
        try:
            if not asked.done():
                asked.cancel()
                raise CheckError(f"no answer within {watch.config.timeout:g} s")
            health = watch.verdict.good(asked.result())
        except CheckError as failure:
            health = watch.verdict.bad(str(failure))
        except asyncio.CancelledError:
            health = watch.verdict.bad("the check was cancelled")
        except Exception as error:  # noqa: BLE001 - it is logged, and a failed check
            _log.exception("the health check of %r raised", watch.destination)
            health = watch.verdict.bad(f"{type(error).__name__}: {error}")
        self._tell(watch, health)

    async def _listen(self, watch: _Watch) -> None:
        limit = watch.config.heartbeat or 0.0
        while True:
            left = watch.heard + limit - time.monotonic()
            if left <= 0:
                with watch.lock:
                    self._tell(watch, watch.verdict.bad(f"no heartbeat for {limit:g} s"))
                left = limit
            await asyncio.sleep(left)


async def _outcome(probe: Probe) -> Health:
    return await probe()


def _retrieve(task: asyncio.Task[Health]) -> None:
    """Takes the outcome of a check that was given up, so that asyncio does not complain of an error nobody saw."""
    if not task.cancelled():
        task.exception()


def _watch(destination: str, check: HealthCheckConfig) -> _Watch:
    fall = 1 if check.heartbeat is not None else check.fall
    return _Watch(destination, check, Verdict(destination, check.kind, fall=fall, rise=check.rise))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
