"""TLS as every client here uses it, and what went wrong with a connection, in words that hold no address."""

from __future__ import annotations

import os
import ssl

from ..errors import ConfigError


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that verifies certificate and name; ``ca_file``: whom to trust (PEM), None for the system's.

    Raises:
        ConfigError: the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file!r} cannot be used: {error}") from None


def connection_problem(error: BaseException) -> str:
    """What was wrong, without the address: the operating system's words where it has some."""
    root = error  # the client's own errors are wrapped around it, and hold the address
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"certificate: {root.verify_message}"
    if isinstance(root, ssl.SSLError):
        return f"TLS: {root.reason or type(root).__name__}"
    if isinstance(root, OSError) and root.errno is not None and root.errno > 0:
        return os.strerror(root.errno)  # asyncio's own text holds the address
    return type(root).__name__
