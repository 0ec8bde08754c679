"""Validation errors -> :class:`~turnout.errors.Problem`: whole sentences, each with its file, line and column.

No sentence repeats a value from a url or a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..errors import Problem
from .model import Finding, ModelError
from .names import suggestion
from .root import RouterConfig
from .source import KeyPath, Source

_SECRET_KEYS = frozenset({"url", "secret", "headers", "proxy"})
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (Mapping, "a mapping"),
    ((list, tuple), "a list"),
)
_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
}
_LIMITS: dict[str, tuple[str, str]] = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def from_validation(
    error: ValidationError,
    data: object,
    prefix: KeyPath,
    *,
    model: type[BaseModel] = RouterConfig,
    across: bool = True,
) -> list[tuple[KeyPath, str, bool]]:
    """Every problem in ``error``: path, sentence, and whether the key rather than its value is at fault.

    - ``data``, ``model``: what was validated, and as what; ``prefix``: the keys that lead to it from the top.
    - ``across``: False leaves out what the model as a whole found, for who asks
      :func:`~.references.find_problems`, which sees ``data`` as it was written.
    """
    problems: list[tuple[KeyPath, str, bool]] = []
    for details in error.errors(include_url=False):
        path, is_key = _path(details, data)
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, ModelError) and not path and not across:
            continue
        if details["type"] == "too_short" and details["input"]:
            continue  # pydantic counts the items that are valid; the others have errors of their own
        if isinstance(cause, ModelError):
            problems += [((*prefix, *path, *one.path), one.message, one.key) for one in cause.found]
        else:
            problems.append(((*prefix, *path), _sentence(details, path, is_key, model), is_key))
    return problems


def from_findings(found: list[Finding], prefix: KeyPath) -> list[tuple[KeyPath, str, bool]]:
    """Findings of the reference checks, in the form of :func:`from_validation`."""
    return [((*prefix, *finding.path), finding.message, finding.key) for finding in found]


def placed(found: list[tuple[KeyPath, str, bool]], source: Source | None) -> list[Problem]:
    """Problems with their file, line and column, without repetitions, in the order of the file."""
    unique = list(dict.fromkeys(found))
    if source is None:
        return [Problem(path, message) for path, message, _ in unique]
    problems = [*source.problems, *(source.problem(path, message, key=key) for path, message, key in unique)]
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))


def _path(details: ErrorDetails, data: object) -> tuple[KeyPath, bool]:
    """The path in the user's data: pydantic's, without the names of union branches and its mark for mapping keys.

    Of a missing key, the path of what it is missing from.
    """
    path: list[str | int] = []
    location = details["loc"][:-1] if details["type"] == "missing" else details["loc"]
    is_key = details["type"] == "extra_forbidden" or "[key]" in location[-1:]
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(part, str) and (part.startswith("<") or (part == "[key]" and last)):
            continue
        inside = data
        if isinstance(inside, Mapping):
            data = inside.get(part)
        elif isinstance(inside, (list, tuple)) and isinstance(part, int) and part < len(inside):
            data = inside[part]
        elif isinstance(inside, BaseModel) and isinstance(part, str):
            data = getattr(inside, part, None)
        else:
            continue  # a text that stands for a list of one, or for {id: ...}
        path.append(part)
    return tuple(path), is_key


def _sentence(details: ErrorDetails, path: KeyPath, is_key: bool, model: type[BaseModel]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + suggestion(str(path[-1]), keys_at(model, path[:-1]), "known keys")
    if kind == "missing":
        return f"the key {details['loc'][-1]!r} is missing"
    value, shown = details["input"], not _SECRET_KEYS & set(map(str, path[-2:]))
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {_describe(value, shown)}{_boolean_hint(kind, value)}"
    if kind in _LIMITS:
        word, name = _LIMITS[kind]
        return f"must be {word} {context[name]}, found {_describe(value, shown)}"
    if maker := _OTHERS.get(kind):
        return maker(details, shown)
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{'the key ' if is_key and kind == 'value_error' else ''}{message[:1].lower()}{message[1:]}"


def _literal(details: ErrorDetails, shown: bool) -> str:
    value = details["input"]
    names = _literals(details["ctx"]["expected"])
    if not isinstance(value, str):
        return f"expected one of {', '.join(names)}; found {_describe(value, shown)}"
    near = suggestion(value, names, "")
    hint = near + " " if near.endswith("?") else "; "
    return f"unknown value {value[:80]!r}{hint}known: {', '.join(names)}"


def _literals(expected: str) -> list[str]:
    """The names in pydantic's ``'a', 'b' or 'c'``."""
    return [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]


def _too_short(details: ErrorDetails, shown: bool) -> str:
    return "must not be empty"


def _too_long(details: ErrorDetails, shown: bool) -> str:
    return f"must be at most {details['ctx']['max_length']} characters long"


_OTHERS: dict[str, Callable[[ErrorDetails, bool], str]] = {
    "literal_error": _literal,
    "string_too_short": _too_short,
    "too_short": _too_short,
    "string_too_long": _too_long,
}


def _describe(value: object, shown: bool) -> str:
    """What was found: a short value itself, else its kind."""
    if value is None:
        return "nothing"
    kind = next((name for types, name in _KINDS if isinstance(value, types)), type(value).__name__)
    if not shown or isinstance(value, (Mapping, list, tuple)):
        return kind
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value[:80]!r}"
    return str(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**30) else kind


def _boolean_hint(kind: str, value: object) -> str:
    if isinstance(value, str) and kind == "bool_type" and value.lower() in ("yes", "on", "no", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    return ""


def keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that ``model`` knows at ``path``; none if no model is there."""
    annotation: Any = model
    for part in path:
        annotation = next(filter(None, (_step(one, part) for one in _alternatives(annotation))), None)
    return [key for one in _alternatives(annotation) if _is_model(one) for key in one.model_fields]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a union, annotated or not, is made of; a type that is none, itself."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _alternatives(arguments[0])
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    else:
        yield annotation


def _step(annotation: Any, part: str | int) -> Any:
    """What the type has below ``part``; None if nothing is known of it."""
    if _is_model(annotation):
        field = annotation.model_fields.get(part)
        return field.annotation if field else None
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
