"""The command ``simulate``: a pool of a configuration under every policy, in simulated time."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..config import POLICIES, parse_duration
from ..config.names import suggestion
from ..errors import ConfigError
from ..simulation import FORMATS, PRESETS, Scenario, Simulated, load_scenario, preset, simulate
from .loading import ConfigArgument, read_config
from .output import OK, console, fail, print_json, table, until_reader_leaves, warn

_ALL = "all"
_MOST_COLUMNS = 12
_MOST_SWITCHES = 20


def simulate_command(
    config: ConfigArgument,
    pool: Annotated[str | None, typer.Option("--pool", help="The pool; may be left out where there is one.")] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="A,B|all", help="Policies to compare. Default: the pool's own."),
    ] = None,
    scenario: Annotated[
        str,
        typer.Option("--scenario", metavar="NAME|FILE", help=f"A YAML file, or one of: {', '.join(PRESETS)}."),
    ] = "steady",
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, help="Messages a second. Default: half of what primary destinations serve."),
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="How long messages come, such as 2m. Default: 2m.")
    ] = None,
    routers: Annotated[
        int | None, typer.Option("--routers", min=1, max=10_000, help="Routers, such as processes.")
    ] = None,
    shared: Annotated[
        bool | None, typer.Option("--shared/--own", help="Whether they share what they know of destinations.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Everything random follows from it.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png|FILE.svg", help="Draws latency, shares and states.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything measured, as JSON.")] = False,
) -> None:
    """Simulates a pool: what each policy does when destinations are slow, fail or come back.

    The pool's weights, tiers, caps and failover settings are those of the configuration, and the code that picks is the
    router's own; only time is simulated, so minutes of traffic take a second. A scenario file says how many messages
    come, how long destinations work on them, and what goes wrong when; README has one.
    """
    draw = None if plot is None else _drawer(plot)
    try:
        loaded = read_config(config, resolve_secrets=False)
        wanted = {"rate": rate, "routers": routers, "shared": shared, "seed": seed}
        given: dict[str, object] = {name: value for name, value in wanted.items() if value is not None}
        simulated = simulate(loaded, _scenario(scenario, duration, given), pool=pool, policies=_policies(policy))
    except ConfigError as error:
        fail(str(error))
    if draw is not None and plot is not None:
        try:
            draw(simulated, plot)
        except OSError as error:
            fail(f"{plot}: cannot be written: {error.strerror or error}")
        warn(f"{plot}: written")
    for outcome in simulated.outcomes:
        if outcome.ended_early:
            warn(f"{outcome.policy}: ended early: {outcome.ended_early}")
    with until_reader_leaves():
        if as_json:
            print_json(simulated.as_dict())
        else:
            _print_tables(simulated)
    raise typer.Exit(OK)


def _scenario(name: str, duration: str | None, given: dict[str, object]) -> Scenario:
    length = None
    if duration is not None:
        try:
            length = parse_duration(duration if not duration.replace(".", "", 1).isdigit() else float(duration))
        except ValueError as error:
            raise ConfigError(f"--duration: {error}") from None
        if not length:
            raise ConfigError("--duration: must be above 0")
    if name in PRESETS or not (name.endswith((".yaml", ".yml", ".json")) or Path(name).exists()):
        if name not in PRESETS:
            raise ConfigError(f"--scenario: no {name!r}{suggestion(name, PRESETS, 'presets')}; or give a .yaml file")
        made = preset(name) if length is None else preset(name, duration=length)
    else:
        made = load_scenario(name)
        if length is not None:
            given = {**given, "duration": length}
    return made.changed(**given) if given else made


def _policies(names: str | None) -> list[str]:
    if names is None:
        return []
    if names == _ALL:
        return list(POLICIES)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in POLICIES:
            raise ConfigError(f"--policy: no policy {name!r}{suggestion(name, POLICIES, 'policies')}; or all")
    return list(dict.fromkeys(wanted))


def _drawer(path: Path) -> Callable[[Simulated, Path], None]:
    """What draws, looked for before the work of simulating is done."""
    if path.suffix.lower() not in FORMATS:
        fail(f"{path}: a plot is a .png or .svg file; name it so")
    try:
        module = importlib.import_module("turnout.simulation.plot")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("matplotlib", "numpy"):
            raise
        fail(f"--plot needs {error.name}; install it with: pip install 'turnout[plot]'")
    draw: Callable[[Simulated, Path], None] = module.draw
    return draw


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _print_tables(simulated: Simulated) -> None:
    out = console(sys.stdout)
    load = "a closed loop of clients" if simulated.rate is None else f"{simulated.rate:,.4g} messages a second"
    how = " that share what they know" if simulated.shared and simulated.routers > 1 else ""
    routers = f"{simulated.routers} router{'' if simulated.routers == 1 else 's'}{how}"
    out.print(
        f"Pool {simulated.pool}, scenario {simulated.scenario}: {load} for {simulated.duration:g} s, {routers}, "
        f"seed {simulated.seed}\n",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    columns = ("policy", "messages", "delivered", "mean ms", "p50", "p90", "p99", "p99.9", "max", "timeouts", "ejected")
    rows = []
    for one in simulated.outcomes:
        times = [None] * 6 if one.latency is None else list(one.latency.as_dict().values())
        delivered = f"{100 * one.delivered / one.messages:.2f} %" if one.messages else "-"
        rows.append(
            (one.policy, f"{one.messages:,}", delivered, *map(_number, times), f"{one.timeouts:,}", one.ejections)
        )
    tables = [table("Latency, policy by policy", columns, rows, right=columns[1:])]
    destinations = simulated.outcomes[0].destinations
    shown = destinations[:_MOST_COLUMNS]
    heads = ["policy", *(one.id for one in shown)]
    shares = [
        (one.policy, *(f"{100 * each.share:.2f} %" for each in one.destinations[: len(shown)]))
        for one in simulated.outcomes
    ]
    more = f" (the first {len(shown)} of {len(destinations)})" if len(shown) < len(destinations) else ""
    tables.append(table(f"Share of attempts by destination{more}", heads, shares, right=heads[1:]))
    for made in tables:
        with out.capture() as captured:
            out.print(made)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()), end="\n\n")
    if simulated.unbounded:
        print(f"Without bounded_load, which is for policies by key: {', '.join(simulated.unbounded)}")
    for outcome in simulated.outcomes:
        for switch in outcome.switches[:_MOST_SWITCHES]:
            print(f"{outcome.policy}, {switch.pool} at {switch.at:.0f} s: {switch.reason}")
        if len(outcome.switches) > _MOST_SWITCHES:
            print(f"and {len(outcome.switches) - _MOST_SWITCHES} more; --json has them")
