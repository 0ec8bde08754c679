"""Many rows by few statements: an insert of 64 rows, a delete of 64 numbers.

``sqlite3`` gives up the interpreter for each statement and takes it again. Where the event loop is busy, the writer's
thread may wait 5 ms for that each time, and a row by itself costs half as much again.
"""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

_SIZES: Final = (64, 16, 4, 1)
"""Rows of a statement: few sizes, because a connection keeps 128 compiled statements, and none so large that its values
are more than the 999 that older builds of SQLite take."""


def in_groups(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Runs the statement for each of the rows, many at once, in their order.

    - ``statement``: ends with ``(?, ..., ?)``, which stands for the values of a row: after ``VALUES``, or for one value
      after ``IN``.

    Raises:
        sqlite3.Error: of the rows some may have been written; the caller ends the transaction.
    """
    begin = 0
    for size in _SIZES:
        while len(rows) - begin >= size:
            group = rows[begin : begin + size]
            db.execute(_repeated(statement, size), [*itertools.chain.from_iterable(group)])
            begin += size


@functools.cache
def _repeated(statement: str, size: int) -> str:
    """The statement for so many rows."""
    begin = statement.rindex("(")
    head, row = statement[:begin], statement[begin:]
    if head.endswith("IN "):
        return f"{head}({', '.join(['?'] * size)})"
    return head + ", ".join([row] * size)
