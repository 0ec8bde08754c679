"""Active health checks: whether destinations are fit, asked again and again while the router runs.

- :mod:`.probes`: one check of each kind; it returns, or says why the destination is not fit.
- :mod:`.verdict`: from single checks to a state: how many failures in a row make unhealthy, how many successes healthy.
- :mod:`.checks`: a task for each destination; starts and stops with the router.

What is found here is the *health* axis of a destination. Whether its deliveries fail is another, the breaker's.
"""

from __future__ import annotations

from .checks import HealthChecks, checks_of
from .probes import Check
from .verdict import Health, HealthCheck

__all__ = ["Check", "Health", "HealthCheck", "HealthChecks", "checks_of"]
