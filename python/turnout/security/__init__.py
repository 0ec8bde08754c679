"""What keeps deliveries safe: which addresses may be reached, how requests are signed, whom TLS trusts."""

from __future__ import annotations

from .addresses import AddressGuard, ForbiddenAddressError
from .signing import Signer
from .tls import client_context, connection_problem

__all__ = ["AddressGuard", "ForbiddenAddressError", "Signer", "client_context", "connection_problem"]
