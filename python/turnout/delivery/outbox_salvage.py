"""Saving what can be read of a damaged outbox file: it is put aside as it is, and a new one is filled from it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .outbox_schema import COLUMNS, COLUMNS_1, INTO, from_layout_1, mark, sound, sound_1


@dataclass(frozen=True)
class Damage:
    """What was found wrong with a file, and what became of it."""

    kept_as: Path
    """Where the damaged file is now."""
    problem: str
    salvaged: int
    """Unsettled messages that are in the new file."""
    gone: tuple[str, ...]
    """Ids of the messages that could not be read."""
    certain: bool
    """Whether that is all that is gone; False: the list of ids was damaged too, or the log was cut."""
    letters_gone: int
    """Dead letters that could not be read."""

    def __str__(self) -> str:
        """In words."""
        gone = ", ".join(self.gone[:20]) + (", …" if len(self.gone) > 20 else "")
        more = "" if self.certain else "; there may be more, for the list of ids is damaged too, or was cut"
        return (
            f"the outbox was damaged ({self.problem}) and is kept as {self.kept_as}: {self.salvaged} unsettled "
            f"messages saved, {len(self.gone)} gone{f' ({gone})' if gone else ''}{more}; "
            f"{self.letters_gone} dead letters gone"
        )


def put_aside(path: Path) -> Path:
    """Renames a damaged file, with its log; its new name."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def salvage(source: Path, problem: str, into: sqlite3.Connection, *, kept_as: Path, certain: bool) -> Damage:
    """Fills a new file with what can be read of ``source``, which is what was put aside, or made from it.

    ``certain``: whether more than the list of ids tells can have gone.

    Raises:
        sqlite3.Error: the new file cannot be written.
    """
    old = _Reader(source)
    rows: dict[str, dict[Any, tuple[Any, ...]]] = {}
    for table, key in (("message", "seq"), ("dead", "number")):
        rows[table] = {row[0]: row for row in old.rows(table, key)}
    letters, messages = rows["dead"], {key: row for key, row in rows["message"].items() if old.sound("message", row)}
    ids = {seq: name for seq, name in old.listed() if isinstance(seq, int)}
    saved = [("message", row) for row in messages.values()]
    saved += [("dead", row) for row in letters.values() if old.sound("dead", row)]
    kept = len(saved) - len(messages)
    for table in ("took", "branch"):
        saved += [(table, row) for row in old.all(table) if old.sound(table, row) and row[0] in messages]
    for table in ("known", "request", "run"):
        saved += [(table, row) for row in old.all(table) if old.sound(table, row)]
    certain = certain and old.complete_list and messages.keys() <= ids.keys()
    layout = old.layout
    old.close()
    with into:
        into.execute("BEGIN IMMEDIATE")
        for table, row in saved:
            for name, values in from_layout_1(table, row) if layout == 1 else [(table, row)]:
                into.execute(INTO[name], (*values, mark(values)) if name == "message" and layout != 1 else values)
    gone = tuple(str(name) for seq, name in sorted(ids.items()) if seq not in messages)
    return Damage(kept_as, problem, len(messages), gone, certain, len(letters) - kept)


class _Reader:
    """Reads what it can of a damaged file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        self.complete_list = False
        # The header may be damaged, so the layout is told by what is there.
        self.layout = 1 if self._all("SELECT seq, pool FROM took LIMIT 1", missing=True) is not None else 2
        self._columns = COLUMNS_1 if self.layout == 1 else COLUMNS

    def sound(self, table: str, row: tuple[Any, ...]) -> bool:
        """Whether a row is what was written."""
        return (sound_1 if self.layout == 1 else sound)(table, row)

    def all(self, table: str) -> list[tuple[Any, ...]]:
        """The rows of a table up to the first that cannot be read; none if this layout has no such table."""
        columns = self._columns.get(table)
        return [] if columns is None else self._all(f"SELECT {columns} FROM {table}") or []  # noqa: S608 - our names

    def _all(self, query: str, *, missing: bool = False) -> list[tuple[Any, ...]] | None:
        """The rows of a query up to the first that cannot be read; None if it cannot even begin and ``missing``."""
        try:
            cursor = self._db.execute(query)
        except (sqlite3.Error, UnicodeDecodeError):
            return None if missing else []
        return list(_until_damage(lambda: cursor))

    def rows(self, table: str, key: str) -> Iterator[tuple[Any, ...]]:
        """The rows before the first damage and those after the last; then those between, asked for one by one."""
        columns = self._columns[table]
        seen: set[int] = set()
        for direction in ("ASC", "DESC"):
            for row in self._all(f"SELECT {columns} FROM {table} ORDER BY {key} {direction}") or []:  # noqa: S608
                if isinstance(row[0], int) and row[0] not in seen:
                    seen.add(row[0])
                    yield row
        for seq, _ in self.listed() if table == "message" else ():
            if seq not in seen:
                yield from _until_damage(
                    lambda seq=seq: self._db.execute(f"SELECT {columns} FROM {table} WHERE {key} = ?", (seq,))  # type: ignore[misc] # noqa: S608
                )

    def listed(self) -> list[tuple[Any, ...]]:
        """Number and id of each message that should be there, by the index on ids."""
        query = "SELECT seq, id, mark FROM message INDEXED BY message_id ORDER BY id"
        found = self._all(query) or []
        listed = [row[:2] for row in found if mark(row) == row[2]]
        try:
            self.complete_list = (
                len(listed) == len(found)
                and not any(
                    "message_id" in str(said) for (said,) in self._db.execute("PRAGMA integrity_check(message)")
                )
                and len(found) == len(self._db.execute(query).fetchall())
            )
        except (sqlite3.Error, UnicodeDecodeError):
            self.complete_list = False
        return listed

    def close(self) -> None:
        self._db.close()


def _until_damage(query: Callable[[], Iterable[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    try:
        yield from query()
    except (sqlite3.Error, UnicodeDecodeError):  # the latter is how Python fails at what SQLite says of a damaged name
        return  # what lies behind it cannot be reached this way
