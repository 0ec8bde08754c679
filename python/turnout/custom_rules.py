"""The stage ``custom_rules``: Python functions that are asked where a message goes, one after another."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from .errors import ConfigError, MessageError, TurnoutError

CustomRule: TypeAlias = Callable[[Any], Awaitable[str | None] | str | None]
"""Takes the message; returns the id of a pool or destination, or None for no opinion. May be ``async``."""

_log = logging.getLogger("turnout")


class CustomRules:
    """The functions of a router, in the order in which they are asked, and how often each failed."""

    def __init__(self, exists: Callable[[str], bool]) -> None:
        """``exists``: whether the live configuration has a pool or destination of an id."""
        self._exists = exists
        self._functions: dict[str, CustomRule] = {}
        self._failures: dict[str, int] = {}

    def add(self, name: str, function: CustomRule) -> None:
        """See :meth:`Router.custom_rule`."""
        if name in self._functions:
            raise ConfigError(f"there is a custom rule {name!r} already; give this one another name")
        if not callable(function):
            raise ConfigError(f"custom rule {name!r}: {type(function).__name__} is not callable")
        self._functions = {**self._functions, name: function}

    @property
    def failures(self) -> Mapping[str, int]:
        """How often each raised or named what does not exist."""
        return dict(self._failures)

    def ask(self, message: Any) -> tuple[str, str] | None:
        """The first rule with an opinion, and the id it names, where nobody can await; None if none has one.

        Raises:
            TurnoutError: a rule would have to be awaited.
            MessageError: the message is bytes that are no JSON.
        """
        message = _readable(message)
        for name, function in self._functions.items():
            if inspect.iscoroutinefunction(function):
                raise TurnoutError(
                    f"custom rule {name!r} is async, and route() cannot await it; use dispatch or accept"
                )
            try:
                target = function(message)
            except Exception as error:  # noqa: BLE001 - any error of a user's rule is contained and counted
                self._failed(name, error)
                continue
            if inspect.isawaitable(target):
                _discard(target)
                raise TurnoutError(
                    f"custom rule {name!r} returned an awaitable, which route() cannot await; use dispatch or accept"
                )
            if self._usable(name, target):
                return name, str(target)
        return None

    async def ask_all(self, message: Any) -> tuple[str, str] | None:
        """As :meth:`ask`, where ``async`` rules are awaited."""
        message = _readable(message)
        for name, function in self._functions.items():
            try:
                target = function(message)
                if inspect.isawaitable(target):
                    target = await target
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - any error of a user's rule is contained and counted
                self._failed(name, error)
                continue
            if self._usable(name, target):
                return name, str(target)
        return None

    def _usable(self, name: str, target: object) -> bool:
        if target is None:
            return False
        if isinstance(target, str) and self._exists(target):
            return True
        self._failed(name, ConfigError(f"routed to {target!r}, which is no pool and no destination"))
        return False

    def _failed(self, name: str, error: Exception) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        _log.warning("custom rule %r failed and was passed over: %s: %s", name, type(error).__name__, error)


def _readable(message: Any) -> Any:
    """What a custom rule gets: JSON bytes parsed, anything else as it is."""
    if not isinstance(message, bytes):
        return message
    try:
        return json.loads(message)
    except (ValueError, RecursionError) as error:
        raise MessageError("message", f"is not JSON: {error}") from None


def _discard(awaitable: object) -> None:
    """Closes a coroutine that will not be awaited, so that Python does not warn of it."""
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
