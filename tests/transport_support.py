"""Transports of a configuration, for tests of one channel."""

from __future__ import annotations

from typing import Any

from turnout.config import load_dict
from turnout.errors import DeliveryError
from turnout.transports import Target, Transport, Transports


def made(url: str, secret: str | None = None, **options: Any) -> Transport:
    """The transport that a configuration makes of a url, its options and its secret."""
    given: dict[str, Any] = {"url": url, "options": options} if options else {"url": url}
    if secret is not None:
        given["secret"] = secret
    one = load_dict({"destinations": {"d": given}}).destinations["d"]
    resolved = one.resolved_url()
    assert resolved is not None
    return Transports({"d": Target("d", resolved, one.resolved_options(), secret)}).of("d")


async def send(transport: Transport, message: object = None, message_id: str = "m-1", attempt: int = 1) -> Any:
    return await transport.send(message, "d", message_id=message_id, attempt=attempt)


async def refusal(transport: Transport, message: object = None, message_id: str = "m-1") -> DeliveryError:
    """The error a send ends with."""
    try:
        await send(transport, {} if message is None else message, message_id)
    except DeliveryError as error:
        return error
    raise AssertionError("the send returned")
