"""Telling people what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Comparing against every name costs time in proportion to both; beyond this many nobody reads the list either.
_MAX_COMPARED = 2_000
_MAX_LISTED = 12


def suggestion(wrong: str, known: Iterable[str], what: str) -> str:
    """``; did you mean 'x'?``, or the known names if none is near; empty if there are too many to say."""
    names = list(known)
    if not names or len(names) > _MAX_COMPARED or len(wrong) > 256:
        return ""
    near = difflib.get_close_matches(wrong.lower(), names, n=1) or difflib.get_close_matches(wrong, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    listed = ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
    return f"; {what}: {listed}"
