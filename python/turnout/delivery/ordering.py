"""Who is next of the messages of one ordering key.

Messages of a key are decided one after another in their order of acceptance, and then stand in a line for each pool
they go to. In a line only the first is attempted; the next begins when it is settled there, however. So a pool that is
out holds up nobody in another pool. Of a route with mode ``first``, a message stands in the lines of all its pools.

Orders are numbers that grow with acceptance. A message is named by its order and need not be in memory.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator


class _Key:
    __slots__ = ("lines", "undecided")

    def __init__(self) -> None:
        self.undecided: list[int] = []
        self.lines: dict[str, list[int]] = {}


class Sequences:
    """The lines of all keys. Each call costs about a microsecond, and a little more where a line is very long."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def enter(self, key: str, order: int) -> None:
        """A message of that key was accepted."""
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = _Key()
        bisect.insort(known.undecided, order)

    def may_decide(self, key: str, order: int) -> bool:
        """Whether everything before it is decided, or it is itself."""
        undecided = self._keys[key].undecided
        return not undecided or undecided[0] >= order

    def decided(self, key: str, order: int, pools: Iterable[str]) -> Iterator[int]:
        """It goes to these pools; those that may go on then."""
        known = self._keys[key]
        _remove(known.undecided, order)
        for pool in pools:
            line = known.lines.setdefault(pool, [])
            place = bisect.bisect_left(line, order)
            if line[place : place + 1] != [order]:
                line.insert(place, order)
        yield from known.undecided[:1]

    def may_attempt(self, key: str, order: int, pools: Iterable[str]) -> bool:
        """Whether it is the first in all these lines."""
        lines = self._keys[key].lines
        return all(lines[pool][0] == order for pool in pools if pool in lines)

    def ended(self, key: str, order: int, pools: Iterable[str]) -> Iterator[int]:
        """It is settled in these pools; those that may go on then."""
        known = self._keys.get(key)
        if known is None:
            return
        for pool in pools:
            line = known.lines.get(pool)
            if line is None:
                continue
            was_first = line[0] == order
            _remove(line, order)
            if not line:
                del known.lines[pool]
            elif was_first:
                yield line[0]

    def left(self, key: str, order: int) -> Iterator[int]:
        """It is settled; those that may go on then."""
        known = self._keys.get(key)
        if known is None:
            return
        yield from self.ended(key, order, tuple(known.lines))
        was_first = known.undecided[:1] == [order]
        _remove(known.undecided, order)
        if was_first:
            yield from known.undecided[:1]
        if not known.undecided and not known.lines:
            del self._keys[key]

    def clear(self) -> None:
        """Forgets everything."""
        self._keys.clear()


def _remove(orders: list[int], order: int) -> None:
    place = bisect.bisect_left(orders, order)
    if place < len(orders) and orders[place] == order:
        del orders[place]
