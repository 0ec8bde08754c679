"""The router: decisions in Rust, deliveries in asyncio, one object for both.

``route``, ``acquire`` and their kin are methods of the Rust class that :class:`Router` extends, so deciding has no
Python frame in between. What is here: configuration and operation, and handing custom rules to
:class:`~turnout.custom_rules.CustomRules` and deliveries to :class:`~turnout.delivery.Deliverer`.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from . import _core
from .config import RouterConfig, extend, load_dict, load_file
from .config.core import core_spec
from .config.rules import check_disabled, located
from .custom_rules import CustomRule, CustomRules
from .delivery import NO_TERMS, DeadLetters, Deliverer, Delivery, Ledger, Terms
from .errors import ConfigError, DeliveryError, MessageError, RuleError, TurnoutError
from .events import MOST, EventStream, EventStreams
from .health import Check, Health, HealthCheck, HealthChecks, checks_of
from .reports import Event, Explanation, Stats
from .sources import Bridged, Source, bridge
from .sources import source as open_source
from .transports import DEFAULT_THREADS, Function, Transports, targets_of

_log = logging.getLogger("turnout")

_sharing: weakref.WeakSet[Router] = weakref.WeakSet()
"""The routers whose state other processes share."""


def _rejoin() -> None:
    """A child after a fork is a worker of its own, or its crash would look as if its parent lived on."""
    for router in _sharing:
        try:
            router._rejoin()
        except TurnoutError as error:
            _log.warning("after a fork: %s; a crash of this process will go unnoticed until its parent ends", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_rejoin)

Time: TypeAlias = datetime | str | float
"""A datetime with a time zone, an RFC 3339 text, or Unix seconds."""


class Router(_core.Router):
    """Routes messages by rules to pools of destinations, and delivers them.

    Deciding (``route``, ``route_json``, ``route_many``, ``route_ndjson``, ``acquire``, ``explain``) works at once, from
    any thread.
    Delivering (``dispatch``, ``accept``, ``join``) works inside ``async with router:``.
    """

    config: RouterConfig
    """The live configuration."""
    _code: dict[str, Any]
    _custom: CustomRules
    _transports: Transports
    _deliverer: Deliverer
    _health: HealthChecks
    _events: EventStreams

    def __new__(
        cls,
        config: RouterConfig | Mapping[str, Any] | None = None,
        *,
        rules: Sequence[Mapping[str, Any]] | None = None,
        pools: Mapping[str, Any] | None = None,
        destinations: Mapping[str, Any] | None = None,
        default: str | None = None,
        seed: int | None = None,
    ) -> Self:
        """Builds a router.

        - ``config``: a :class:`~turnout.config.RouterConfig`, or a mapping of its shape.
        - ``rules``, ``pools``, ``destinations``, ``default``: what comes from code besides, as in the configuration.
        - ``seed``: makes random choices repeat, on one thread; None for a different run each time.

        Raises:
            ConfigError: with every problem found, and its place if the configuration was read from a file.
        """
        code = _code(rules, pools, destinations, default)
        loaded = load_dict(config if config is not None else {}, code=code)
        try:
            self = super().__new__(cls, core_spec(loaded), seed)
        except RuleError as error:
            raise located(loaded, (error, *error.others)) from None
        check_disabled(loaded)
        self.config = loaded
        self._code = code
        self._custom = CustomRules(self._exists)
        self._transports = Transports(targets_of(loaded))
        self._deliverer = Deliverer(self, loaded, self._transports, decide=self._decide, seed=seed)
        self._health = HealthChecks(self.set_health, checks_of(loaded), seed=seed)
        self._events = EventStreams(self._event_log())
        if loaded.state.shared is not None:
            _sharing.add(self)
        return self

    @classmethod
    def from_yaml(cls, path: str | PathLike[str], **code: Any) -> Self:
        """A router from a YAML (or JSON, by its name) file; ``code`` as for the constructor.

        Raises:
            ConfigError: the file cannot be read or is not valid; problems have line and column.
        """
        seed = code.pop("seed", None)
        return cls(load_file(Path(path), code=_code(**code)), seed=seed)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **code: Any) -> Self:
        """A router from a mapping of the configuration's shape; ``code`` as for the constructor."""
        return cls(config, **code)

    # Configuration

    def reload(self, config: RouterConfig | Mapping[str, Any] | str | PathLike[str]) -> int:
        """Replaces the configuration at once and as a whole; live state of destinations that stay is kept.

        Rules are compiled without the GIL. Messages under way finish on the configuration they began with.

        Returns:
            The number of the new generation.

        Raises:
            ConfigError: it is not valid; the old configuration stays live.
        """
        if isinstance(config, (str, PathLike)):
            loaded = load_file(Path(config), code=self._code)
        elif isinstance(config, RouterConfig):
            loaded = extend(config, self._code) if self._code else config
        else:
            loaded = load_dict(config, code=self._code)
        check_disabled(loaded)
        self._deliverer.check(loaded)
        checks = self._health.prepare(checks_of(loaded))
        try:
            generation = self._reload(core_spec(loaded))
        except RuleError as error:
            raise located(loaded, (error, *error.others)) from None
        self.config = loaded
        self._health.replace(checks)
        self._transports.update(targets_of(loaded))
        self._deliverer.reconfigure(loaded)
        return generation

    def transport(
        self, name: str, function: Function, *, threads: int = DEFAULT_THREADS, batch: int | None = None
    ) -> None:
        """Makes ``function(message, destination)`` what ``callable:<name>`` destinations call.

        An ``async`` function is awaited; any other runs in a thread, so that it cannot hold up the event loop.
        What it returns is ``Delivery.value``; what it raises is a failed attempt. One with a parameter ``deadline`` is
        told when the attempt's time is up, in Unix seconds.

        - ``threads``: how many calls of a function that is not ``async`` may run at once.
        - ``batch``: it takes a list of up to so many messages, those that came while it was at work on the last, and
          returns None or a list of one answer each; an exception among them is that message's failure.

        Raises:
            ConfigError: it is not callable.
        """
        self._transports.register(name, function, threads=threads, batch=batch)

    # Custom rules

    def custom_rule(self, name: str, function: CustomRule) -> None:
        """Adds a rule of the stage ``custom_rules``, tried after those added before.

        ``function(message)`` returns the id of a pool or destination, or None for no opinion. If it raises, or names
        what does not exist, the error is logged and counted and the next rule is tried.

        Raises:
            ConfigError: the name is taken, or the function is not callable.
        """
        self._custom.add(name, function)

    @property
    def custom_rule_failures(self) -> Mapping[str, int]:
        """How often each custom rule raised or named what does not exist."""
        return self._custom.failures

    def _custom_rules(self, message: Any) -> tuple[str, str] | None:
        """Called by the core where the stage is reached and nobody can await: name and target, or None."""
        return self._custom.ask(message)

    async def _decide(self, message: Any) -> _core.Plan:
        """The plan of a message, custom rules included."""
        plan = self._plan(message)
        while plan.resume is not None:
            found = await self._custom.ask_all(message)
            if found is not None:
                return self._plan_to(message, found[1], found[0])
            plan = self._plan(message, plan.resume)
        return plan

    def _exists(self, name: str) -> bool:
        return name in self.config.pools or name in self.config.destinations

    # Delivery

    async def start(self) -> None:
        """Opens the transports and starts the health checks. ``async with`` does it.

        Raises:
            ConfigError: a transport cannot work, such as a spool directory that cannot be written; or a health check,
                such as one by a function that nobody gave.
        """
        self._health.start()
        try:
            await self._deliverer.start()
        except BaseException:
            await self._health.stop()
            raise

    async def close(self, drain: float = 30.0) -> None:
        """Accepts nothing more, settles what was accepted for up to ``drain`` seconds, dead-letters the rest; with an
        outbox the rest stays there, and the next start goes on with it."""
        try:
            await self._deliverer.close(drain)
        finally:
            await self._health.stop()
            self._events.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def dispatch(
        self,
        message: Any,
        *,
        not_before: Time | None = None,
        expires_at: Time | None = None,
        ordering_key: str | None = None,
        message_id: str | None = None,
        on_accept: Callable[[], None] | None = None,
    ) -> Delivery:
        """Accepts a message, decides, delivers, fails over; returns when it is settled.

        - ``not_before``, ``expires_at``: when it is due, and when it stops being worth delivering: a datetime with a
          time zone, an RFC 3339 text, or Unix seconds. They win over the message's fields of these names.
        - ``ordering_key``: messages of one such key are attempted one after another in every pool, in their order of
          acceptance. It wins over the message's field too.
        - ``message_id``: the id of a message that brings none.
        - ``on_accept``: called when it is accepted, with an outbox on disk; not where its id was brought before.

        Raises:
            MessageError: it is no message; it was not accepted.
            DeliveryError: nothing can be accepted now: the router is closed, or its dead letters are full.
        """
        terms = _terms(not_before, expires_at, ordering_key, message_id)
        return await self._deliverer.dispatch(message, terms, on_accept)

    async def accept(
        self,
        message: Any,
        *,
        not_before: Time | None = None,
        expires_at: Time | None = None,
        ordering_key: str | None = None,
        message_id: str | None = None,
    ) -> str:
        """Accepts a message and returns its id; it is settled behind. Waits while ``performance.max_waiting`` wait.

        ``not_before``, ``expires_at``, ``ordering_key``, ``message_id``: as for ``dispatch``.

        Raises:
            MessageError, DeliveryError: as for ``dispatch``.
        """
        return await self._deliverer.accept(message, _terms(not_before, expires_at, ordering_key, message_id))

    def on_settled(self, told: Callable[[Delivery], None] | None) -> None:
        """From now on ``told`` is told, on the event loop, of each message that was settled: also of those that
        ``accept`` took, or an earlier run. It must not raise, nor take long. None: nobody is told."""
        self._deliverer.on_settled(told)

    @property
    def under_way(self) -> int:
        """Messages that are delivered now, or wait for their turn in memory; not those that wait for a time or, with
        an ordering key, for others. Who brings messages faster than they settle looks here: they expire by
        ``performance.timeout`` while they wait."""
        return self._deliverer.under_way

    async def accept_many(self, messages: Iterable[Any]) -> list[str | MessageError | DeliveryError]:
        """As ``accept`` of each, with one wait for the disk: ids in order, or the error by which one was refused."""
        return await self._deliverer.accept_many(messages)

    async def dispatch_many(self, messages: Iterable[Any]) -> list[Delivery | MessageError | DeliveryError]:
        """As ``dispatch`` of each at once, with one wait for the disk: deliveries in order, or the error by which one
        was refused."""
        return await self._deliverer.dispatch_many(messages)

    async def join(self) -> None:
        """Returns when everything accepted is settled."""
        await self._deliverer.join()

    async def run(self, source: Source | str, *, drain: float = 30.0, **options: Any) -> Bridged:
        """Brings the messages of a source until it ends, and says how many; the router must have started.

        A message is acknowledged at its broker when it is in the outbox; without one when it is delivered, and what was
        given up on goes back to the broker. When the calling task is cancelled nothing more is fetched, and what is in
        flight gets ``drain`` seconds to settle. See :mod:`turnout.sources`.

        - ``source``: a source, or a url such as ``redis://HOST/0`` with ``options`` as keywords.

        Raises:
            ConfigError: the source cannot work.
            OSError: it cannot be read any further.
        """
        made = open_source(source, **options) if isinstance(source, str) else source
        return await bridge(self, made, drain=drain)

    @property
    def ledger(self) -> Ledger:
        """What became of every message accepted."""
        return self._deliverer.ledger

    @property
    def dead_letters(self) -> DeadLetters:
        """Messages given up on, with the reason and every attempt."""
        return self._deliverer.dead_letters

    # Operation

    def drain(self, destination: str) -> None:
        """Gives a destination nothing new; what it holds finishes. Raises ConfigError if there is none of that id."""
        self._set_admin(destination, "draining")

    def enable(self, destination: str) -> None:
        """Puts a drained or disabled destination back into use, with a slow start (``failover.slow_start``)."""
        self._set_admin(destination, "enabled")

    def disable(self, destination: str) -> None:
        """Takes a destination out of use, in panic too."""
        self._set_admin(destination, "disabled")

    def fail_over(self, name: str, to: str | None = None, *, hold: float | None = None) -> list[str]:
        """Moves messages elsewhere: a manual failover, whatever the failover mode, health and breakers say.

        Destinations are taken out in every pool that has them, and panic does not use them. What they hold finishes;
        further attempts at messages follow. Survives a reload. A second call replaces what the first one said.

        - ``name``: a pool, whose first tier is taken out; or a destination.
        - ``to``: the destination that receives first, in pools that have it, as long as it is fit; None for the others
          of the tier, then the next tier.
        - ``hold``: seconds, above 0, after which they come back by themselves with a slow start; None until
          :meth:`fail_back`.

        Returns:
            Ids of the destinations taken out.

        Raises:
            ConfigError: there is no such pool or destination, or ``hold`` is out of range.
            FailoverError: ``to`` cannot take over, or a pool would be left without a destination.
        """
        if hold is not None and not hold > 0:
            raise ConfigError(f"hold: {hold}; write seconds above 0, or None until fail_back")
        return self._fail_over(name, to, hold)

    def fail_back(self, name: str, *, ramp: bool = True) -> list[str]:
        """Ends :meth:`fail_over` of a destination, or of all destinations of a pool.

        ``ramp``: with a slow start (``failover.slow_start``) instead of at once.

        Returns:
            Ids of the destinations that were failed over.

        Raises:
            ConfigError: there is no such pool or destination.
        """
        return self._fail_back(name, ramp)

    # Health

    def health_check(self, name: str, function: Check) -> None:
        """Makes ``function(destination)`` what destinations with ``health_check: {callable: <name>}`` are checked by.

        An ``async`` function is awaited; any other runs in a thread. None and true mean healthy, false and any
        exception a failed check; ``"healthy"``, ``"degraded"`` and ``"unhealthy"`` say it in words.

        Raises:
            ConfigError: it is not callable.
        """
        self._health.register(name, function)

    def heartbeat(self, destination: str, health: Health = "healthy", *, utilisation: float | None = None) -> None:
        """A destination with ``health_check: {heartbeat: ...}`` tells that it is alive. From any thread.

        - ``health``: how it says it is. Unhealthy, it is so at once.
        - ``utilisation``: its load, as for ``Lease.success``; it counts whether or not heartbeats are heard.

        Raises:
            ConfigError: there is no such destination, health or load, or it is not to be heard by heartbeats.
        """
        if utilisation is not None:
            self._report_utilisation(destination, utilisation)
        self._health.heartbeat(destination, health)

    def set_health(self, destination: str, health: Health) -> None:
        """Sets a destination's health from outside; its health check, if it has one, goes on from what it knows.

        Raises:
            ConfigError: there is no such destination or health.
        """
        self._set_health(destination, health)

    def health_checks(self) -> dict[str, HealthCheck]:
        """What the health checks have found, by destination; of those that are checked."""
        return self._health.reports()

    def stats(self) -> Stats:
        """Counters and latencies, read without stopping anything."""
        return Stats.from_core(self._destinations(), self._pools(), self._stats())

    def event_log(self, since: int = 0) -> list[Event]:
        """Changes of destinations' states after event number ``since``; of the last 1,024."""
        return [Event.from_core(event) for event in self._events.log.since(since)]

    def events(self, *, since: int | None = None, size: int = MOST) -> EventStream:
        """Changes of destinations' states as they happen, to be read by ``async for``, until the router closes.

        There may be any number of streams. One that is read too slowly, or not at all, holds nobody up.

        - ``since``: begin after the event of this number, if it is one of the last 1,024; None for those to come.
        - ``size``: most events that may wait to be read, 1 to 1,024. Beyond it the oldest are passed over, and counted
          in ``EventStream.dropped``.

        Raises:
            ConfigError: ``size`` is out of range, or ``since`` is negative.
        """
        if not 1 <= size <= MOST:
            raise ConfigError(f"size: {size}; write 1 to {MOST}")
        if since is not None and since < 0:
            raise ConfigError(f"since: {since}; write the number of an event, or 0 for all that are kept")
        return self._events.open(since, size)

    def explain(self, message: Any, *, rules: Iterable[str] | Literal["all"] | None = None) -> Explanation:
        """The winner, the candidates, how the index found each and why it matched or not.

        - ``rules``: ids of rules to explain besides, candidates or not; ``"all"`` for every rule. Without it, the cost
          is that of finding all matches, however many rules there are.

        Raises:
            ConfigError: there is no rule of an id in ``rules``.
            MessageError: not a message, or a field that a stage needs cannot be read.
        """
        stage = self._stage(message)
        while isinstance(stage, int):
            stage = "custom_rules" if self._custom_rules(message) is not None else self._stage(message, stage)
        return Explanation.from_core(self._explain(message, rules), stage)


def _code(
    rules: Sequence[Mapping[str, Any]] | None = None,
    pools: Mapping[str, Any] | None = None,
    destinations: Mapping[str, Any] | None = None,
    default: str | None = None,
) -> dict[str, Any]:
    given = {"rules": rules, "pools": pools, "destinations": destinations, "default": default}
    return {key: value for key, value in given.items() if value is not None}


def _terms(not_before: Time | None, expires_at: Time | None, ordering_key: str | None, message_id: str | None) -> Terms:
    if not_before is None and expires_at is None and ordering_key is None and message_id is None:
        return NO_TERMS
    return Terms(not_before, expires_at, ordering_key, message_id)
