"""turnout: a message router that lives inside a Python process.

>>> from turnout import RuleSet
>>> RuleSet([{"id": "texts", "when": 'message.channel == "sms"'}]).first({"channel": "sms"})
'texts'

Start at :class:`Router`; :class:`RuleSet` and :class:`Pool` are its two halves alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._core import Decision, Lease, Pool, RuleSet, __version__
from .errors import (
    AccessDeniedError,
    ConfigError,
    DeliveryError,
    FailoverError,
    LoadBalancingError,
    MessageError,
    NoDestinationError,
    NoRouteError,
    OptimizationError,
    RuleError,
    TurnoutError,
)

if TYPE_CHECKING:
    from .config import RouterConfig
    from .delivery import Delivery
    from .functions import balance_load, manage_failover, optimize_route, route_message
    from .message import Message
    from .router import Router

__all__ = [
    "AccessDeniedError",
    "ConfigError",
    "Decision",
    "Delivery",
    "DeliveryError",
    "FailoverError",
    "Lease",
    "LoadBalancingError",
    "Message",
    "MessageError",
    "NoDestinationError",
    "NoRouteError",
    "OptimizationError",
    "Pool",
    "Router",
    "RouterConfig",
    "RuleError",
    "RuleSet",
    "TurnoutError",
    "__version__",
    "balance_load",
    "manage_failover",
    "optimize_route",
    "route_message",
]

# Imported when first asked for: they bring in pydantic and asyncio, which cost more than all else together.
_LATER = {
    "Delivery": "delivery",
    "Message": "message",
    "Router": "router",
    "RouterConfig": "config",
    "balance_load": "functions",
    "manage_failover": "functions",
    "optimize_route": "functions",
    "route_message": "functions",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'turnout' has no attribute {name!r}")
    value = getattr(import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
