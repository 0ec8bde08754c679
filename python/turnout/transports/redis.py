"""``redis://HOST/DB``: a message is an entry of a Redis stream, with the fields ``id``, ``attempt`` and ``body``.

Sends that are under way together go out as one pipeline. An entry counts as delivered when Redis says so: whether it
then survives a power loss is a matter of its ``appendfsync``, and whether a failover, of its replication. A send whose
answer is lost may have added its entry; a reader can tell by ``id``.

Classes of errors: loading, out of memory, too many clients: overloaded, for a second. All else that Redis refuses is of
the destination (a key that is no stream, a wrong password, a replica), so another may take the message. An entry above
``proto-max-bulk-len`` (512 MB unless set) is the message's fault. It is not sent: Redis would hang up on it, and on all
that goes out with it.
"""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..config.channels import RedisOptions
from ..errors import ConfigError, DeliveryError
from .base import Target
from .batching import Batches
from .connection import describe
from .encoding import body_of

_PAUSE: Final = 1.0
_GROUP: Final = 128
"""Entries of one pipeline: enough to share the round trip, few enough that no send waits long for its group."""
_AT_ONCE: Final = 2
"""Pipelines under way: one is encoded while Redis works on the other."""
_SMALLEST_LIMIT: Final = 2**20
"""Bytes; Redis lets nobody set ``proto-max-bulk-len`` to less, so what is smaller needs no look at it."""
_USUAL_LIMIT: Final = 512 * 2**20
"""Its value unless set; taken for it where the server does not tell."""


class RedisTransport:
    """Adds one destination's messages to its stream."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the options are missing, or the url cannot be read."""
        if not isinstance(target.options, RedisOptions):
            raise ConfigError("a redis: url needs the option `stream`")
        self._options = target.options
        self._url = target.url_with_password()
        self._entries = Batches(self._write, limit=_GROUP, at_once=_AT_ONCE)
        self._client: Redis | None = None

    def open(self) -> None:
        """Makes the client, which connects when it is used."""
        if self._client is not None:
            return
        options = self._options
        tls: dict[str, Any] = {}
        if options.ca_file is not None and self._url.startswith("rediss:"):
            tls["ssl_ca_certs"] = options.ca_file
        try:
            self._client = Redis.from_url(
                self._url,
                socket_timeout=options.timeout,
                socket_connect_timeout=options.timeout,
                retry=Retry(
                    NoBackoff(), 0
                ),  # a pipeline sent again may add its entries twice; attempts are counted here
                **tls,
            )
        except ValueError as error:
            raise ConfigError(f"the url cannot be used: {describe(error)}") from None

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
        """See :meth:`Transport.send`; returns the id that Redis gave the entry.

        Raises:
            DeliveryError: kinds ``unencodable``, ``too_large``, ``overloaded``, ``connection``, ``timeout``,
                ``refused``.
        """
        body = body_of(message, self._options.body)
        if len(body) > _SMALLEST_LIMIT and len(body) > (limit := await self._limit()):
            raise DeliveryError("too_large", f"{len(body)} bytes; Redis takes {limit} of them", retryable=False)
        return await self._entries.add((message_id.encode("utf-8", "surrogatepass"), attempt, body))

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        await self._entries.close()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _limit(self) -> int:
        """Bytes of the largest entry that Redis takes, as of now."""
        try:
            found = await self._opened().config_get("proto-max-bulk-len")
        except ResponseError:  # servers run for others keep CONFIG for themselves
            return _USUAL_LIMIT
        except (RedisError, OSError) as error:
            raise _judged(error) from error
        return int(found.get("proto-max-bulk-len") or _USUAL_LIMIT)

    def _opened(self) -> Redis:
        self.open()
        if self._client is None:
            raise DeliveryError("connection", "the transport was closed")
        return self._client

    async def _write(self, entries: list[tuple[bytes, int, bytes]]) -> list[object]:
        options = self._options
        try:
            async with self._opened().pipeline(transaction=False) as pipeline:
                for name, attempt, body in entries:
                    fields = {"id": name, "attempt": attempt, "body": body}
                    pipeline.xadd(options.stream, fields, maxlen=options.max_length, approximate=True)  # type: ignore[arg-type]
                answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise _judged(error) from error
        return [_judged(answer) if isinstance(answer, Exception) else answer for answer in answers]


def _judged(error: Exception) -> DeliveryError:
    said = describe(error)
    if isinstance(error, (BusyLoadingError, OutOfMemoryError, MaxConnectionsError)):
        return DeliveryError("overloaded", said, retry_after=_PAUSE)
    if isinstance(error, RedisTimeoutError):
        return DeliveryError("timeout", said)
    if isinstance(error, (RedisConnectionError, OSError)) and not isinstance(error, AuthenticationError):
        return DeliveryError("connection", said)
    return DeliveryError("refused", said)
