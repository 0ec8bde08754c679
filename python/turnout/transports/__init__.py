"""Transports: how a message gets to a destination, one module a channel.

A destination's url says which: what stands before its colon, the scheme, is looked up in :data:`SCHEMES`. A transport
serves one destination; it is opened when deliveries start, or at the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..errors import ConfigError, Problem
from .base import Transport
from .callable import DEFAULT_THREADS, CallableTransport, Function, Registered
from .spool import SpoolTransport

__all__ = ["DEFAULT_THREADS", "SCHEMES", "CallableTransport", "Function", "SpoolTransport", "Transport", "Transports"]


class Transports:
    """The transports of a router, by destination, and the functions given to ``router.transport``.

    A url or a transport is never shown: urls may hold secrets.
    """

    def __init__(self, urls: Mapping[str, str | None]) -> None:
        """``urls``: of every destination, by id, with their secrets resolved; None for one that only decides."""
        self.functions: dict[str, Registered] = {}
        self._urls = dict(urls)
        self._current: dict[str, Transport] = {}
        # By url too: one that a reload replaced is still in use by attempts under way, and may come back.
        self._made: dict[tuple[str, str], Transport] = {}

    def register(self, name: str, function: Function, *, threads: int = DEFAULT_THREADS) -> None:
        """Makes ``function`` what ``callable:<name>`` calls, in place of any before it.

        ``threads``: how many calls may run at once if the function is not ``async``.

        Raises:
            ConfigError: it is not callable.
        """
        registered = Registered(name, function, threads)
        before = self.functions.get(name)
        self.functions[name] = registered
        if before is not None:
            before.close()

    def of(self, destination: str) -> Transport:
        """The transport of a destination.

        Raises:
            ConfigError: the destination has no url, or one of a scheme that is not known.
        """
        transport = self._current.get(destination)
        if transport is None:
            transport = self._current[destination] = self._make(destination)
        return transport

    def open(self) -> None:
        """Opens the transport of every destination that has a url.

        Raises:
            ConfigError: some cannot work; every problem is listed. Those that can stay open.
        """
        problems: list[Problem] = []
        for destination, url in self._urls.items():
            if url is None:
                continue
            try:
                self.of(destination).open()
            except ConfigError as error:
                place = ("destinations", destination, "url")
                problems.extend(Problem(place, problem.message) for problem in error.problems)
        if problems:
            raise ConfigError(problems)

    def update(self, urls: Mapping[str, str | None]) -> None:
        """Takes over the urls of a new configuration.

        Attempts under way finish on the transports they began with, which are closed with the rest.
        """
        for destination in [name for name in self._current if urls.get(name) != self._urls.get(name)]:
            del self._current[destination]
        self._urls = dict(urls)

    async def close(self) -> None:
        """Closes every transport, and lets go of the functions' threads. What is used again is opened again."""
        transports = list(self._made.values())
        self._current.clear()
        self._made.clear()
        failed = None
        for transport in transports:
            try:
                await transport.close()
            except Exception as error:  # noqa: BLE001 - the others are closed all the same
                failed = error
        for registered in self.functions.values():
            registered.close()
        if failed is not None:
            raise failed

    def _make(self, destination: str) -> Transport:
        url = self._urls.get(destination)
        if url is None:
            raise ConfigError(
                f"destination {destination!r} has no url, so nothing can be delivered to it; "
                f"give it one, such as callable:NAME or spool:DIR"
            )
        made = self._made.get((destination, url))
        if made is not None:
            return made
        scheme, _, rest = url.partition(":")
        make = SCHEMES.get(scheme)
        if make is None:
            known = ", ".join(f"{name}:" for name in SCHEMES)
            raise ConfigError(f"destination {destination!r}: unknown scheme {scheme[:32]!r}; known: {known}")
        transport = self._made[destination, url] = make(self, rest, destination)
        return transport


def _callable(transports: Transports, rest: str, destination: str) -> Transport:
    return CallableTransport(transports.functions, rest)


def _spool(transports: Transports, rest: str, destination: str) -> Transport:
    return SpoolTransport(rest.removeprefix("//"), destination)


SCHEMES: Final[Mapping[str, Callable[[Transports, str, str], Transport]]] = {"callable": _callable, "spool": _spool}
"""Makes a destination's transport, by the scheme of its url."""
