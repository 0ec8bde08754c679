"""``kafka://USER@HOST:9092,HOST2:9092``: a message is a record of a topic, with its id and attempt as the headers
``message-id`` and ``attempt``; its ``key`` is the record's, so that messages of a key stay in order in one
partition.

By librdkafka: it goes on where a record timed out under idempotence (KIP-360), bounds its queue in records and bytes,
and ends each record at a time of its own. ``acks=all`` and idempotent: delivered when all replicas in sync have it, and
what librdkafka sends again by itself is not there twice. An attempt that ended without an answer may have been taken; a
reader can tell by ``message-id``.

Sends that are under way together go out in batches. The reports of librdkafka are fetched on the event loop: a thread
for them would wait for the interpreter's lock with every record.

Classes of errors: a queue that is full here, a throttled client: overloaded, for a while. A record above the topic's
size or that the topic does not accept: the message's fault. All else, such as an unknown topic, no rights or no broker:
of the destination, so another may take it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final
from urllib.parse import unquote

from confluent_kafka import KafkaError, KafkaException, Producer

from ..config.channels import KafkaOptions
from ..errors import ConfigError, DeliveryError
from .base import Target
from .encoding import body_of, key_of

_QUEUED: Final = 10_000
_QUEUED_KILOBYTES: Final = 65_536
"""What waits in librdkafka at most, in records and in size; more is told to go elsewhere."""
_FULL: Final = 0.1
"""Seconds until there is room in the queue again, about."""
_PAUSE: Final = 1.0
_LARGEST: Final = 1_000_000_000
"""Bytes of a record that librdkafka allows; the topic has the say."""
_LINGER_MS: Final = 2
"""A batch waits so long for more: what it costs in time is small beside a disk, what it saves is most of the work."""
_SOON: Final = 0.001
_LATER: Final = 0.02
"""Seconds between looks for reports: while they come, and while nothing does."""
_DOWN: Final = 1.0
"""Seconds that a send waits while no broker can be reached, instead of its whole time."""

_AT_FAULT: Final = frozenset({KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP})
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_BUSY: Final = frozenset({KafkaError._QUEUE_FULL, KafkaError.THROTTLING_QUOTA_EXCEEDED})
_LOST: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._DESTROY,
        KafkaError._RESOLVE,
        KafkaError.NETWORK_EXCEPTION,
    }
)
_LATE: Final = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT})

# What goes wrong is raised to whom it concerns; librdkafka would tell it a second time, on standard error.
_log = logging.getLogger(f"{__name__}.client")
_log.addHandler(logging.NullHandler())
_log.propagate = False


class KafkaTransport:
    """Produces one destination's messages."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the options are missing, the url names no host, or a password would be sent in clear."""
        if not isinstance(target.options, KafkaOptions):
            raise ConfigError("a kafka: url needs the option `topic`")
        self._options = target.options
        self._settings = _settings(target, target.options)
        self._producers: dict[bool, _Producer] = {}

    def open(self) -> None:
        """Nothing is acquired before the first send."""

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
        """See :meth:`Transport.send`; returns the record's partition and offset.

        Raises:
            DeliveryError: kinds ``unencodable``, ``too_large``, ``rejected``, ``overloaded``, ``refused``, ``timeout``,
                ``connection``.
        """
        body = body_of(message, self._options.body)
        record = {
            "value": body,
            "key": key_of(message),
            "headers": [
                ("message-id", message_id.encode("utf-8", "surrogatepass")),
                ("attempt", str(attempt).encode()),
            ],
        }
        try:
            return await self._produce(record, alone=False)
        except _TooLarge:
            # The broker says so of a batch as a whole. Alone it is sure.
            try:
                return await self._produce(record, alone=True)
            except _TooLarge as error:
                raise DeliveryError("too_large", str(error), retryable=False) from error

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        producers = list(self._producers.values())
        self._producers.clear()
        for producer in producers:
            await producer.close()

    async def _produce(self, record: dict[str, Any], *, alone: bool) -> object:
        producer = self._producers.get(alone)
        if producer is None or producer.broken:
            settings = {**self._settings, "batch.num.messages": 1} if alone else self._settings
            producer = self._producers[alone] = _Producer(settings, self._options, before=producer)
        return await producer.produce(record)


class _TooLarge(Exception):  # noqa: N818 - becomes one
    """A record, or the batch it was in, is larger than the topic allows."""


class _Producer:
    """librdkafka's producer and what waits for its reports. Of one event loop."""

    def __init__(self, settings: dict[str, Any], options: KafkaOptions, before: _Producer | None) -> None:
        """``before``: one that is broken, and is closed with this one."""
        try:
            self._client = Producer({**settings, "error_cb": self._told}, logger=_log)
        except (KafkaException, ValueError) as error:
            raise DeliveryError("refused", f"the client cannot be made: {_said(error)}") from error
        self.broken = False
        """Whether it can do nothing more (a fatal error); a new one can."""
        self._options = options
        self._before = before
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._down = False
        self._pause = _SOON

    async def produce(self, record: dict[str, Any]) -> object:
        """Partition and offset of a record.

        Raises:
            DeliveryError: it was not taken.
            _TooLarge: the broker refused its batch for its size.
        """
        done = self._handed_over(record)
        if not self._down:
            return await done
        try:
            async with asyncio.timeout(min(_DOWN, self._options.timeout)):
                return await done
        except TimeoutError:
            if self._down:
                self._client.purge(in_flight=False, blocking=False)
            raise DeliveryError("connection", "no broker can be reached") from None

    def _handed_over(self, record: dict[str, Any]) -> asyncio.Future[object]:
        """What will be known of a record."""
        done: asyncio.Future[object] = self._loop.create_future()

        def report(error: KafkaError | None, message: Any) -> None:
            self._waiting.discard(done)
            if error is None:
                self._down = False
            if done.done():  # cancelled meanwhile
                return
            if error is None:
                done.set_result((message.partition(), message.offset()))
            else:
                done.set_exception(self._judged(error))

        try:
            self._client.produce(self._options.topic, on_delivery=report, **record)
        except BufferError:
            raise DeliveryError("overloaded", f"{_QUEUED} records wait here already", retry_after=_FULL) from None
        except KafkaException as error:
            raise self._judged(error.args[0]) from error
        self._waiting.add(done)
        if self._timer is None or self._pause > _SOON:
            self._look_in(_SOON)
        return done

    async def close(self) -> None:
        """Returns when everything begun has ended."""
        if self._before is not None:
            await self._before.close()
            self._before = None
        while waiting := {one for one in self._waiting if not one.done()}:
            await asyncio.wait(waiting)
        self.broken = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._client.purge()  # of sends that were cancelled; nobody waits for them
        self._client.flush(self._options.timeout)
        self._client.close()

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pause = seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Fetches the reports that are there, and comes back while some are missing."""
        self._timer = None
        found = self._client.poll(0)
        if self._waiting:
            self._look_in(_SOON if found else min(self._pause * 2, _LATER))

    def _told(self, error: KafkaError) -> None:
        """What librdkafka tells besides reports."""
        if error.fatal():
            self.broken = True
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and not self._down:
            self._down = True
            self._client.purge(in_flight=False, blocking=False)  # they wait in the router, where there are others

    def _judged(self, error: KafkaError) -> Exception:
        code, said = error.code(), f"{error.name()}: {error.str()}"
        self.broken = self.broken or error.fatal()
        if code in _TOO_LARGE:
            return _TooLarge(said)
        if code in _AT_FAULT:
            return DeliveryError("rejected", said, retryable=False)
        if code in _BUSY:
            return DeliveryError("overloaded", said, retry_after=_PAUSE)
        if code in _LATE:
            return DeliveryError("timeout", f"no acknowledgement within {self._options.timeout:g} s")
        return DeliveryError("connection" if code in _LOST else "refused", said)


def _said(error: BaseException) -> str:
    inner = error.args[0] if error.args else error
    return str(inner.str() if isinstance(inner, KafkaError) else inner)


def _settings(target: Target, options: KafkaOptions) -> dict[str, Any]:
    """librdkafka's."""
    user, _, hosts = target.rest.removeprefix("//").partition("/")[0].rpartition("@")
    if not hosts or any(host.startswith(":") or not host for host in hosts.split(",")):
        raise ConfigError("the url names no host; write one such as kafka://broker.example:9092")
    name, _, password = user.partition(":")
    milliseconds = max(int(options.timeout * 1000), 1)
    settings = {
        "bootstrap.servers": hosts,
        "client.id": "turnout",
        "security.protocol": ("sasl_" if name else "") + ("ssl" if options.tls else "plaintext"),
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": milliseconds,
        "request.timeout.ms": milliseconds,
        "socket.connection.setup.timeout.ms": max(milliseconds, 1000),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,  # the router's breaker spares a broker that is down
        "topic.metadata.propagation.max.ms": 1000,
        "linger.ms": _LINGER_MS,
        "compression.type": options.compression,
        "partitioner": "murmur2_random",  # as Java's, so that all writers put a key into one partition
        "message.max.bytes": _LARGEST,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": _QUEUED,
        "queue.buffering.max.kbytes": _QUEUED_KILOBYTES,
    }
    if options.tls and options.ca_file is not None:
        settings["ssl.ca.location"] = options.ca_file
    if name:
        if options.mechanism == "PLAIN" and not options.tls:
            raise ConfigError("tls is false and the mechanism is PLAIN: the password would be sent in the clear")
        settings["sasl.mechanism"] = options.mechanism
        settings["sasl.username"] = unquote(name)
        settings["sasl.password"] = unquote(password) or target.secret or ""
    return settings
