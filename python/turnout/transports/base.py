"""What every transport is: the one interface between delivery and a channel."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Transport(Protocol):
    """Sends messages to one destination. Used from one event loop only.

    How a call to :meth:`send` fails decides what becomes of the message:

    - ``DeliveryError(retryable=False)``: the message cannot be delivered anywhere; it becomes a dead letter at once,
      and the destination is not blamed.
    - ``DeliveryError(retry_after=seconds)``: the destination is overloaded; another one is tried.
    - ``DeliveryError(kind)`` and any other exception: this attempt failed; another one may be made.
    """

    def open(self) -> None:
        """Acquires what sending needs; called when deliveries start. May be called again, and after :meth:`close`.

        Raises:
            ConfigError: it can never work as configured; the text names what is wrong and the remedy.
        """

    async def send(self, message: object, destination: str, *, message_id: str, attempt: int) -> object:
        """Delivers ``message`` to the destination of this id, and returns what the channel answered.

        Returning means delivered. It is cancelled when the message's time is up; it may then have taken effect or not.

        Args:
            message: as it was given to ``dispatch`` or ``accept``.
            destination: the destination's id.
            message_id: the message's id, the same for all attempts; a receiver can tell duplicates by it.
            attempt: which attempt at the message this is, from 1.
        """

    async def close(self) -> None:
        """Gives back what :meth:`open` acquired, after what was begun is written. Nothing is sent afterwards."""
