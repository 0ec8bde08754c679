"""What all configuration models share: frozen, no unknown keys, no values bent into shape, no input in messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt


class Model(BaseModel):
    """Base of every configuration model."""

    # `hide_input_in_errors`: a wrong value may be a secret in the wrong place.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        use_attribute_docstrings=False,
        validate_default=False,
    )


@dataclass(frozen=True)
class Loading:
    """What validation may need from its surroundings; passed as pydantic's validation context."""

    base: Path = Path()
    """The directory that relative paths in ``${file:...}`` start from."""
    resolve_secrets: bool = True
    """Whether placeholders are replaced; False checks a configuration where its secrets are not."""


class ModelError(ValueError):
    """Several problems found by one validator, each at a path relative to the validated value."""

    def __init__(self, found: list[Finding]) -> None:
        super().__init__("; ".join(finding.message for finding in found))
        self.found = found


@dataclass(frozen=True)
class Finding:
    """One problem, at a path relative to what was checked."""

    path: tuple[str | int, ...]
    message: str
    key: bool = False
    """Whether the key is at fault rather than its value."""


def _name(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("a name has no space around it and no control characters")
    return value


def _names(value: object) -> object:
    """One name stands for a list of one."""
    return (value,) if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_name)]
"""The id of a rule, pool or destination."""
Names = Annotated[
    tuple[Name, ...],
    Field(min_length=1),
    BeforeValidator(_names, json_schema_input_type=Name | Annotated[list[Name], Field(min_length=1)]),
]
"""One name, or a list of them in order of preference."""
Switch = StrictBool
Count = StrictInt
Number = StrictFloat
