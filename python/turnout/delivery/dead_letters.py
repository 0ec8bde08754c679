"""The messages that were given up on, kept until somebody takes them: in memory, and with an outbox on disk too.

Nothing accepted is dropped: when the store is full, nothing new is accepted until letters are taken out. What was
accepted before still finds room, so the store may exceed its bound by as many as were unsettled then.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

from .records import DeadLetter


class DeadLetters:
    """Dead letters, the oldest first. ``len()`` and iteration see those kept now."""

    __slots__ = ("_last", "_letters", "max_kept", "on_take")

    def __init__(self, max_kept: int) -> None:
        """``max_kept``: how many are kept before new work is refused; 0: none are kept, they are only counted."""
        self.max_kept = max_kept
        self.on_take: Callable[[list[int]], None] | None = None
        """Told the numbers of letters taken out; the outbox forgets them too."""
        self._letters: dict[int, DeadLetter] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Those kept at this moment; letters may be added and taken meanwhile."""
        return iter(tuple(self._letters.values()))

    @property
    def full(self) -> bool:
        """Whether new work is refused."""
        return 0 < self.max_kept <= len(self._letters)

    def after(self, number: int) -> list[DeadLetter]:
        """The letters that came after that of this number."""
        newest = itertools.takewhile(lambda letter: letter.number > number, reversed(self._letters.values()))
        return list(newest)[::-1]

    def take(self, limit: int | None = None) -> list[DeadLetter]:
        """Removes and returns the oldest letters, all of them or ``limit`` at most. They are the caller's now."""
        taken = list(itertools.islice(self._letters.values(), limit))
        self._remove([letter.number for letter in taken])
        return taken

    def purge(self, letters: Iterable[DeadLetter]) -> int:
        """Removes letters for good, on disk too, and says how many of them were there."""
        return self._remove([letter.number for letter in letters if letter.number in self._letters])

    def add(self, letter: DeadLetter, number: int = 0) -> None:
        """Keeps one more; for the deliverer. ``number``: its number in the outbox; 0: the next, as there is none."""
        if self.max_kept > 0:
            self._put(letter, number or self._last + 1)

    def replace(self, letters: Iterable[tuple[int, DeadLetter]]) -> None:
        """Keeps these, which are in the outbox, and no others; for the deliverer."""
        self._letters.clear()
        for number, letter in letters:
            self._put(letter, number)

    def _put(self, letter: DeadLetter, number: int) -> None:
        self._letters[number] = dataclasses.replace(letter, number=number)
        self._last = max(self._last, number)

    def _remove(self, numbers: list[int]) -> int:
        for number in numbers:
            del self._letters[number]
        if numbers and self.on_take is not None:
            self.on_take(numbers)
        return len(numbers)
