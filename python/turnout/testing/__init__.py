"""For tests of deliveries: is a transport one, what if the other end fails, and was anything lost.

- :mod:`~turnout.testing.conformance`: what every transport must do, as checks to run on one of your own.
- :func:`account`: what was sent beside what a receiver noted: lost, expired, twice, out of order; :func:`accounts`:
  the same by destination.
- :class:`Receiver`: a receiver of webhooks that notes what it gets before it answers, and answers by a script: storms
  of 429, delays, silence, resets. ``python -m turnout.testing.receiver LOG``: the same in a process of its own, whose
  log is right whatever happens to the sender.
- :class:`Proxy`: stands before any server and holds, loses or breaks connections: partitions, total, one way, or of
  acknowledgements only.
"""

from __future__ import annotations

from .accounting import Account, Noted, account, accounts, read_log
from .conformance import Check, NonConformingError, Received, TransportCase, checks_for
from .proxy import Direction, Proxy
from .receiving import Answer, Receiver

__all__ = [
    "Account",
    "Answer",
    "Check",
    "Direction",
    "NonConformingError",
    "Noted",
    "Proxy",
    "Received",
    "Receiver",
    "TransportCase",
    "account",
    "accounts",
    "checks_for",
    "read_log",
]
