"""Delivery: from an accepted message to a settled one. :mod:`.deliverer` tells the order of things."""

from __future__ import annotations

from .acceptance import NO_TERMS, Terms
from .dead_letters import DeadLetters
from .deliverer import Deliverer
from .ledger import Ledger
from .records import Attempt, Branch, DeadLetter, Delivery, Reason, Status
from .settings import DeliverySettings

__all__ = [
    "NO_TERMS", "Attempt", "Branch", "DeadLetter", "DeadLetters", "Deliverer", "Delivery", "DeliverySettings", "Ledger",
    "Reason", "Status", "Terms",
]  # fmt: skip
