"""Signatures of webhooks after Standard Webhooks 1.0 (standardwebhooks.com): HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from ..errors import ConfigError

_PREFIX = "whsec_"


class Signer:
    """Signs with one key, or with several while they are being exchanged."""

    __slots__ = ("_keys",)

    def __init__(self, secret: str) -> None:
        """``secret``: ``whsec_`` and a key of 24 to 64 bytes in base64; several, with spaces between.

        Raises:
            ConfigError: it is none. The text does not repeat it.
        """
        self._keys = [_key(one) for one in secret.split()]
        if not self._keys:
            raise ConfigError("the secret is empty; give whsec_ and a key in base64")

    def headers(self, message_id: str, at: int, body: bytes) -> dict[str, str]:
        """The three headers of a request. ``message_id`` as the receiver shall see it; ``at``: Unix seconds."""
        signed = f"{message_id}.{at}.".encode() + body
        signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in self._keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ConfigError("the secret is no key for signing webhooks; give whsec_ and 24 to 64 bytes in base64")
    return key
