"""Which dead letters are meant: by id, reason, place, time, or a condition on the message. What is not given is free.

Cost: a few set lookups a letter; ``where`` is one match of the rule index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from .._core import RuleSet
from ..errors import ConfigError, MessageError
from .records import Attempt, DeadLetter

Chosen = DeadLetter | str | int
"""A letter, the id of its message (of all its letters), or the letter's number."""


@dataclass(frozen=True)
class Selection:
    """What a letter must be. Of each set, one must hold; an empty one says nothing."""

    ids: frozenset[str] = frozenset()
    """Ids of messages; one that no letter has may be a letter's number."""
    reasons: frozenset[str] = frozenset()
    pools: frozenset[str] = frozenset()
    """Pools that it was meant for, of which one failed to deliver it."""
    destinations: frozenset[str] = frozenset()
    """Destinations that an attempt was made at."""
    rules: frozenset[str] = frozenset()
    since: float | None = None
    """Unix seconds; given up on then or later."""
    until: float | None = None
    """Unix seconds; given up on then or earlier."""
    where: str | None = None
    """A condition on the message, in CEL: ``message.content.amount > 100``."""
    limit: int | None = None
    """The oldest so many."""
    _rules: RuleSet | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise ConfigError(f"limit: {self.limit}; write 0 or more, or None for all")
        if self.where is not None:
            object.__setattr__(self, "_rules", RuleSet([{"id": "where", "when": self.where}]))

    @classmethod
    def of(
        cls,
        *,
        id: str | Iterable[str] = (),
        reason: str | Iterable[str] = (),
        pool: str | Iterable[str] = (),
        destination: str | Iterable[str] = (),
        rule: str | Iterable[str] = (),
        since: float | datetime | None = None,
        until: float | datetime | None = None,
        where: str | None = None,
        limit: int | None = None,
    ) -> Selection:
        """A selection from one value or several of each kind; times are Unix seconds, or datetimes with a time zone.

        Raises:
            ConfigError: the limit is negative, or a datetime has no time zone.
            RuleError: ``where`` is no condition.
        """
        return cls(
            _set(id), _set(reason), _set(pool), _set(destination), _set(rule), _seconds("since", since),
            _seconds("until", until), where, limit,
        )  # fmt: skip

    def pick(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Those of the letters, in their order."""
        letters = list(letters)
        ids = self.ids and self.ids & {letter.id for letter in letters}
        numbers = {int(name) for name in self.ids - ids if name.isascii() and name.isdigit()}
        chosen = (letter for letter in letters if not self.ids or letter.id in ids or letter.number in numbers)
        return list(islice((letter for letter in chosen if self._holds(letter)), self.limit))

    def _holds(self, letter: DeadLetter) -> bool:
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.rules or letter.rule in self.rules)
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at <= self.until)
            and (not self.pools or not self.pools.isdisjoint(pools_of(letter)))
            and (not self.destinations or any(attempt.destination in self.destinations for attempt in tries_of(letter)))
            and (self._rules is None or _matches(self._rules, letter.message))
        )


def pools_of(letter: DeadLetter) -> set[str]:
    """Pools that it was meant for and that did not deliver it."""
    if letter.branches:
        return {branch.pool for branch in letter.branches if branch.status != "delivered"}
    return {attempt.pool for attempt in letter.attempts} | ({letter.pool} if letter.pool is not None else set())


def tries_of(letter: DeadLetter) -> tuple[Attempt, ...]:
    """Every attempt at it."""
    return letter.attempts or tuple(attempt for branch in letter.branches for attempt in branch.attempts)


def _matches(rules: RuleSet, message: Any) -> bool:
    try:
        return rules.first(message) is not None
    except MessageError:
        return False


def _set(values: str | Iterable[str]) -> frozenset[str]:
    return frozenset((values,) if isinstance(values, str) else values)


def _seconds(name: str, value: float | datetime | None) -> float | None:
    if not isinstance(value, datetime):
        return value
    if value.utcoffset() is None:
        raise ConfigError(f"{name}: has no time zone; give one, such as datetime.now(UTC)")
    return value.timestamp()
