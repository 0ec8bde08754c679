"""The command line. Importing this imports neither typer nor rich: :func:`main` does, when it runs."""

from __future__ import annotations

import sys

_EXTRA = ("typer", "rich")


def main() -> int:
    """Runs the command line on ``sys.argv`` and ends the process with its exit code.

    0: all fine. 1: something was not delivered. 2: bad usage or configuration, or
    the extra ``turnout[cli]`` is missing.
    """
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            f"turnout: the command line needs {error.name}; install it with: pip install 'turnout[cli]'",
            file=sys.stderr,
        )
        return 2
    app(prog_name="turnout")
    return 0
