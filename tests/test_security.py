"""Which addresses may be reached, and how webhooks are signed."""

from __future__ import annotations

import ipaddress
import random
import socket

import pytest

from turnout.errors import ConfigError
from turnout.security import AddressGuard, ForbiddenAddressError, Signer

PRIVATE_4 = [
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
PUBLIC_4 = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
]
PRIVATE_6 = [
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1", "64:ff9b:1::1",
    "100::1", "5f00::1", "::ffff:0:127.0.0.1", "4000::1",
]  # fmt: skip


def carrying(v4: str) -> list[str]:
    """The forms of IPv6 that carry an IPv4 address and are judged by it."""
    number = int(ipaddress.IPv4Address(v4))
    return [
        f"::ffff:{v4}",
        f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}",
        f"64:ff9b::{v4}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
    ]


@pytest.mark.parametrize("address", PRIVATE_4)
def test_private_and_special_addresses_may_not_be_reached_in_any_form(address: str) -> None:
    guard = AddressGuard()
    assert not any(guard.permits(form) for form in (address, *carrying(address)))


@pytest.mark.parametrize("address", PUBLIC_4)
def test_public_addresses_may_be_reached_in_every_form(address: str) -> None:
    guard = AddressGuard()
    assert all(guard.permits(form) for form in (address, *carrying(address)))


@pytest.mark.parametrize("address", [*PRIVATE_6, "", "localhost", "127.1", "0x7f000001", "1.1.1.1 "])
def test_what_is_no_public_address_may_not_be_reached(address: str) -> None:
    assert not AddressGuard().permits(address)


def test_nothing_is_permitted_that_python_knows_to_be_private() -> None:
    rng, guard = random.Random(7), AddressGuard()
    for _ in range(20_000):
        found = ipaddress.IPv4Address(rng.getrandbits(32))
        if guard.permits(str(found)):
            assert found.is_global
            assert not found.is_multicast
    for _ in range(20_000):
        # The upper half near the registries' entries, or all would be far from them.
        six = ipaddress.IPv6Address(rng.choice((0x2001, 0x2002, 0x64, 0x2620, 0x3FFF)) << 112 | rng.getrandbits(112))
        if guard.permits(str(six)) and six.sixtofour is None and six not in ipaddress.ip_network("64:ff9b::/96"):
            assert six.is_global


@pytest.mark.parametrize(
    ("address", "allow", "permitted"),
    [
        ("127.0.0.1", ["127.0.0.0/8"], True),
        ("::ffff:127.0.0.1", ["127.0.0.0/8"], True),
        ("10.1.2.3", ["10.1.2.3"], True),
        ("10.1.2.4", ["10.1.2.3"], False),
        ("::1", ["127.0.0.0/8"], False),
        ("64:ff9b::127.0.0.1", ["127.0.0.0/8"], False),
        ("fd00::5", ["10.0.0.0/8", "fd00::/8"], True),
    ],
)
def test_what_is_allowed_may_be_reached(address: str, allow: list[str], permitted: bool) -> None:
    assert AddressGuard(allow).permits(address) is permitted


def test_no_socket_is_made_for_what_may_not_be_reached() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    with pytest.raises(ForbiddenAddressError) as caught:
        AddressGuard().socket(info)
    assert "127" not in str(caught.value)
    with pytest.raises(ForbiddenAddressError):
        AddressGuard(["0.0.0.0/0"]).socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/socket",)))
    AddressGuard(["127.0.0.1"]).socket(info).close()


def test_a_signature_is_that_of_the_specification() -> None:
    # The example of the specification's reference libraries.
    signer = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_keys_give_two_signatures() -> None:
    one, two = "whsec_" + "A" * 32, "whsec_" + "B" * 32
    both = Signer(f"{one} {two}").headers("m", 1, b"")["webhook-signature"]
    assert both.split() == [Signer(key).headers("m", 1, b"")["webhook-signature"] for key in (one, two)]


@pytest.mark.parametrize("secret", ["", " ", "plain", "whsec_", "whsec_****", "whsec_QUJD", "whsec_" + "A" * 400])
def test_what_is_no_key_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Signer(secret)
    assert "AAAA" not in str(caught.value)
    assert "QUJD" not in str(caught.value)
