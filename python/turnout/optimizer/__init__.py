"""Scores, weights and recommendations from observed outcomes, off the hot path.

- :mod:`~turnout.optimizer.scores`: what was observed of a destination, as estimates with intervals and as scores;
- :mod:`~turnout.optimizer.weights`: from scores to shares, within bounds;
- :mod:`~turnout.optimizer.effect`: what a change of shares is expected to do, and whether it may be made;
- :mod:`~turnout.optimizer.fading`: outcomes remembered between calls, old ones fading;
- :mod:`~turnout.optimizer.optimize`: all of it together, for one route.

Everything but :class:`~turnout.optimizer.fading.FadingOutcomes` is a pure function of its arguments. Of the router it
uses the public ``stats()`` and ``config`` only.
"""

from __future__ import annotations

from .fading import FadingOutcomes
from .optimize import Objectives, Optimized, optimize
from .scores import MIN_OUTCOMES, Observed

__all__ = ["MIN_OUTCOMES", "FadingOutcomes", "Objectives", "Observed", "Optimized", "optimize"]
