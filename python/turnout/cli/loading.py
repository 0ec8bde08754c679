"""From the command line's arguments to a configuration and a router; what is wrong with them ends the command."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from ..config import RouterConfig, StateConfig, load_file, load_text
from ..config.placeholders import resolve
from ..errors import ConfigError, RuleError, TurnoutError
from ..router import Router
from ..sources import STDIN, Source, source
from ..sources.file import Bytes
from .output import fail

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="Configuration: YAML or JSON; - is standard input.")
]
InputOption = Annotated[
    str, typer.Option("--input", "-i", metavar="FILE", help="Messages, one JSON object a line; - is standard input.")
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="FILE.py|MODULE",
        help="Python code whose [bold]setup(router)[/bold] is called before anything else: there it calls "
        "router.transport(name, fn) for callable: destinations, and router.custom_rule(name, fn).",
    ),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Makes random choices the same in every run.")]


def read_config(path: str, *, resolve_secrets: bool = True) -> RouterConfig:
    """The configuration at ``path``, ``-`` being standard input as YAML (which JSON is, too).

    Raises:
        ConfigError: it cannot be read, or is not valid.
    """
    if path != STDIN:
        return load_file(path, resolve_secrets=resolve_secrets)
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is not UTF-8: byte {error.start + 1}") from None
    return load_text(text, "<stdin>", resolve_secrets=resolve_secrets)


def alone(config: RouterConfig) -> RouterConfig:
    """The configuration of a router that shares no state: a command that only decides is no worker."""
    return config.model_copy(update={"state": StateConfig()})


def open_router(
    config: str,
    *,
    app: str | None = None,
    seed: int | None = None,
    concurrency: int | None = None,
    worker: bool = False,
) -> Router:
    """The router of a configuration file, with what ``app`` registers; problems end the command.

    ``concurrency`` stands in for ``performance.concurrency``, if given. Only a ``worker`` has a part in shared state.
    """
    try:
        loaded = read_config(config)
        if concurrency is not None:
            performance = loaded.performance.model_copy(update={"concurrency": concurrency})
            loaded = loaded.model_copy(update={"performance": performance})
        router = Router(loaded if worker else alone(loaded), seed=seed)
    except (ConfigError, RuleError) as error:
        fail(str(error))
    if app is not None:
        _set_up(router, app)
    return router


def open_bytes(path: str, config: str) -> Bytes:
    """The input to read messages from; problems end the command."""
    if path == config == STDIN:
        fail("the configuration and the messages cannot both come from standard input")
    try:
        return Bytes(path)
    except (OSError, ValueError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}")


def open_source(url: str, options: Sequence[str] | None, config: str) -> Source:
    """The source to bring messages from, its secrets resolved; problems end the command."""
    if url == config == STDIN:
        fail("the configuration and the messages cannot both come from standard input")
    given = {}
    for text in options or ():
        name, equals, value = text.partition("=")
        if not equals:
            fail(f"--source-option {text!r}: write NAME=VALUE")
        given[name] = value
    try:
        return source(resolve(url, Path()), **given)
    except ConfigError as error:
        fail(str(error))
    except ValueError as error:  # of a placeholder
        fail(f"--source: {error}")


def _set_up(router: Router, app: str) -> None:
    """Calls the app's ``setup``. What it raises is its author's to read: shown with the lines that led there."""
    try:
        made = _setup_of(_import(app), app)(router)
        if inspect.isawaitable(made):
            asyncio.run(_completed(made))
    except typer.Exit:
        raise
    except TurnoutError as error:
        fail(f"{app}: {error}")
    except Exception as error:  # noqa: BLE001 - any code may be in there
        trace = "".join(traceback.format_tb(error.__traceback__)[1:])
        fail(f"{app}: setup failed\n{trace}{type(error).__name__}: {error}")


async def _completed(made: Any) -> None:
    await made


def _import(app: str) -> ModuleType:
    """The module of a file, whose folder may then be imported from, or of a dotted name in the working directory."""
    path = Path(app)
    if path.suffix != ".py" and not path.exists():
        sys.path.insert(0, "")
        try:
            return importlib.import_module(app)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{app}.".startswith(f"{error.name}."):
                raise
            fail(f"{app}: no such file or module; name a .py file, or package.module")
    name = f"turnout_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        fail(f"{app}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[name] = module  # dataclasses and pickling look it up
    spec.loader.exec_module(module)
    return module


def _setup_of(module: ModuleType, app: str) -> Callable[[Router], Any]:
    setup = getattr(module, "setup", None)
    if not callable(setup):
        fail(f"{app}: has no function setup(router); add one that calls router.transport(name, fn)")
    found: Callable[[Router], Any] = setup
    return found
