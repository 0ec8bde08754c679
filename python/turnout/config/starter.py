"""The file that `turnout init` writes."""

from __future__ import annotations

from importlib.resources import files


def starter() -> str:
    """A commented YAML configuration that loads without problems or notices."""
    return files(__package__).joinpath("starter.yaml").read_text(encoding="utf-8")
