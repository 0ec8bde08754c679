"""The commands that decide and deliver nothing: ``route`` and ``explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import typer

from ..errors import ConfigError, TurnoutError
from ..reports import Explanation, RuleExplanation
from ..router import Router
from ..sources.file import STDIN, Bytes
from ..sources.ndjson import Line, LineReader
from .loading import AppOption, ConfigArgument, InputOption, SeedOption, open_bytes, open_router
from .output import OK, UNDELIVERED, fail, print_json_line, until_reader_leaves

Asked: TypeAlias = list[str] | Literal["all"] | None
"""Rules to explain besides the candidates."""


def route(
    config: ConfigArgument, messages: InputOption = STDIN, app: AppOption = None, seed: SeedOption = None
) -> None:
    """Decides where each message would go: one decision a line, as JSON with the line's number.

    A message without a decision has an "error" in its place. Exit code 0: all have one. 1: some have none.
    """
    router = open_router(config, app=app, seed=seed)
    failed = False
    with until_reader_leaves():
        for batch in _batches(open_bytes(messages, config)):
            good = [line.message for line in batch if line.message is not None]
            decisions = iter(router.route_many(good))
            for line in batch:
                decision = next(decisions) if line.message is not None else line.problem or ""
                if isinstance(decision, (str, Exception)):
                    failed = True
                    print_json_line(_error(line, decision))
                else:
                    print_json_line({**_named(line), **decision.as_dict()})
            sys.stdout.flush()  # a live source is answered as it speaks
    raise typer.Exit(UNDELIVERED if failed else OK)


def explain(
    config: ConfigArgument,
    messages: InputOption = STDIN,
    app: AppOption = None,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A rule to explain, candidate or not; may be repeated.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Explain every rule there is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message, for programs.")] = False,
) -> None:
    """Says for each message which rule decides, which rules were candidates, and why each matches or not.

    A candidate is a rule that the index found for the message: in brackets stands what it was found by.

    Exit code 0: every message has a route. 1: some have none, or cannot be read.
    """
    router = open_router(config, app=app)
    asked: Asked = "all" if every else rule
    failed = False
    with until_reader_leaves():
        for batch in _batches(open_bytes(messages, config)):
            for line in batch:
                outcome = _explained(router, line, asked)
                failed |= isinstance(outcome, (str, TurnoutError)) or outcome.stage is None
                if as_json:
                    _print_json(line, outcome)
                else:
                    _print_text(line, outcome)
            sys.stdout.flush()
    raise typer.Exit(UNDELIVERED if failed else OK)


def _batches(source: Bytes) -> Iterator[list[Line]]:
    try:
        yield from LineReader(source.read).batches()
    except OSError as error:
        fail(f"{source.name}: {error.strerror or error}")
    finally:
        source.close()


def _explained(router: Router, line: Line, rules: Asked) -> Explanation | TurnoutError | str:
    if line.message is None:
        return line.problem or ""
    try:
        return router.explain(line.message, rules=rules)
    except ConfigError as error:  # an id that is not there: no message can be explained
        fail(str(error))
    except TurnoutError as error:
        return error


def _named(line: Line) -> dict[str, Any]:
    """What a line's result begins with: its number, and the message's id if it has one."""
    number: dict[str, Any] = {"line": line.number}
    if line.message is not None and isinstance(line.message.get("id"), str):
        number["id"] = line.message["id"]
    return number


def _error(line: Line, problem: Exception | str) -> dict[str, Any]:
    return {**_named(line), "error": str(problem)}


def _print_json(line: Line, outcome: Explanation | TurnoutError | str) -> None:
    found = {**_named(line), **outcome.as_dict()} if isinstance(outcome, Explanation) else _error(line, outcome)
    print_json_line(found)


def _print_text(line: Line, outcome: Explanation | TurnoutError | str) -> None:
    head = f"line {line.number}" + (f", {_named(line)['id']}" if "id" in _named(line) else "")
    if not isinstance(outcome, Explanation):
        print(f"{head}: {outcome}")
        return
    print(f"{head}: {_verdict(outcome)}")
    print(f"  {len(outcome.candidates)} of {_count(outcome.total, 'rule')} found, {outcome.looked_at} looked at")
    width = max((len(rule.id) for rule in outcome.rules), default=0)
    for rule in outcome.rules:
        print(f"  {_mark(rule, outcome)} {rule.id:<{width}}  {_why(rule)} [{rule.found_by or 'not found'}]")


def _verdict(outcome: Explanation) -> str:
    if outcome.stage is None:
        return "no route"
    return f"{outcome.winner} decides" if _won(outcome) else f"{outcome.stage} decides"


def _won(outcome: Explanation) -> bool:
    """Whether the rules decided, rather than an earlier stage."""
    return outcome.stage == "content_based" and outcome.winner is not None


def _mark(rule: RuleExplanation, outcome: Explanation) -> str:
    return "-" if not rule.matched else ">" if rule.id == outcome.winner and _won(outcome) else "+"


def _why(rule: RuleExplanation) -> str:
    if rule.matched:
        return "matches"
    note = f" ({rule.note})" if rule.note else ""
    return f"needs {rule.field or rule.failed_predicate} that {rule.asked}; there: {rule.seen}{note}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
