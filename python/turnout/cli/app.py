"""The command line as a whole: one command a function, each group of them in a file of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from .._core import __version__
from .configuring import check, init, schema
from .deciding import explain, route
from .dlq import dlq
from .running import run
from .simulating import simulate_command

app = typer.Typer(
    help="Routes messages: matches each against rules, picks a destination, delivers, fails over, recovers.",
    epilog="Exit codes: 0 all fine; 1 something was not delivered; 2 bad usage or configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback is for a bug report: plain, and without the values of variables
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"turnout {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself; the help text is given to :data:`app`."""


for command in (init, check, schema, route, explain, run):
    app.command()(command)
app.add_typer(dlq, name="dlq")
app.command("simulate")(simulate_command)
