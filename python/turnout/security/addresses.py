"""Which addresses may be reached by urls that others chose (server-side request forgery).

The guard makes the socket, so it sees the very address that is connected to: however it was written (decimal, octal,
a name) and whatever the name server says next time. It judges by the registries of special-purpose addresses of IANA
(RFC 6890 and its successors), written out here because those in ``ipaddress`` differ between Python versions.

An IPv6 address that carries an IPv4 address is judged by that too: mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96) and
6to4 (2002::/16). Of IPv6 only 2000::/3 is given out to the public; everything else is refused, and so are Teredo,
local NAT64 and IPv4-compatible addresses.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL_4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind carriers' NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",  # documentation, as two more below
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_PUBLIC_6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo, benchmarks, ORCHID and others
            "2001:db8::/32",  # documentation, as 3fff::
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """The address is private or special, and not allowed. The text does not hold it."""

    def __init__(self) -> None:
        super().__init__("the address is private or special; name its network in `allow` if it is meant")


class AddressGuard:
    """Makes sockets to permitted addresses only."""

    __slots__ = ("_allowed",)

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """``allow``: networks that may be reached although they are private or special."""
        self._allowed: tuple[_Network, ...] = tuple(map(ipaddress.ip_network, allow))

    def permits(self, address: str) -> bool:
        """Whether the address may be reached: public, or allowed. One that cannot be read may not."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        real: _Address = found if mapped is None else mapped  # what the kernel connects to
        if any(real.version == network.version and real in network for network in self._allowed):
            return True
        return _is_public(real)

    def socket(self, info: tuple[Any, Any, Any, Any, tuple[Any, ...]]) -> socket.socket:
        """A socket for what ``getaddrinfo`` found: the ``socket_factory`` of aiohttp's connector.

        Raises:
            ForbiddenAddressError: it may not be reached.
        """
        family, kind, protocol, _, address = info
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.permits(str(address[0])):
            raise ForbiddenAddressError
        return socket.socket(family=family, type=kind, proto=protocol)


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    if address in _NAT64:
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _PUBLIC_6 or any(address in network for network in _SPECIAL_6):
        return False
    return address.sixtofour is None or _is_public(address.sixtofour)
