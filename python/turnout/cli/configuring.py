"""The commands about a configuration alone: ``check``, ``schema``, ``init``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..config import RouterConfig, json_schema, notices, starter
from ..errors import ConfigError, RuleError
from ..router import Router
from ..sources.file import STDIN
from .loading import ConfigArgument, alone, read_config
from .output import OK, USAGE, fail, print_json, until_reader_leaves, warn


def check(
    config: ConfigArgument,
    strict: Annotated[bool, typer.Option("--strict", help="Notices count as problems.")] = False,
    secrets: Annotated[
        bool, typer.Option("--secrets/--no-secrets", help="Whether ${env:...} and ${file:...} must resolve here.")
    ] = True,
) -> None:
    """Says everything that is wrong with a configuration, as file:line:column, and what in it has no effect.

    Exit code 0: it can go live. 2: it cannot.
    """
    try:
        loaded = read_config(config, resolve_secrets=secrets)
        Router(alone(loaded if secrets else _without_urls(loaded)))
    except (ConfigError, RuleError) as error:
        found = len(error.problems) if isinstance(error, ConfigError) else 1
        fail(f"{error}\n{found} {'problem' if found == 1 else 'problems'}")
    said = notices(loaded)
    for notice in said:
        warn(f"notice: {config}: {notice}")
    if said and strict:
        raise typer.Exit(USAGE)
    with until_reader_leaves():
        counts = f"{len(loaded.rules)} rules, {len(loaded.pools)} pools, {len(loaded.destinations)} destinations"
        print(f"{config}: fine ({counts})")


def _without_urls(config: RouterConfig) -> RouterConfig:
    """The configuration as far as a router can be made of it without its secrets: its rules, pools and references."""
    bare = {name: one.model_copy(update={"url": None}) for name, one in config.destinations.items()}
    return config.model_copy(update={"destinations": bare})


def schema() -> None:
    """Writes the JSON Schema of configuration files, for editors.

    In VS Code and others, first line of the file: # yaml-language-server: $schema=turnout.schema.json
    """
    with until_reader_leaves():
        print_json(json_schema())


def init(
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="The file to write; - is standard output.")
    ] = "router.yaml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Writes a commented configuration to start from."""
    text = starter()
    if path == STDIN:
        with until_reader_leaves():
            sys.stdout.write(text)
        raise typer.Exit(OK)
    try:
        with Path(path).open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path}: exists already; --force overwrites it")
    except (OSError, ValueError) as error:
        fail(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")
    with until_reader_leaves():
        print(f"{path}: written; next: turnout check {path}")
