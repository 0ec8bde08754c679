"""What every command shares about printing: exit codes, streams, JSON lines, tables, a reader that goes away.

Results go to standard output; progress, notices and problems to standard error, so that a pipe carries only results.
Tables are columns of text; on a terminal they are fitted to it, in a pipe no width limits them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

OK = 0
"""Everything asked for was done."""
UNDELIVERED = 1
"""A message was dead-lettered, expired, rejected, or has no decision."""
USAGE = 2
"""Bad usage, or a configuration that cannot go live."""

_PIPE_WIDTH = 1000
"""Columns of a table in a pipe: wide enough that nothing is cut or wrapped."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a reader that went away to :func:`until_reader_leaves`; rich itself would exit with 1."""
        raise BrokenPipeError


def console(stream: TextIO) -> Console:
    """A console on a stream as it is now: tests and shells redirect the standard ones."""
    if stream.isatty():
        return _Console(file=stream, highlight=False)
    return _Console(file=stream, highlight=False, width=_PIPE_WIDTH, color_system=None)


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Ends the block quietly where whoever reads standard output has closed it, as ``| head`` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would fail again when the interpreter flushes at exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def print_json_line(value: Any) -> None:
    """One value as one line of compact JSON on standard output; ASCII only, so that no locale can refuse it."""
    sys.stdout.write(json.dumps(value, separators=(",", ":"), default=str) + "\n")


def print_json(value: Any) -> None:
    """One value as indented JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def warn(text: str) -> None:
    """A line on standard error. Nobody reading it is no reason to stop working."""
    try:
        print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    except BrokenPipeError:
        return


def fail(text: str) -> NoReturn:
    """Says on standard error what is wrong, and ends the command with :data:`USAGE`."""
    warn(text)
    raise typer.Exit(USAGE)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), gap: int = 2
) -> Table:
    """A table of the house's look: columns of text, a title above. ``right`` names the columns of numbers."""
    made = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, gap, 0, 0)
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        made.add_row(*("" if cell is None else Text(str(cell)) for cell in row))
    return made


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it, three digits worth; ``-`` for none."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return (
                f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
            )
    return f"{seconds * 1e9:.0f} ns"
