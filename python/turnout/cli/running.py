"""The command ``run``: routes and delivers a file of messages, and shows what became of every one."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..router import Router
from ..sources import STDIN, FileSource, Source
from .loading import AppOption, ConfigArgument, SeedOption, open_router, open_source
from .output import fail, until_reader_leaves
from .progress import Watcher, watcher
from .session import Pace, Session
from .summary import Summary


def run(
    config: ConfigArgument,
    messages: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="Messages, one JSON object a line; the same as --source."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="URL|FILE",
            help="Where messages come from: redis://, nats://, amqp:// or kafka:// with options as the query; or a "
            "file; - is standard input, and the default.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--source-option", metavar="NAME=VALUE", help="As in its url; repeatable.")
    ] = None,
    app: AppOption = None,
    dead_letters: Annotated[
        Path | None,
        typer.Option(
            "--dead-letters",
            "--spool",
            metavar="FILE",
            help="Moves every message given up on to this file, as JSON lines; with an outbox, earlier runs' too.",
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.001, help="Messages a second, at most.")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, max=1_000_000, help="Messages in the works at once. Default: as configured."
        ),
    ] = None,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds to settle what is in flight after SIGINT or SIGTERM.")
    ] = 30.0,
    seed: SeedOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON, for programs.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; only what is wrong, and the summary.")
    ] = False,
) -> None:
    """Routes and delivers messages, and shows what became of every one.

    From a broker, messages are acknowledged when they are in the outbox; without one, when they are delivered, or in
    the file of --dead-letters; else they go back. Processes with the same group share the work.

    What is no message is named, with the number of its line, counted as rejected, and the rest goes on. Ctrl-C or
    SIGTERM stops reading, settles what is in flight and prints the summary; a second one does not wait. What an outbox
    has left over from earlier runs is settled too; dead letters stay in it, for turnout dlq, unless --dead-letters
    names a file.

    Exit code 0: everything was delivered. 1: something was rejected, dead-lettered, expired, kept or is still waiting.
    """
    router = open_router(config, app=app, seed=seed, concurrency=concurrency, worker=True)
    if dead_letters is not None and router.config.dead_letters.max_kept == 0:
        fail(
            f"{config}: dead_letters.max_kept is 0, so there is nothing to write to {dead_letters}; set it to 1 or more"
        )
    pace = Pace(router.config.performance.concurrency, rate, drain)
    source = open_source(_named(messages, where), option, config)
    size = source.bytes.size if isinstance(source, FileSource) else None
    with ExitStack() as files:
        letters = None if dead_letters is None else files.enter_context(_opened(dead_letters))
        try:
            summary = asyncio.run(_run(router, source, pace, watcher(size, quiet=quiet), letters))
        except ConfigError as error:  # a transport that cannot work
            fail(str(error))
    with until_reader_leaves():
        if as_json:
            summary.print_json()
        else:
            summary.print_tables([rule.id for rule in router.config.rules])
    raise typer.Exit(summary.exit_code)


def _named(messages: str | None, where: str | None) -> str:
    if messages is not None and where is not None:
        fail("--input and --source say the same thing; give one of them")
    return where or messages or STDIN


def _opened(path: Path) -> FileIO:
    try:
        file = path.open("ab", buffering=0)
        if path.is_file() and path.stat().st_size and _last_byte(path) != b"\n":
            file.write(b"\n")  # a kill cut off the last line
        return file
    except (OSError, ValueError) as error:
        fail(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


async def _run(router: Router, source: Source, pace: Pace, watching: Watcher, letters: FileIO | None) -> Summary:
    session = Session(router, source, pace, watching, letters)
    began = time.monotonic()
    await session.run()
    return Summary(
        seconds=time.monotonic() - began,
        rejected=session.rejected,
        routed=dict(session.routed),
        failovers=session.failovers,
        ledger=router.ledger,
        stats=router.stats(),
        events=router.event_log(),
        stopped_by=session.stopped_by,
        trouble=session.trouble,
    )
