"""Changes to an outbox that are written together, as one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .outbox_schema import BranchRow, Row

_PART_BYTES: Final = 256 << 10
"""Of dead letters in one part of a batch, unless one alone is larger."""
_PART_ROWS: Final = 100
"""Messages that end, or letters that are taken, in one part of a batch: each may change two pages."""


class Batch:
    """Additions come first, so that a message may be added and ended in one."""

    __slots__ = (
        "added", "answered", "branches", "dead", "ended", "forgotten", "known", "moved", "redriven", "runs", "taken",
        "unnoted",
    )  # fmt: skip

    def __init__(self) -> None:
        self.added: list[Row] = []
        self.branches: dict[tuple[int, str], BranchRow] = {}
        """By message and pool; only the last state of each counts."""
        self.moved: list[tuple[float | None, int, int, int]] = []
        """Of messages whose next round is later: when, how many they have had, checksum and number."""
        self.ended: list[tuple[int]] = []
        self.unnoted: list[tuple[int]] = []
        """Those of the ended of which there are branches."""
        self.dead: dict[int, tuple[int, bytes]] = {}
        """Dead letters by number: the message that ended with it, and its content."""
        self.known: list[tuple[int, str, float]] = []
        self.taken: list[tuple[int]] = []
        """Numbers of dead letters that somebody took; see :meth:`take`."""
        self.redriven: list[tuple[int]] = []
        """Numbers of dead letters whose messages are among the additions: both are written, or neither."""
        self.answered: list[tuple[int]] = []
        """Numbers of requests that were done."""
        self.runs: dict[int, bool] = {}
        """Runs of the router, and whether they were closed."""
        self.forgotten = 0
        """Ids known up to this number are forgotten."""

    def __bool__(self) -> bool:
        return bool(
            self.added or self.branches or self.moved or self.ended or self.dead or self.known or self.taken
            or self.redriven or self.answered or self.runs or self.forgotten
        )  # fmt: skip

    def take(self, numbers: Iterable[int]) -> None:
        """Dead letters were taken; those that wait here need not be written any more."""
        for number in numbers:
            self.dead.pop(number, None)
            self.taken.append((number,))

    def put_back(self, older: Batch) -> None:
        """Takes over the changes of an older batch that could not be written, but for its additions."""
        self.branches = {**older.branches, **self.branches}
        self.runs = {**older.runs, **self.runs}
        self.dead = {**older.dead, **self.dead}
        for name in ("moved", "ended", "unnoted", "known", "taken", "answered"):
            setattr(self, name, getattr(older, name) + getattr(self, name))
        for (number,) in self.taken:
            self.dead.pop(number, None)
        self.forgotten = max(older.forgotten, self.forgotten)

    def parts(self) -> Iterator[Batch]:
        """The same changes but for the additions, as batches that each need little room on the disk.

        A message ends in one part with its dead letters. What makes room comes first: letters that were taken, then
        messages that end without a letter.
        """
        for at in range(0, len(self.taken), _PART_ROWS):
            part = Batch()
            part.taken = self.taken[at : at + _PART_ROWS]
            yield part
        part = Batch()
        part.answered, part.known, part.runs, part.forgotten = self.answered, self.known, self.runs, self.forgotten
        yield part
        letters: dict[int, list[int]] = {}
        for number, (seq, _) in self.dead.items():
            letters.setdefault(seq, []).append(number)
        unnoted = set(self.unnoted)
        part, size = Batch(), 0
        for end in sorted(self.ended, key=lambda end: end[0] in letters):
            numbers = letters.get(end[0], ())
            more = sum(len(self.dead[number][1]) for number in numbers)
            if len(part.ended) == _PART_ROWS or (size and size + more > _PART_BYTES):
                yield part
                part, size = Batch(), 0
            part.ended.append(end)
            if end in unnoted:
                part.unnoted.append(end)
            part.dead.update((number, self.dead[number]) for number in numbers)
            size += more
        yield part
        part = Batch()
        over = {seq for (seq,) in self.ended}
        part.branches = {key: row for key, row in self.branches.items() if key[0] not in over}
        part.moved = self.moved
        yield part
