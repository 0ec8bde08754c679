"""The messages that were given up on, kept until somebody takes them: in memory, and with an outbox on disk too.

Nothing accepted is dropped: when the store is full, nothing new is accepted until letters are taken out. What was
accepted before still finds room, so the store may exceed its bound by as many as were unsettled then.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

from ..errors import ConfigError
from .records import DeadLetter
from .selection import Chosen, Selection

_TOGETHER: Final = 256
"""Letters redriven at once: they share the fsyncs of an outbox, and leave room in memory to other messages."""


class DeadLetters:
    """Dead letters, the oldest first. ``len()`` and iteration see those kept now."""

    __slots__ = ("_last", "_leaving", "_letters", "max_kept", "on_redrive", "on_take")

    def __init__(self, max_kept: int) -> None:
        """``max_kept``: how many are kept before new work is refused; 0: none are kept, they are only counted."""
        self.max_kept = max_kept
        self.on_take: Callable[[list[int]], None] | None = None
        """Told the numbers of letters taken out; the outbox forgets them too."""
        self.on_redrive: Callable[[DeadLetter, str | None], Awaitable[None]] | None = None
        """Accepts a letter's message anew, and lets the outbox forget the letter in the same transaction."""
        self._letters: dict[int, DeadLetter] = {}
        self._last = 0
        self._leaving: set[asyncio.Task[bool]] = set()

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Those kept at this moment; letters may be added and taken meanwhile."""
        return iter(tuple(self._letters.values()))

    @property
    def full(self) -> bool:
        """Whether new work is refused."""
        return 0 < self.max_kept <= len(self._letters)

    def select(self, **criteria: Any) -> list[DeadLetter]:
        """The letters to which all criteria apply, which are those of :meth:`Selection.of`: ``id``, ``reason``,
        ``pool``, ``destination``, ``rule`` (one text each, or several), ``since``, ``until``, ``where``, ``limit``.

        Raises:
            ConfigError, RuleError: a criterion makes no sense.
        """
        return Selection.of(**criteria).pick(self._letters.values())

    @property
    def last(self) -> int:
        """The number of the latest letter there has been."""
        return self._last

    def after(self, number: int) -> list[DeadLetter]:
        """The letters that came after that of this number."""
        newest = itertools.takewhile(lambda letter: letter.number > number, reversed(self._letters.values()))
        return list(newest)[::-1]

    def take(self, limit: int | None = None) -> list[DeadLetter]:
        """Removes and returns the oldest letters, all of them or ``limit`` at most. They are the caller's now."""
        taken = list(itertools.islice(self._letters.values(), limit))
        self._remove([letter.number for letter in taken])
        return taken

    def purge(self, letters: Iterable[Chosen]) -> int:
        """Removes letters for good, on disk too, and says how many of them were there."""
        return self._remove([letter.number for letter in self._chosen(letters)])

    async def redrive(self, letters: Iterable[Chosen], to: str | None = None) -> int:
        """Delivers the messages of letters once more, under their ids; returns, when all are accepted, how many.

        Each goes through routing again, but not to pools that have it already; or to ``to``, a pool or a destination.
        A partial letter goes to its own pool alone. Attempts and the time they have begin anew. Whatever fails again
        comes back as a letter with one more in ``redriven``. Being cancelled does not undo what was begun.

        Raises:
            ConfigError: there is no pool or destination ``to``; nothing was redriven then.
            DeliveryError: the router is closed, or its outbox takes nothing new; those letters are still here.
        """
        chosen, count = self._chosen(letters), 0
        for begin in range(0, len(chosen), _TOGETHER):
            tasks = [asyncio.create_task(self._redrive(one, to)) for one in chosen[begin : begin + _TOGETHER]]
            self._leaving.update(tasks)
            for task in tasks:
                task.add_done_callback(self._leaving.discard)
            await asyncio.wait(tasks)
            errors = [error for task in tasks if (error := task.exception()) is not None]
            if errors:
                raise errors[0]
            count += sum(task.result() for task in tasks)
        return count

    async def left(self) -> None:
        """Returns when every redrive that was begun has ended."""
        if self._leaving:
            await asyncio.wait(self._leaving)

    def add(self, letter: DeadLetter, number: int = 0) -> None:
        """Keeps one more; for the deliverer. ``number``: its number in the outbox; 0: the next, as there is none."""
        if self.max_kept > 0:
            self._put(letter, number or self._last + 1)

    def replace(self, letters: Iterable[tuple[int, DeadLetter]]) -> None:
        """Keeps these, which are in the outbox, and no others; for the deliverer."""
        self._letters.clear()
        for number, letter in letters:
            self._put(letter, number)

    async def _redrive(self, letter: DeadLetter, to: str | None) -> bool:
        """Whether the letter went; False if it was not there any more."""
        if self.on_redrive is None or self._letters.pop(letter.number, None) is None:
            return False
        try:
            await self.on_redrive(letter, to)
        except BaseException:
            self._letters[letter.number] = letter
            self._letters = dict(sorted(self._letters.items()))
            raise
        return True

    def _chosen(self, letters: Iterable[Chosen]) -> list[DeadLetter]:
        """The letters meant, each once, in their order here."""
        numbers: set[int] = set()
        names: set[str] = set()
        for one in letters:
            if isinstance(one, str):
                names.add(one)
            elif isinstance(one, (int, DeadLetter)):
                numbers.add(one if isinstance(one, int) else one.number)
            else:
                raise ConfigError(f"a dead letter, a message's id or a letter's number, not {type(one).__name__}")
        if not names:
            return [self._letters[number] for number in sorted(numbers) if number in self._letters]
        return [letter for letter in self._letters.values() if letter.number in numbers or letter.id in names]

    def _put(self, letter: DeadLetter, number: int) -> None:
        self._letters[number] = dataclasses.replace(letter, number=number)
        self._last = max(self._last, number)

    def _remove(self, numbers: list[int]) -> int:
        for number in numbers:
            del self._letters[number]
        if numbers and self.on_take is not None:
            self.on_take(numbers)
        return len(numbers)
