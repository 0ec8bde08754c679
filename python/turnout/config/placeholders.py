"""Secrets by reference: ``${env:NAME}`` and ``${file:PATH}`` inside a text; ``$${`` stands for ``${``.

Errors name the variable or the file, never a value. A replaced value is not searched again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_FILE_BYTES = 64 * 1024
"""Bytes of one secret file."""

_PLACEHOLDER = re.compile(r"\$(\$)?\{(?:([^{}]*)\})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOW = "write ${env:NAME} or ${file:PATH}, or $${ for a plain ${"


def has_placeholder(text: str) -> bool:
    """Whether :func:`resolve` would replace something, or refuse to."""
    return any(not match.group(1) for match in _PLACEHOLDER.finditer(text))


def resolve(text: str, base: Path) -> str:
    """``text`` with its placeholders replaced; relative file paths start at ``base``.

    Raises:
        ValueError: a placeholder that is malformed, or whose variable or file is missing, empty or unreadable.
    """
    return _PLACEHOLDER.sub(lambda match: _replacement(match, base), text)


def _replacement(match: re.Match[str], base: Path) -> str:
    escaped, inner = match.group(1), match.group(2)
    if escaped:
        # Only the opening is escaped: what follows is plain text and stands as written.
        return "${" + (f"{inner}}}" if inner is not None else "")
    if inner is None:
        raise ValueError(f"a placeholder is not closed: {_HOW}")
    kind, colon, name = inner.partition(":")
    if kind == "env" and colon:
        return _variable(name)
    if kind == "file" and colon:
        return _file(name, base)
    # The inside may be a secret that happens to look like a placeholder, so only a variable's name is repeated.
    hint = f"did you mean ${{env:{inner}}}? " if _VARIABLE.fullmatch(inner) and inner.isupper() else ""
    raise ValueError(f"not a known kind of placeholder: {hint}{_HOW}")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("not a name of an environment variable: letters, digits and '_' only")
    value = os.environ.get(name)
    if not value:
        state = "empty" if value == "" else "not set"
        raise ValueError(f"the environment variable {name} is {state}")
    return value


def _file(name: str, base: Path) -> str:
    if not name or "\0" in name:
        raise ValueError("${file:...} names no file")
    try:
        with (base / name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the secret file {name} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the secret file {name} is longer than {MAX_FILE_BYTES // 1024} KiB")
    try:
        value = content.decode("utf-8")
    except UnicodeDecodeError:
        value = "\0"
    if "\0" in value:
        raise ValueError(f"the secret file {name} is not UTF-8 text")
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise ValueError(f"the secret file {name} is empty")
    return value
