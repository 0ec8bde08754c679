"""Transports: how a message gets to a destination, one module a channel.

A destination's url says which: what stands before its colon, the scheme, is looked up in :data:`SCHEMES`. A transport
serves one destination; it is opened when deliveries start, or at the first attempt. One that needs a package which
turnout itself does not is imported only when a url asks for it. :func:`register` adds a scheme of one's own.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from ..config.channels import FreeOptions, add_scheme
from ..errors import ConfigError, Problem
from .base import Target, Transport
from .batching import Batches
from .callable import DEFAULT_THREADS, CallableTransport, Function, Registered
from .lifetime import Slot, Slots
from .spool import SpoolTransport

if TYPE_CHECKING:
    from ..config import RouterConfig

__all__ = [
    "DEFAULT_THREADS",
    "SCHEMES",
    "Batches",
    "CallableTransport",
    "Function",
    "Slot",
    "SpoolTransport",
    "Target",
    "Transport",
    "Transports",
    "register",
    "targets_of",
]


def targets_of(config: RouterConfig) -> dict[str, Target | None]:
    """Where each destination's transport sends; None for one that only decides."""
    found: dict[str, Target | None] = {}
    for name, one in config.destinations.items():
        url = one.resolved_url()
        secret = None if one.secret is None else one.secret.get_secret_value()
        found[name] = None if url is None else Target(name, url, one.resolved_options(), secret)
    return found


class Transports:
    """The transports of a router, by destination, and the functions given to ``router.transport``.

    A url or a transport is never shown: urls may hold secrets.
    """

    def __init__(self, targets: Mapping[str, Target | str | None]) -> None:
        """``targets``: of every destination, by id; a url stands for one without options, None for only deciding."""
        self.functions: dict[str, Registered] = {}
        self._targets = _as_targets(targets)
        self._current: dict[str, Slot] = {}
        self._slots = Slots()

    def register(
        self, name: str, function: Function, *, threads: int = DEFAULT_THREADS, batch: int | None = None
    ) -> None:
        """Makes ``function`` what ``callable:<name>`` calls, in place of any before it.

        - ``threads``: how many calls may run at once if the function is not ``async``.
        - ``batch``: how many messages it takes at once, at most; None: it takes one. See :data:`Function`.

        Raises:
            ConfigError: it is not callable.
        """
        registered = Registered(name, function, threads, batch)
        before = self.functions.get(name)
        self.functions[name] = registered
        if before is not None:
            before.close()

    def of(self, destination: str) -> Transport:
        """The transport of a destination.

        Raises:
            ConfigError: the destination has no url, or one of a scheme that is not known.
        """
        return self._slot(destination).transport

    def take(self, destination: str) -> Slot:
        """The transport of a destination, for one attempt; :meth:`give_back` ends that.

        Raises:
            ConfigError: as :meth:`of`.
        """
        slot = self._slot(destination)
        slot.users += 1
        return slot

    def give_back(self, slot: Slot) -> None:
        """Ends the use that :meth:`take` began."""
        self._slots.give_back(slot)

    def open(self) -> None:
        """Opens the transport of every destination that has a url.

        Raises:
            ConfigError: some cannot work; every problem is listed. Those that can stay open.
        """
        self._slots.use_loop()
        problems: list[Problem] = []
        for destination, target in self._targets.items():
            if target is None:
                continue
            try:
                self.of(destination).open()
            except ConfigError as error:
                place = ("destinations", destination, "url")
                problems.extend(Problem(place, problem.message) for problem in error.problems)
        if problems:
            raise ConfigError(problems)

    def update(self, targets: Mapping[str, Target | str | None]) -> None:
        """Takes over the targets of a new configuration.

        Attempts under way finish on the transports they began with, which are closed then. From any thread.
        """
        new = _as_targets(targets)
        for destination in [name for name in self._current if new.get(name) != self._targets.get(name)]:
            del self._current[destination]
        self._targets = new
        self._slots.replace(new)

    async def close(self) -> None:
        """Closes every transport, and lets go of the functions' threads. What is used again is opened again."""
        self._current.clear()
        try:
            await self._slots.close()
        finally:
            for registered in self.functions.values():
                registered.close()

    def _slot(self, destination: str) -> Slot:
        slot = self._current.get(destination)
        if slot is None:
            slot = self._current[destination] = self._found(destination)
        return slot

    def _found(self, destination: str) -> Slot:
        target = self._targets.get(destination)
        if target is None:
            raise ConfigError(
                f"destination {destination!r} has no url, so nothing can be delivered to it; "
                f"give it one, such as callable:NAME or spool:DIR"
            )
        scheme = target.url.partition(":")[0]
        make = SCHEMES.get(scheme)
        if make is None:
            known = ", ".join(f"{name}:" for name in SCHEMES)
            raise ConfigError(f"destination {destination!r}: unknown scheme {scheme[:32]!r}; known: {known}")
        return self._slots.find(destination, target, functools.partial(make, self, target))


def _as_targets(targets: Mapping[str, Target | str | None]) -> dict[str, Target | None]:
    return {name: Target(name, one) if isinstance(one, str) else one for name, one in targets.items()}


Make = Callable[[Transports, Target], Transport]


def _callable(transports: Transports, target: Target) -> Transport:
    return CallableTransport(transports.functions, target.rest)


def _spool(transports: Transports, target: Target) -> Transport:
    return SpoolTransport(target.rest.removeprefix("//"), target.destination)


def _optional(module: str, name: str, package: str, extra: str) -> Make:
    """Makes the transport ``name`` of a module here that needs ``package``, which the extra brings."""

    def make(transports: Transports, target: Target) -> Transport:
        if importlib.util.find_spec(package) is None:
            scheme = target.url.partition(":")[0]
            raise ConfigError(f"urls of {scheme}: need the package {package}: pip install 'turnout[{extra}]'")
        transport: Transport = getattr(importlib.import_module(f".{module}", __package__), name)(target)
        return transport

    return make


_webhook = _optional("webhook", "WebhookTransport", "aiohttp", "http")
_redis = _optional("redis", "RedisTransport", "redis", "redis")
_amqp = _optional("amqp", "AmqpTransport", "aio_pika", "amqp")
_smtp = _optional("smtp", "SmtpTransport", "aiosmtplib", "smtp")
_mqtt = _optional("mqtt", "MqttTransport", "aiomqtt", "mqtt")

SCHEMES: Final[dict[str, Make]] = {
    "callable": _callable,
    "spool": _spool,
    "https": _webhook,
    "http": _webhook,
    "redis": _redis,
    "rediss": _redis,
    "nats": _optional("nats", "NatsTransport", "nats", "nats"),
    "amqp": _amqp,
    "amqps": _amqp,
    "smtp": _smtp,
    "smtps": _smtp,
    "mqtt": _mqtt,
    "mqtts": _mqtt,
    "apprise": _optional("apprise", "AppriseTransport", "apprise", "apprise"),
    "kafka": _optional("kafka", "KafkaTransport", "confluent_kafka", "kafka"),
}
"""Makes a destination's transport, by the scheme of its url."""


def register(scheme: str, make: Callable[[Target], Transport], *, options: type[BaseModel] = FreeOptions) -> None:
    """Gives urls of a further scheme a transport, in this process; call it before a configuration is loaded.

    - ``make``: called once for each destination whose url has the scheme.
    - ``options``: pydantic model of the destination's ``options``; by default they may be anything.

    Raises:
        ConfigError: it is no scheme, or is taken.
    """
    add_scheme(scheme, options)
    SCHEMES[scheme] = lambda transports, target: make(target)
