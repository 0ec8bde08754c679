"""Loading a configuration from a file, a text or a mapping: either valid as a whole, or a ConfigError with everything
that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ..errors import ConfigError, Problem
from .json_source import read_json
from .model import Loading
from .problems import from_findings, from_validation, placed
from .references import find_problems
from .root import RouterConfig, plain
from .rules import condition_problems
from .source import MAX_BYTES, KeyPath, Source, has_surrogate
from .yaml_source import read_yaml

ROOT = "message_router"

Format = Literal["yaml", "json"]
_APPENDED = ("rules",)
_MERGED = ("pools", "destinations")


def load_file(
    path: str | Path, *, code: Mapping[str, object] | None = None, resolve_secrets: bool = True
) -> RouterConfig:
    """Reads a UTF-8 file of at most 4 MiB: JSON if its name ends in ``.json``, else YAML.

    - ``code``: what comes from code besides, as in :func:`extend`; the file may refer to it.
    - ``resolve_secrets``: False leaves ``${env:...}`` and ``${file:...}`` as they stand, to check a file where its
      secrets are not. Relative paths of secret files start at the file's directory.

    Raises:
        ConfigError: cannot be read, or is not valid; lists every problem with line and column.
    """
    name, path = str(path), Path(path)
    data = b""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        remedy = ""
    except FileNotFoundError:
        remedy = "no such file; `turnout init` writes one to start from"
    except IsADirectoryError:
        remedy = "a directory; name the file in it"
    except (OSError, ValueError) as error:
        remedy = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if remedy:
        raise ConfigError([Problem((), remedy, name)])
    text, problem = _decode(data, name)
    if problem is not None:
        raise ConfigError([problem])
    kind: Format = "json" if path.suffix.lower() == ".json" else "yaml"
    return _load_text(text, name, kind, code, Loading(path.parent, resolve_secrets))


def load_text(
    text: str,
    name: str = "<text>",
    format: Format = "yaml",
    *,
    code: Mapping[str, object] | None = None,
    resolve_secrets: bool = True,
) -> RouterConfig:
    """Reads YAML or JSON text; ``name`` stands for the file in errors. The rest is as in :func:`load_file`.

    Raises:
        ConfigError: not valid; lists every problem with line and column.
    """
    if has_surrogate(text):
        raise ConfigError([Problem((), "holds half of a surrogate pair; text is Unicode", name)])
    return _load_text(text, name, format, code, Loading(resolve_secrets=resolve_secrets))


def load_dict(
    mapping: Mapping[str, object] | RouterConfig,
    *,
    code: Mapping[str, object] | None = None,
    resolve_secrets: bool = True,
) -> RouterConfig:
    """A configuration from a mapping: with the one key ``message_router``, or what would stand below it.

    Values may be models. A :class:`RouterConfig` is taken as it is.

    Raises:
        ConfigError: not valid; lists every problem with its path.
    """
    if isinstance(mapping, RouterConfig):
        return extend(mapping, code) if code else mapping
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"a configuration is a mapping, not {type(mapping).__name__}")
    return _validate(dict(mapping), None, code, Loading(resolve_secrets=resolve_secrets), bare=ROOT not in mapping)


def extend(config: RouterConfig, code: Mapping[str, object]) -> RouterConfig:
    """``config`` with what comes from code besides, checked again as a whole.

    ``code`` has keys of the configuration: its ``rules`` are added after those of ``config``; its ``pools`` and
    ``destinations`` are added to them, and replace those of the same id; any other key replaces the section.

    Raises:
        ConfigError: they do not fit together.
    """
    whole = _validate(dict(plain(config)), None, code, Loading(), bare=True)
    whole._source, whole._prefix = config._source, config._prefix
    return whole


def _decode(data: bytes, name: str) -> tuple[str, Problem | None]:
    if len(data) > MAX_BYTES:
        return "", Problem((), f"longer than {MAX_BYTES // 2**20} MiB; add large rule sets from code", name)
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return "", Problem((), "not UTF-8; save the file as UTF-8", name, line)


def _load_text(text: str, name: str, kind: Format, code: Mapping[str, object] | None, loading: Loading) -> RouterConfig:
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise ConfigError([Problem((), f"longer than {MAX_BYTES // 2**20} MiB; add large rule sets from code", name)])
    text = text.removeprefix("\ufeff")
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise ConfigError([Problem((), "holds a NUL byte; it is not text", name, line)])
    source = read_json(text, name) if kind == "json" else read_yaml(text, name)
    if not source.sound:
        raise ConfigError(placed([], source))
    data = source.root.data
    if not isinstance(data, dict):
        found = "a list" if isinstance(data, list) else "a single value" if data is not None else "nothing"
        message = f"expected a mapping with the key '{ROOT}', found {found}"
        if data is None:
            message += "; `turnout init` writes a file to start from"
        raise ConfigError([source.problem((), message)])
    return _validate(data, source, code, loading, bare=False)


def _validate(
    data: dict[str, object], source: Source | None, code: Mapping[str, object] | None, loading: Loading, *, bare: bool
) -> RouterConfig:
    """Validates ``data``, with ``code`` added. ``bare``: the key ``message_router`` is left out."""
    prefix: KeyPath = () if bare else (ROOT,)
    found: list[tuple[KeyPath, str, bool]] = []
    inner: object = data
    if not bare:
        found += [((str(key),), f"unknown key; everything stands below '{ROOT}'", True) for key in data if key != ROOT]
        if ROOT not in data:
            found.insert(0, ((), f"the key {ROOT!r} is missing", False))
            raise ConfigError(placed(found, source))
        inner = {} if data[ROOT] is None else data[ROOT]
    whole = _added(inner, code) if code else inner
    try:
        config = RouterConfig.model_validate(whole, context=loading)
    except ValidationError as error:
        found += from_validation(error, whole, prefix, across=False)
        found += from_findings(find_problems(whole), prefix)
        found += [((*prefix, *path), message, False) for path, message in condition_problems(whole)]
    else:
        if not found and not (source and source.problems):
            config._source, config._prefix = source, prefix
            return config
    raise ConfigError(placed(found, source))  # outside of the handler: pydantic's error holds the values


def _added(inner: object, code: Mapping[str, object]) -> object:
    if not isinstance(inner, Mapping):
        return inner
    whole = dict(inner)
    for key, value in code.items():
        old = whole.get(key)
        if key in _APPENDED and isinstance(old, (list, tuple)) and isinstance(value, (list, tuple)):
            whole[key] = [*old, *value]
        elif key in _MERGED and isinstance(old, Mapping) and isinstance(value, Mapping):
            whole[key] = {**old, **value}
        else:
            whole[key] = value
    return whole
