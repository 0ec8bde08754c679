"""A simulation as a picture: for every policy a row of latency, shares and states over time. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .report import PolicyOutcome, Simulated, States

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by all eyes; the first is for the destination in trouble.
_COLOURS = ("#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#F0E442")
_OTHERS = "#BBBBBB"
_STATES = {"in use": "#E8EEF2", "ramping": "#9BD3C4", "probation": "#F2C14E", "out": "#C1272D"}
_QUANTILES = {"p50": "#777777", "p99": "#222222"}  # unlike any destination
_ROW_HEIGHT = 1.9  # inches
_WIDTH = 13.5


def draw(simulated: Simulated, path: str | Path) -> None:
    """Writes the picture to ``path``, whose ending is one of :data:`turnout.simulation.FORMATS`. Equal simulations
    give equal files.

    Raises:
        OSError: it cannot be written.
    """
    rows = len(simulated.outcomes)
    figure = Figure(figsize=(_WIDTH, _ROW_HEIGHT * rows + 1.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 3, squeeze=False, sharex=True, width_ratios=(1.25, 1, 1))
    names = [one.id for one in simulated.outcomes[0].destinations]
    colours = _colours(names)
    for outcome, row in zip(simulated.outcomes, axes, strict=True):
        _latency(row[0], outcome, simulated.duration)
        _shares(row[1], outcome, colours)
        _states(row[2], outcome, names, simulated)
    # One scale for all, or the eye compares what cannot be compared.
    low = min(one.get_ylim()[0] for one in axes[:, 0])
    high = max(one.get_ylim()[1] for one in axes[:, 0])
    for one in axes[:, 0]:
        one.set_ylim(low, high)
    heads = ("latency of messages, ms", "share of attempts by destination", "state of destinations")
    for one, head in zip(axes[0], heads, strict=True):
        one.set_title(head, fontsize=10, loc="left")
    for one in axes[-1]:
        one.set_xlabel("time, s", fontsize=9)
    _legends(figure, axes[0], names, colours)
    figure.suptitle(_title(simulated), fontsize=11, x=0.01, ha="left")
    with mpl.rc_context({"svg.hashsalt": "turnout"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if str(path).lower().endswith(".svg") else None)


def _title(simulated: Simulated) -> str:
    load = "a closed loop" if simulated.rate is None else f"{simulated.rate:,.0f} messages a second"
    how = ", sharing what they know" if simulated.shared else ""
    routers = f", {simulated.routers} routers{how}" if simulated.routers > 1 else ""
    return f"pool {simulated.pool}, {simulated.scenario}: {load}{routers}, seed {simulated.seed}"


def _colours(names: Sequence[str]) -> list[str]:
    return [_COLOURS[number] if number < len(_COLOURS) else _OTHERS for number in range(len(names))]


def _edges(outcome: PolicyOutcome, duration: float) -> list[float]:
    return [*(point.at for point in outcome.series), duration]


def _plain(axes: Axes, outcome: PolicyOutcome) -> None:
    axes.tick_params(labelsize=8)
    axes.margins(x=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _latency(axes: Axes, outcome: PolicyOutcome, duration: float) -> None:
    nothing = float("nan")
    times = [point.at for point in outcome.series]
    for quantile, colour in _QUANTILES.items():
        values = [getattr(point, f"{quantile}_ms") or nothing for point in outcome.series]
        axes.step(times, values, where="post", color=colour, linewidth=1.4)
    lost = [point.undelivered / point.messages if point.messages else 0.0 for point in outcome.series]
    if any(lost):
        twin = axes.twinx()
        twin.fill_between(times, lost, step="post", color="#C1272D", alpha=0.18, linewidth=0)
        twin.set_ylim(0, 1)
        twin.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=7, color="#C1272D")
        twin.spines["top"].set_visible(False)
    axes.set_yscale("log")
    axes.set_xlim(0, duration)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_ylabel(outcome.policy.replace("_", "\n"), fontsize=9, rotation=0, ha="right", va="center", weight="bold")
    _plain(axes, outcome)


def _shares(axes: Axes, outcome: PolicyOutcome, colours: Sequence[str]) -> None:
    totals = [sum(point.attempts) or 1 for point in outcome.series]
    shares = [
        [point.attempts[number] / total for point, total in zip(outcome.series, totals, strict=True)]
        for number in range(len(colours))
    ]
    times = [point.at for point in outcome.series]
    axes.stackplot(times, shares, colors=colours, edgecolor="white", linewidth=0.3)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    _plain(axes, outcome)


def _worst(states: States) -> int:
    """The state that most routers see, as a number of :data:`_STATES`; of as many, the worse."""
    return max(range(len(states)), key=lambda state: (states[state], state))


def _states(axes: Axes, outcome: PolicyOutcome, names: Sequence[str], simulated: Simulated) -> None:
    grid = [[_worst(point.states[number]) for point in outcome.series] for number in range(len(names))]
    edges = _edges(outcome, simulated.duration)
    colours = ListedColormap(list(_STATES.values()))
    axes.pcolormesh(edges, range(len(names) + 1), grid, cmap=colours, vmin=0, vmax=len(_STATES) - 1)
    few = len(names) <= 12
    axes.set_yticks([number + 0.5 for number in range(len(names))] if few else [])
    if few:
        axes.set_yticklabels([name if len(name) <= 18 else f"{name[:17]}…" for name in names], fontsize=7)
        for number in range(1, len(names)):
            axes.axhline(number, color="white", linewidth=1.5)
    axes.invert_yaxis()
    _plain(axes, outcome)
    axes.tick_params(axis="y", labelsize=7, length=0)


def _legends(figure: Figure, first: Sequence[Axes], names: Sequence[str], colours: Sequence[str]) -> None:
    shown = [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)][: len(_COLOURS)]
    if len(names) > len(shown):
        shown.append(Patch(color=_OTHERS, label=f"{len(names) - len(shown)} others"))
    states = [Patch(facecolor=colour, edgecolor="#999999", label=name) for name, colour in _STATES.items()]
    lines = [
        *(Patch(color=colour, label=quantile) for quantile, colour in _QUANTILES.items()),
        Patch(color="#C1272D", alpha=0.18, label="not delivered"),
    ]
    every = [*lines, *shown, *states]
    columns = len(every) if len(every) <= 10 else 7
    figure.legend(handles=every, loc="outside lower left", ncols=columns, fontsize=8, frameon=False, handlelength=1.2)
