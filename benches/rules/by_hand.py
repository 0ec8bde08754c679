"""Routers as somebody would write them for one workload and no other: a dict, or sorted bands and a bisection.

Each returns the id of the first rule that matches. They know what a general matcher cannot: which fields all rules
test, and that every rule tests them in the same way.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

from .predicates import Message, address_number

First = Callable[[Message], str | None]


@dataclass(frozen=True, slots=True)
class ByHand:
    """The function, and what it looks in: `table`, by the key of `entry(key)`. None where it is no dict."""

    first: First
    table: dict[Hashable, str] | None = None
    entry: Callable[[int], Hashable] | None = None


def by_tuple(ids: Sequence[str], names: Sequence[str], fields: Callable[[int], Message]) -> ByHand:
    """One dict of tuples."""
    pick = itemgetter(*names)
    table: dict[Hashable, str] = {pick(fields(key)): id for key, id in enumerate(ids)}
    get = table.get
    return ByHand(lambda message: get(pick(message)), table, lambda key: pick(fields(key)))


def by_length(ids: Sequence[str], field: str, affix: Callable[[int], str], end: Literal["start", "end"]) -> ByHand:
    """A dict of affixes, asked once for every length that an affix has."""
    table: dict[Hashable, str] = {affix(key): id for key, id in enumerate(ids)}
    lengths = sorted({len(affix(key)) for key in range(len(ids))})
    at_start = end == "start"

    def first(message: Message) -> str | None:
        text = message[field]
        for length in lengths:
            found = table.get(text[:length] if at_start else text[-length:])
            if found is not None:
                return found
        return None

    return ByHand(first, table, affix)


def bands(
    ids: Sequence[str], names: Sequence[str], fields: Callable[[int], Message], low: Callable[[int], int]
) -> ByHand:
    """For each combination of the named fields, bands of width 10 that do not overlap, found by bisection."""
    rows: dict[tuple[Any, ...], list[tuple[int, str]]] = defaultdict(list)
    for key, id in enumerate(ids):
        known = fields(key)
        rows[tuple(known[name] for name in names)].append((low(key), id))
    tables = {combination: list(zip(*sorted(row), strict=True)) for combination, row in rows.items()}

    def first(message: Message) -> str | None:
        table = tables.get(tuple([message[name] for name in names]))
        if table is None:
            return None
        lows, names_of_bands = table
        amount = message["amount"]
        position = bisect.bisect_right(lows, amount) - 1
        if position >= 0 and amount < lows[position] + 10:
            return str(names_of_bands[position])
        return None

    return ByHand(first)


def by_users(ids: Sequence[str]) -> ByHand:
    """For `/api/*/users/i/*`: whatever stands between `/users/` and the next slash, looked up."""
    table: dict[Hashable, str] = {str(key): id for key, id in enumerate(ids)}

    def first(message: Message) -> str | None:
        path = message["path"]
        if path.startswith("/api/"):
            for part in path[5:].split("/users/")[1:]:
                user, slash, _ = part.partition("/")
                if slash and user in table:
                    return table[user]
        return None

    return ByHand(first, table, str)


def by_network(ids: Sequence[str], field: str, bits: int, start: Callable[[int], int]) -> ByHand:
    """A dict of the leading bits of addresses, where all networks are of one size."""
    table: dict[Hashable, str] = {start(key): id for key, id in enumerate(ids)}
    shift = 32 - bits
    return ByHand(lambda message: table.get(address_number(message[field]) >> shift), table, start)


def by_field_unless(
    ids: Sequence[str], field: str, value: Callable[[int], str], other: str, refused: frozenset[str]
) -> ByHand:
    """A dict of one field, and the other field checked before."""
    table: dict[Hashable, str] = {value(key): id for key, id in enumerate(ids)}
    get = table.get
    return ByHand(lambda message: None if message[other] in refused else get(message[field]), table, value)


def by_item(ids: Sequence[str], field: str, name: str, amount: str, least: int, value: Callable[[int], str]) -> ByHand:
    """A dict of what one object of the list must have, and the number in it checked."""
    table: dict[Hashable, str] = {value(key): id for key, id in enumerate(ids)}

    def first(message: Message) -> str | None:
        for item in message[field]:
            found = table.get(item[name])
            if found is not None and item[amount] >= least:
                return found
        return None

    return ByHand(first, table, value)
