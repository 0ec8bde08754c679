"""A receiver of webhooks that notes what it gets before it answers, and misbehaves as told.

::

    script = [Answer(count=100), Answer(429, {"Retry-After": "1"}, count=50), Answer(end="hang", count=10)]
    async with Receiver(script) as receiver:
        ...  # deliver to receiver.url; then receiver.noted says what arrived

A message's id is its header ``webhook-id``; its destination is the path of the url; ``key`` and ``number`` of a message
that is a JSON object are noted too. :mod:`turnout.testing.receiver` is the same in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Literal

from .accounting import Noted

if TYPE_CHECKING:
    from aiohttp import web

_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """How requests are answered."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    delay: float = 0.0
    """Seconds before it is answered."""
    end: Literal["answer", "hang", "drop"] = "answer"
    """``hang``: never answered; ``drop``: the connection is reset instead."""
    noted: bool | None = None
    """Whether the message counts as received. None: if it is answered by 2xx. True with another end is a message that
    took effect and whose acknowledgement is lost."""
    count: int | None = None
    """So many requests are answered so, then the next of the script has its turn. None: all that come."""

    def __post_init__(self) -> None:
        """Raises ValueError: a field has no meaning."""
        if not 200 <= self.status <= 599 or self.end not in ("answer", "hang", "drop"):
            raise ValueError(f"status {self.status} is not within 200 to 599, or end {self.end!r} is none")
        if not self.delay >= 0 or (self.count is not None and self.count < 1):
            raise ValueError(f"delay {self.delay} is below 0, or count {self.count} below 1")

    @property
    def takes(self) -> bool:
        """Whether the message counts as received."""
        return (self.end == "answer" and self.status < 300) if self.noted is None else self.noted


class Receiver:
    """Listens while its ``async with`` lasts."""

    def __init__(self, script: Iterable[Answer] = (), *, log: IO[bytes] | None = None, port: int = 0) -> None:
        """``script``: answers in their order; when it is over, 204. ``log``: what is noted goes there, and not into
        ``noted``. ``port``: 0 for any that is free."""
        self.noted: list[Noted] = []
        """What was received, in the order of arrival, repetitions included."""
        self.requests = 0
        """All that came, also those that were not taken."""
        self.port = port
        self._log = log
        self.answer(*script)

    def answer(self, *script: Answer) -> None:
        """Answers by this script from now on; requests that hang go on to hang."""
        self._script = iter(script)
        self._left = 0
        self._now = Answer()

    @property
    def url(self) -> str:
        """Where to deliver to; a path may be added, as the name of a destination."""
        return f"http://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Receiver:
        from aiohttp import web

        app = web.Application(client_max_size=_LARGEST)
        app.router.add_route("*", "/{path:.*}", self._take)
        # A handler ends when its client goes, or those that hang would pile up; and all end with the receiver.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        body = await request.read()
        answer = self._next()
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.takes:
            self._note(_noted(request.headers.get("webhook-id", ""), request.path.lstrip("/"), body))
        if answer.end == "hang":
            await asyncio.Event().wait()
        if answer.end == "drop" and request.transport is not None:
            request.transport.abort()
        return web.Response(status=answer.status, headers=answer.headers, text=answer.body or None)

    def _next(self) -> Answer:
        self.requests += 1
        if self._left == 0:
            self._now = next(self._script, _TAKEN)
            self._left = -1 if self._now.count is None else self._now.count
        self._left -= self._left > 0
        return self._now

    def _note(self, noted: Noted) -> None:
        if self._log is None:
            self.noted.append(noted)
            return
        found = {name: value for name, value in noted._asdict().items() if value is not None}
        self._log.write(json.dumps(found).encode() + b"\n")
        self._log.flush()  # it survives this process, which may be killed; a power loss is not its subject


_TAKEN = Answer()


def _noted(identifier: str, path: str, body: bytes) -> Noted:
    try:
        message: Any = json.loads(body)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        return Noted(identifier, destination=path or None)
    key, number = message.get("key"), message.get("number")
    return Noted(
        identifier,
        str(key) if isinstance(key, (str, int)) else None,
        number if isinstance(number, int) else None,
        path or None,
    )


def read_script(text: str) -> list[Answer]:
    """The script that a file holds.

    Raises:
        ValueError: it is no JSON array of objects with fields of :class:`Answer`.
    """
    read = json.loads(text)
    if not isinstance(read, list) or not all(isinstance(one, dict) for one in read):
        raise ValueError("a script is a JSON array of objects")
    try:
        return [Answer(**one) for one in read]
    except TypeError as error:
        raise ValueError(f"a script's object is no answer: {error}") from None
