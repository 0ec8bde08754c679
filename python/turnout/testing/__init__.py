"""For tests of deliveries: is a transport one, and was anything lost.

- :mod:`~turnout.testing.conformance`: what every transport must do, as checks to run on one of your own.
- :func:`account`: what was sent beside what a receiver noted: lost, twice, out of order.
- ``python -m turnout.testing.receiver LOG``: a receiver of webhooks in a process of its own, which notes what it gets
  before it answers; so its log is right whatever happens to the sender.
"""

from __future__ import annotations

from .accounting import Account, Noted, account, read_log
from .conformance import Check, NonConformingError, Received, TransportCase, checks_for

__all__ = [
    "Account",
    "Check",
    "NonConformingError",
    "Noted",
    "Received",
    "TransportCase",
    "account",
    "checks_for",
    "read_log",
]
