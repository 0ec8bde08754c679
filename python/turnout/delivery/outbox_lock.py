"""The lock file of an outbox: one router at a time owns the outbox, and the kernel says who.

SQLite's own locks are left to short transactions, so that other processes may read the file while the router lives.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path
from typing import Any

from ..errors import ConfigError


class InUseError(ConfigError):
    """Another process has the outbox."""


try:
    import fcntl
except ImportError:  # Windows: there the database is held by SQLite's exclusive mode, and nobody else may read it
    fcntl = None  # type: ignore[assignment]

SHARED = fcntl is not None
"""Whether a lock file can stand for the whole outbox."""


class FileLock:
    """A file beside the outbox, locked by ``flock`` until :meth:`close`, or the end of the process however it ends."""

    def __init__(self, path: Path) -> None:
        """Takes the lock of the outbox ``path``.

        Raises:
            InUseError: somebody has it.
            ConfigError: the lock file cannot be made.
        """
        self.path = path.with_name(path.name + ".lock")
        try:
            self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"outbox {path}: its lock file {self.path} cannot be opened: {error}") from error
        try:
            if SHARED:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise InUseError(
                f"outbox {path}: another process uses it (or another router of this one), which holds {self.path}; "
                f"give each its own file"
            ) from error
        _held.add(self)

    def close(self) -> None:
        """Lets go of it. The file stays: deleting it would let two processes lock two files of one name."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


_held: weakref.WeakSet[Any] = weakref.WeakSet()


def _let_go() -> None:
    """A forked child has its parent's descriptors, and would hold the lock on after the parent's end."""
    for lock in list(_held):
        with contextlib.suppress(OSError):
            lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
