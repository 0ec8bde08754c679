"""What a run shows while it works: a bar on a terminal, a line now and then in a pipe. All on standard error."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from .output import console, warn

_LONGEST_SILENCE_S = 60.0
"""Between two lines in a pipe. They start a second apart and get rarer by a tenth of the time run."""


class Watcher(Protocol):
    """Where a run says how far it is."""

    def start(self) -> None:
        """The run begins."""

    def update(self, bytes_read: int, text: str) -> None:
        """How far the input is read, and the counts in words."""

    def note(self, text: str) -> None:
        """Something to be read by a person, such as a rejected line."""

    def close(self) -> None:
        """The run is over."""


class Bar:
    """A bar over the bytes of the input; a spinner where their number is unknown."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        where = BarColumn() if total else SpinnerColumn()
        self._progress = Progress(
            where, TextColumn("{task.description}"), TimeElapsedColumn(), console=console(sys.stderr), transient=True
        )
        self._task: TaskID | None = None

    def start(self) -> None:
        self._progress.start()
        self._task = self._progress.add_task("starting", total=self._total)

    def update(self, bytes_read: int, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=bytes_read, description=text)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class Lines:
    """A plain line now and then."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def start(self) -> None:
        self._began = self._last = time.monotonic()

    def update(self, bytes_read: int, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= min(max(1.0, (now - self._began) / 10), _LONGEST_SILENCE_S):
            self._last = now
            warn(f"{now - self._began:6.1f} s  {text}")

    def note(self, text: str) -> None:
        warn(text)

    def close(self) -> None:
        return


class Quiet:
    """Only what must be said."""

    def start(self) -> None:
        return

    def update(self, bytes_read: int, text: str) -> None:
        return

    def note(self, text: str) -> None:
        warn(text)

    def close(self) -> None:
        return


def watcher(total: int | None, *, quiet: bool) -> Watcher:
    """The one that suits standard error; ``total`` is the input's size in bytes, if it has one."""
    if quiet:
        return Quiet()
    return Bar(total) if sys.stderr.isatty() else Lines()
