"""The messages that were given up on, kept until somebody takes them: in memory, and with an outbox on disk too.

Nothing accepted is dropped: when the store is full, nothing new is accepted until letters are taken out. What was
accepted before still finds room, so the store may exceed its bound by as many as were unsettled then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from .records import DeadLetter


class DeadLetters:
    """Dead letters, the oldest first. ``len()`` and iteration see those kept now."""

    __slots__ = ("_letters", "_numbers", "max_kept", "on_take")

    def __init__(self, max_kept: int) -> None:
        """``max_kept``: how many are kept before new work is refused; 0: none are kept, they are only counted."""
        self.max_kept = max_kept
        self.on_take: Callable[[list[int]], None] | None = None
        """Told the numbers of letters taken out; the outbox forgets them too."""
        self._letters: deque[DeadLetter] = deque()
        self._numbers: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Those kept at this moment; letters may be added and taken meanwhile."""
        return iter(tuple(self._letters))

    @property
    def full(self) -> bool:
        """Whether new work is refused."""
        return 0 < self.max_kept <= len(self._letters)

    def take(self, limit: int | None = None) -> list[DeadLetter]:
        """Removes and returns the oldest letters, all of them or ``limit`` at most. They are the caller's now."""
        count = len(self._letters) if limit is None else min(limit, len(self._letters))
        numbers = [self._numbers.popleft() for _ in range(count)]
        if self.on_take is not None:
            self.on_take(numbers)
        return [self._letters.popleft() for _ in range(count)]

    def add(self, letter: DeadLetter, number: int = 0) -> None:
        """Keeps one more; for the deliverer. ``number``: its number in the outbox."""
        if self.max_kept > 0:
            self._letters.append(letter)
            self._numbers.append(number)

    def replace(self, letters: Iterable[tuple[int, DeadLetter]]) -> None:
        """Keeps these, which are in the outbox, and no others; for the deliverer."""
        self._letters.clear()
        self._numbers.clear()
        for number, letter in letters:
            self.add(letter, number)
