"""What every transport is: the one interface between delivery and a channel."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote, urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Target:
    """Where one destination's messages go. Its url and secret are never shown: both may hold secrets."""

    destination: str
    """The destination's id."""
    url: str = field(repr=False)
    options: Any = field(default=None, repr=False)
    """The model of :data:`turnout.config.SCHEMES` for the url's scheme; None: none were read."""
    secret: str | None = field(default=None, repr=False)

    @property
    def rest(self) -> str:
        """The url after its scheme."""
        return self.url.partition(":")[2]

    def url_with_password(self) -> str:
        """The url, with the secret as the password of its user where it names no password."""
        parts = urlsplit(self.url)
        if self.secret is None or parts.password is not None:
            return self.url
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(self.secret, safe='')}@{host}"))


def limit_of(timeout: float, deadline: float | None) -> float | None:
    """Seconds that a send shall wait for its answer: ``timeout``; None where it is cancelled sooner, at its deadline.

    One timer less: with many sends under way each costs about as much as encoding the message.
    """
    return None if deadline is not None and deadline - time.time() <= timeout else timeout


@runtime_checkable
class Transport(Protocol):
    """Sends messages to one destination. Used from one event loop only.

    How a call to :meth:`send` fails decides what becomes of the message:

    - ``DeliveryError(retryable=False)``: the message cannot be delivered anywhere; it becomes a dead letter at once,
      and the destination is not blamed.
    - ``DeliveryError(retry_after=seconds)``: the destination is overloaded; another one is tried.
    - ``DeliveryError(kind)`` and any other exception: this attempt failed; another one may be made. A destination that
      refuses everything, such as one with a wrong password, is of this class: another may take the message.

    A channel that takes many messages at once has them grouped by :class:`turnout.transports.Batches`.
    ``turnout.testing.conformance`` checks a transport of one's own against all that is said here;
    :func:`turnout.transports.register` gives it its scheme.
    """

    def open(self) -> None:
        """Acquires what sending needs and asks nobody; called when deliveries start. May be called again, and after
        :meth:`close`. Connections are made by the first :meth:`send`: a destination that is down stops no start.

        Raises:
            ConfigError: it can never work as configured; the text names what is wrong and the remedy.
        """

    async def send(
        self,
        message: object,
        destination: str,
        *,
        message_id: str,
        attempt: int,
        deadline: float | None = None,
        expires: float | None = None,
    ) -> object:
        """Delivers ``message`` to the destination of this id, and returns what the channel answered.

        Returning means delivered. It is cancelled at the deadline; it may then have taken effect or not. Any number may
        be under way at once. An answer with an attribute ``utilisation`` that is a number tells how loaded the
        destination is, as :meth:`turnout.Lease.success` takes it.

        Args:
            message: as it was given to ``dispatch`` or ``accept``.
            destination: the destination's id.
            message_id: the message's id, the same for all attempts; a receiver can tell duplicates by it.
            attempt: which attempt at the message this is, from 1.
            deadline: when this attempt is cancelled, in Unix seconds; for what cancelling cannot stop, and for the
                receiver, if the channel can tell it. None: it is not known.
            expires: when the message itself is of no more use to its receiver, in Unix seconds, whether it is under way
                or waits at a broker; for channels that know such a time. None: never.
        """

    async def close(self) -> None:
        """Gives back what :meth:`open` acquired, after what was begun has ended. Nothing is sent until it is opened
        again. Closing twice does no harm."""
