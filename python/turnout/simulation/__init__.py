"""Simulation of a pool under every policy, in seconds: what becomes of latency, and who gets what, when destinations
are slow, fail or come back.

- :class:`Scenario`: load, servers and their troubles; :func:`preset` and :func:`load_scenario` make one.
- :func:`simulate` runs a pool of a configuration through it, policy by policy -> :class:`Simulated`.
- :mod:`.plot` draws one (``turnout[plot]``); it is imported by who draws.

The pools, policies, breakers and ramps that run are those of the router itself, in simulated time.
"""

from __future__ import annotations

from .report import FORMATS, DestinationOutcome, Latency, Point, PolicyOutcome, Simulated, States
from .run import simulate
from .scenario import PRESETS, BurstsConfig, Scenario, ServerConfig, ServiceConfig, TroubleConfig, load_scenario, preset

__all__ = [
    "FORMATS",
    "PRESETS",
    "BurstsConfig",
    "DestinationOutcome",
    "Latency",
    "Point",
    "PolicyOutcome",
    "Scenario",
    "ServerConfig",
    "ServiceConfig",
    "Simulated",
    "States",
    "TroubleConfig",
    "load_scenario",
    "preset",
    "simulate",
]
