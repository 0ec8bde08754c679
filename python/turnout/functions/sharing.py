"""Routers shared by calls with an equal configuration, so that what one call learns the next one knows.

At most SharedRouters.limit are kept; the one not used for longest goes first, and its state with it. Finding one costs
a comparison of configurations, none if the same frozen object is given again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..router import Router

if TYPE_CHECKING:
    from ..config import RouterConfig


@dataclass(frozen=True)
class _Entry:
    config: RouterConfig
    given: object
    """The frozen object it was made from; compared by identity."""
    router: Router


class SharedRouters:
    """A few routers, found by their configuration. Safe to use from several threads."""

    def __init__(self, limit: int = 64) -> None:
        """``limit``: routers kept, at least 1. A service has a handful of configurations; each may be large."""
        self.limit = limit
        self._entries: list[_Entry] = []
        self._listing = threading.Lock()
        # Held while a router is built, so that two calls do not build the same; finding others goes on.
        self._building = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def given(self, given: object) -> Router | None:
        """The router made from this very object; None if there is none."""
        return self._use(lambda entry: entry.given is given)

    def equal(self, config: RouterConfig) -> Router | None:
        """The router with an equal configuration, secrets included; None if there is none."""
        return self._use(lambda entry: entry.config == config)

    def build(self, config: RouterConfig, given: object) -> Router:
        """The router with an equal configuration, made now if there is none. Compiles: may take a while.

        Raises:
            ConfigError: a rule does not compile.
        """
        with self._building:
            found = self.equal(config)
            if found is not None:
                return found
            router = Router(config)
            with self._listing:
                self._entries = [_Entry(config, given, router), *self._entries[: self.limit - 1]]
            return router

    def clear(self) -> None:
        """Forgets all of them."""
        with self._listing:
            self._entries = []

    def _use(self, wanted: Callable[[_Entry], bool]) -> Router | None:
        found = next((entry for entry in self._entries if wanted(entry)), None)
        if found is None:
            return None
        with self._listing:
            # Another thread may have put it elsewhere, or dropped it, since.
            self._entries = [found, *(entry for entry in self._entries if entry is not found)][: self.limit]
        return found.router
