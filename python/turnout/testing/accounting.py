"""Was anything lost: what was sent beside what a receiver noted by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple


class Noted(NamedTuple):
    """One message as a receiver noted it."""

    id: str
    key: str | None = None
    """What it is ordered by, if by anything."""
    number: int | None = None
    """Its place among those of its key, given by the sender."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the messages of one destination."""

    sent: int
    received: int
    """Different messages that arrived."""
    lost: frozenset[str]
    """Sent, not received, and not said to be anywhere else."""
    twice: int
    """Arrivals of messages that had arrived before."""
    unknown: frozenset[str]
    """Received and never sent."""
    reordered: int
    """First arrivals after one of the same key with a higher number."""

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost and nothing came from nowhere; what came twice is allowed."""
        return not self.lost and not self.unknown


def account(sent: Iterable[str], received: Iterable[Noted | str], *, elsewhere: Iterable[str] = ()) -> Account:
    """Compares the ids of what was sent with what arrived.

    - ``received``: in the order of arrival.
    - ``elsewhere``: ids that are dead letters, have expired or still wait; they may be missing from ``received``.
    """
    wanted = set(sent)
    counts: Counter[str] = Counter()
    highest: dict[str, int] = {}
    reordered = 0
    for one in received:
        noted = Noted(one) if isinstance(one, str) else one
        counts[noted.id] += 1
        if counts[noted.id] > 1 or noted.key is None or noted.number is None:
            continue
        before = highest.get(noted.key)
        if before is not None and noted.number < before:
            reordered += 1
        highest[noted.key] = noted.number if before is None else max(before, noted.number)
    arrived = set(counts)
    return Account(
        sent=len(wanted),
        received=len(arrived),
        lost=frozenset(wanted - arrived - set(elsewhere)),
        twice=sum(counts.values()) - len(counts),
        unknown=frozenset(arrived - wanted),
        reordered=reordered,
    )


def read_log(path: str | PathLike[str]) -> list[Noted]:
    """What a receiver noted: lines of JSON with ``id`` and, if there are, ``key`` and ``number``.

    A last line without its end was not answered for, so it does not count.
    """
    *lines, _ = Path(path).read_bytes().split(b"\n")
    found = map(json.loads, filter(None, lines))
    return [Noted(line["id"], line.get("key"), line.get("number")) for line in found]
