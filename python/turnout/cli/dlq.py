"""The commands ``dlq list | show | redrive | purge``: dead letters in an outbox, whether or not a router runs on it.

What is changed is changed in one transaction: by this process where no router has the outbox, else by the router, which
is asked through the outbox itself and told of in a second or so.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import RouterConfig, parse_duration
from ..config.names import suggestion
from ..delivery import Attempt, DeadLetter
from ..delivery.letter_file import Action, Outcome, act, read
from ..delivery.redrives import redrive_of, took_of
from ..delivery.selection import Selection, tries_of
from ..errors import ConfigError, RuleError, TurnoutError
from ..router import Router
from .loading import AppOption, ConfigArgument, open_router, read_config
from .output import OK, UNDELIVERED, console, duration, fail, print_json_line, table, until_reader_leaves, warn

_SHOWN = 100
"""Letters in a table where no limit is given."""
_DETAIL = 80
"""Characters of a reason in a table."""

dlq = typer.Typer(
    help="Lists, shows, redrives and purges the dead letters in an outbox.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

IdArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Ids of messages; or numbers of letters, where no message has that id."),
]
OutboxOption = Annotated[
    Path | None, typer.Option("--outbox", metavar="FILE", help="The outbox. Default: the one that CONFIG names.")
]
ReasonOption = Annotated[list[str] | None, typer.Option("--reason", help="Given up on for that reason; repeatable.")]
PoolOption = Annotated[list[str] | None, typer.Option("--pool", help="Meant for that pool; repeatable.")]
DestinationOption = Annotated[
    list[str] | None, typer.Option("--destination", help="An attempt was made there; repeatable.")
]
RuleOption = Annotated[list[str] | None, typer.Option("--rule", help="Routed by that rule; repeatable.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="2h|TIME", help="Given up on within that time, or since (RFC 3339).")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="2h|TIME", help="Given up on longer ago than that, or before.")
]
WhereOption = Annotated[str | None, typer.Option("--where", metavar="CEL", help="A condition: 'message.amount > 100'.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="The oldest so many.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
WaitOption = Annotated[
    str, typer.Option("--wait", metavar="TIME", help="How long to wait for a router that runs on the outbox.")
]


@dlq.command("list")
def list_(
    config: ConfigArgument,
    ids: IdArgument = None,
    outbox: OutboxOption = None,
    reason: ReasonOption = None,
    pool: PoolOption = None,
    destination: DestinationOption = None,
    rule: RuleOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists dead letters, the oldest first."""
    path, letters = _chosen(
        config, outbox, _selection(ids, reason, pool, destination, rule, since, until, where, limit)
    )
    with until_reader_leaves():
        if as_json:
            for letter in letters:
                print_json_line(letter.as_dict())
        else:
            _print_list(path, letters, len(letters) if limit is not None else _SHOWN)
    raise typer.Exit(_found(ids, letters))


@dlq.command()
def show(
    config: ConfigArgument,
    ids: IdArgument = None,
    outbox: OutboxOption = None,
    reason: ReasonOption = None,
    pool: PoolOption = None,
    destination: DestinationOption = None,
    rule: RuleOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows all that is known of letters: the message, why it was given up on, and every attempt."""
    _, letters = _chosen(config, outbox, _selection(ids, reason, pool, destination, rule, since, until, where, limit))
    with until_reader_leaves():
        for letter in letters:
            if as_json:
                print_json_line(letter.as_dict())
            else:
                _print_letter(letter)
    raise typer.Exit(_found(ids, letters))


@dlq.command()
def redrive(
    config: ConfigArgument,
    ids: IdArgument = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="POOL|DESTINATION", help="Where they go. Default: routing says.")
    ] = None,
    outbox: OutboxOption = None,
    reason: ReasonOption = None,
    pool: PoolOption = None,
    destination: DestinationOption = None,
    rule: RuleOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    wait: WaitOption = "10s",
    dry_run: DryRunOption = False,
    app: AppOption = None,
) -> None:
    """Delivers the messages of letters once more, under their ids.

    Each goes through routing again, but not to pools that have it already; the letter of one pool of several goes to
    that pool alone. A router that runs on the outbox does it at once; else the next start does. [bold]--app[/bold] is
    for the custom rules of a dry run.

    Exit code 0: all went. 1: some are queued, or could not go.
    """
    chosen = _selection(ids, reason, pool, destination, rule, since, until, where, limit)
    patience = _seconds("--wait", wait)
    loaded = _loaded(config)
    if to is not None and to not in loaded.pools and to not in loaded.destinations:
        fail(f"--to: no pool or destination {to!r}{suggestion(to, [*loaded.pools, *loaded.destinations], 'known')}")
    path, letters = _chosen(config, outbox, chosen, loaded)
    if dry_run:
        with until_reader_leaves():
            asyncio.run(_print_routes(open_router(config, app=app), letters, to))
        raise typer.Exit(_found(ids, letters))
    _act(path, "redrive", letters, to, patience, ids)


@dlq.command()
def purge(
    config: ConfigArgument,
    ids: IdArgument = None,
    outbox: OutboxOption = None,
    reason: ReasonOption = None,
    pool: PoolOption = None,
    destination: DestinationOption = None,
    rule: RuleOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    wait: WaitOption = "10s",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Deletes letters for good, on disk and in the memory of a router that runs on the outbox.

    Exit code 0: all are gone. 1: some are not yet.
    """
    chosen = _selection(ids, reason, pool, destination, rule, since, until, where, limit)
    patience = _seconds("--wait", wait)
    path, letters = _chosen(config, outbox, chosen)
    if dry_run:
        with until_reader_leaves():
            _print_list(path, letters, len(letters))
            print(f"{_count(letters)} would be deleted")
        raise typer.Exit(_found(ids, letters))
    if letters and not yes:
        typer.confirm(f"Delete {_count(letters)} of {path} for good?", abort=True, err=True)
    _act(path, "purge", letters, None, patience, ids)


def _loaded(config: str) -> RouterConfig:
    try:
        return read_config(config, resolve_secrets=False)
    except (ConfigError, RuleError) as error:
        fail(str(error))


def _chosen(
    config: str, outbox: Path | None, selection: Selection, loaded: RouterConfig | None = None
) -> tuple[Path, list[DeadLetter]]:
    """The outbox and the letters in it that are meant."""
    loaded = loaded or _loaded(config)
    if outbox is None and loaded.outbox is None:
        fail(f"{config}: names no outbox, and dead letters in memory end with their process; name one by --outbox FILE")
    path = outbox or Path(loaded.outbox.path if loaded.outbox is not None else "")
    try:
        letters, unreadable = read(path)
    except ConfigError as error:
        fail(str(error))
    if unreadable:
        warn(f"{path}: {unreadable} letters are damaged and left out; the next start of the router saves what it can")
    return path, selection.pick(letters)


def _selection(
    ids: Sequence[str] | None,
    reason: Sequence[str] | None,
    pool: Sequence[str] | None,
    destination: Sequence[str] | None,
    rule: Sequence[str] | None,
    since: str | None,
    until: str | None,
    where: str | None,
    limit: int | None,
) -> Selection:
    try:
        return Selection.of(
            id=ids or (),
            reason=reason or (),
            pool=pool or (),
            destination=destination or (),
            rule=rule or (),
            since=_time("--since", since),
            until=_time("--until", until),
            where=where,
            limit=limit,
        )
    except RuleError as error:
        fail(f"--where: {error}")


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration(float(text) if text.replace(".", "", 1).isdigit() else text)
    except ValueError as error:
        fail(f"{option}: {error}")


def _time(option: str, text: str | None) -> float | None:
    """A time that an option names: so long ago, or a point in time."""
    if text is None:
        return None
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is no duration such as 2h, and no time such as 2025-01-31T12:00:00Z")
    if found.utcoffset() is None:
        fail(f"{option}: {text!r} has no time zone; write it with one, such as {text}Z")
    return found.timestamp()


def _found(ids: Sequence[str] | None, letters: Sequence[DeadLetter]) -> int:
    """The exit code of a command that looks: letters that were asked for by id must be there."""
    known = {name for letter in letters for name in (letter.id, str(letter.number))}
    missing = [name for name in ids or () if name not in known]
    if missing:
        warn(f"no such dead letters: {', '.join(missing)}")
    return UNDELIVERED if missing else OK


def _act(
    path: Path, action: Action, letters: list[DeadLetter], to: str | None, patience: float, ids: Sequence[str] | None
) -> None:
    """Does it, and says what became of it."""
    missing = _found(ids, letters)
    try:
        outcome = act(path, action, letters, to, wait=patience) if letters else Outcome(alive=False, done=0)
    except ConfigError as error:
        fail(str(error))
    done = "deleted" if action == "purge" else "redriven" if outcome.alive else "redriven: the next start delivers them"
    with until_reader_leaves():
        print(f"{outcome.done:,} {done}")
        if outcome.queued:
            print(f"{outcome.queued:,} queued: the router on {path} has not done it within {patience:g} s, but will")
        if outcome.refused:
            print(f"{outcome.refused:,} still there: the log of the router on {path} says why")
    raise typer.Exit(UNDELIVERED if missing or outcome.queued or outcome.refused else OK)


async def _print_routes(router: Router, letters: Iterable[DeadLetter], to: str | None) -> None:
    """Where each would go now."""
    rows = [(letter.number, letter.id, await _route(router, letter, to)) for letter in letters]
    _print_table("Redrive, not done", ("number", "id", "would go to"), rows)


async def _route(router: Router, letter: DeadLetter, to: str | None) -> str:
    target = redrive_of(letter, to).target
    try:
        if target is not None:
            router._plan_to(letter.message, target, "redrive")
            return target
        plan = await router._decide(letter.message)
    except TurnoutError as error:
        return f"nowhere: {error}"
    by = f"rule {plan.rule}" if plan.rule is not None else plan.stage
    if not plan.pools:
        return f"nowhere: {by} says dead_letter"
    if plan.mode == "first":
        return f"{' or '.join(plan.pools)} ({by})"
    took = took_of(letter)
    missing = [name for name in plan.pools if name not in took]
    have = f"; {', '.join(sorted(took))} have it" if took else ""
    return f"{' and '.join(missing) or 'nowhere: all its pools have it'} ({by}{have})"


def _print_list(path: Path, letters: Sequence[DeadLetter], most: int) -> None:
    now = time.time()
    rows = [
        (
            letter.number, letter.id, f"{duration(max(now - letter.at, 0.0))}", letter.reason, letter.pool or "-",
            letter.rule or letter.stage or "-", letter.tried, letter.redriven, _short(letter.detail),
        )
        for letter in letters[:most]
    ]  # fmt: skip
    columns = ("number", "id", "ago", "reason", "pool", "rule", "tried", "redriven", "detail")
    _print_table(f"Dead letters of {path}", columns, rows, right=("number", "ago", "tried", "redriven"))
    if len(letters) > most:
        print(f"{most:,} of {_count(letters)}; --limit or --json for more")


def _print_letter(letter: DeadLetter) -> None:
    facts: list[tuple[str, Any]] = [
        ("number", letter.number),
        ("status", letter.status),
        ("reason", f"{letter.reason}: {letter.detail}"),
        ("at", datetime.fromtimestamp(letter.at).astimezone().isoformat(timespec="milliseconds")),
        ("after", duration(letter.elapsed)),
        ("rule", letter.rule or "-"),
        ("stage", letter.stage or "-"),
        ("pool", (letter.pool or "-") + (", of several: the others have it" if letter.partial else "")),
        ("priority", letter.priority),
        ("tried", f"{letter.tried} times in all"),
        ("redriven", f"{letter.redriven} times before"),
        *((f"in {branch.pool}", f"{branch.status} {branch.detail or ''}".rstrip()) for branch in letter.branches),
        ("message", letter.message),
    ]
    _print_table(f"Letter of {letter.id}", ("what", "is"), facts)
    columns = ("attempt", "destination", "pool", "outcome", "kind", "took", "error")
    rows = [_attempt(attempt) for attempt in tries_of(letter)]
    _print_table("Attempts", columns, rows, right=("attempt", "took"))


def _attempt(one: Attempt) -> tuple[object, ...]:
    return (one.number, one.destination, one.pool, one.outcome, one.kind or "-", duration(one.elapsed), one.error or "")


def _print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> None:
    out = console(sys.stdout)
    with out.capture() as captured:
        out.print(table(title, columns, rows, right=right))
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), end="\n\n")


def _short(text: str) -> str:
    return text if len(text) <= _DETAIL else f"{text[: _DETAIL - 1]}…"


def _count(letters: Sequence[DeadLetter]) -> str:
    return f"{len(letters):,} dead letter{'' if len(letters) == 1 else 's'}"
