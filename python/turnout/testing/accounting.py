"""Was anything lost: what was sent beside what a receiver noted by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
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
    destination: str | None = None
    """Where it arrived, if the receiver tells several apart."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the messages of one destination."""

    sent: int
    received: int
    """Different messages that were sent and arrived."""
    lost: frozenset[str]
    """Sent, not received, and not said to be anywhere else."""
    expired: frozenset[str]
    """Said to have expired, and not received."""
    elsewhere: frozenset[str]
    """Said to be dead letters or to wait still, and not received."""
    duplicates: Mapping[str, int]
    """Arrivals after the first, by message, of those that have any."""
    unknown: frozenset[str]
    """Received and never sent."""
    reordered: int
    """First arrivals after one of the same key with a higher number."""

    @property
    def twice(self) -> int:
        """Arrivals of messages that had arrived before."""
        return sum(self.duplicates.values())

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost and nothing came from nowhere: sent = received + expired + elsewhere. What came
        twice is allowed."""
        return not self.lost and not self.unknown


def account(
    sent: Iterable[str],
    received: Iterable[Noted | str],
    *,
    elsewhere: Iterable[str] = (),
    expired: Iterable[str] = (),
) -> Account:
    """Compares the ids of what was sent with what arrived.

    - ``received``: in the order of arrival.
    - ``elsewhere``: ids that are dead letters or still wait; ``expired``: ids of messages whose time was up. They may
      be missing from ``received``, and may be there: an attempt that was given up can have taken effect.
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
    missing = wanted - arrived
    over = missing & set(expired)
    kept = (missing & set(elsewhere)) - over
    return Account(
        sent=len(wanted),
        received=len(arrived & wanted),
        lost=frozenset(missing - over - kept),
        expired=frozenset(over),
        elsewhere=frozenset(kept),
        duplicates={name: count - 1 for name, count in counts.items() if count > 1},
        unknown=frozenset(arrived - wanted),
        reordered=reordered,
    )


def accounts(
    sent: Mapping[str, Iterable[str]],
    received: Iterable[Noted],
    *,
    elsewhere: Mapping[str, Iterable[str]] | None = None,
    expired: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, Account]:
    """An account for each destination, as of a fan-out: ids by destination, beside what arrived where.

    What arrived at a destination that nothing was sent to is in an account too, as unknown.
    """
    arrived: dict[str, list[Noted]] = {name: [] for name in sent}
    for noted in received:
        arrived.setdefault(noted.destination or "", []).append(noted)
    return {
        name: account(
            sent.get(name, ()),
            found,
            elsewhere=(elsewhere or {}).get(name, ()),
            expired=(expired or {}).get(name, ()),
        )
        for name, found in arrived.items()
    }


def read_log(path: str | PathLike[str]) -> list[Noted]:
    """What a receiver noted: lines of JSON with ``id`` and, if there are, ``key``, ``number`` and ``destination``.

    A last line without its end was not answered for, so it does not count.
    """
    *lines, _ = Path(path).read_bytes().split(b"\n")
    found = map(json.loads, filter(None, lines))
    return [Noted(line["id"], line.get("key"), line.get("number"), line.get("destination")) for line in found]
