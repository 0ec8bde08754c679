"""``apprise:URL``: a notification by one of the services that Apprise knows, such as ``apprise:slack://TOKENS/CHANNEL``
or ``apprise:json://HOST/PATH``; the url is Apprise's own, and is never shown.

Content that is a text is the notification's text; a mapping may give ``subject``, ``text`` and ``html``; anything else
is sent as JSON. Message ids do not go along: services have no place for them.

Delivered when Apprise says so. It is synchronous, so each notification takes one of a few threads, and keeps it to its
end or to the time limit of its sockets, also where nobody waits for it any more. Of a failure Apprise tells no more
than what it logs; a status that is named there is judged as a webhook's (:mod:`.webhook_answer`), 429 as overload for a
second. All else is of the destination. What Apprise logs while it sends for us goes nowhere else: it holds hosts and
tokens.

Apprise connects by itself: it follows redirects and the environment's proxies, and private addresses are not refused.
The url must come from the configuration, and from nobody else.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from apprise import Apprise, AppriseAsset, NotifyFormat, PersistentStoreMode

from ..config.channels import AppriseOptions
from ..errors import ConfigError, DeliveryError
from .base import Target
from .webhook_answer import refusal
from .wording import Wording, wording_of

_STATUS: Final = re.compile(r"error[=:] ?(\d{3})\b")
"""How its services log the status that they were answered."""
_UNREACHABLE: Final = re.compile(r"connection error", re.IGNORECASE)

_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("_said", default=None)


class _Overheard(logging.Filter):
    """Takes what is logged by threads that send for us, and lets the rest pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _said.get()
        if said is not None:
            said.append(record.getMessage())
        return said is None


for _name in ("apprise", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_Overheard())


class AppriseTransport:
    """Sends one destination's notifications."""

    def __init__(self, target: Target) -> None:
        """``target``: its url is ``apprise:`` and then Apprise's."""
        self._options = target.options if isinstance(target.options, AppriseOptions) else AppriseOptions()
        self._url = target.rest
        self._free: asyncio.Queue[Apprise] | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._under_way: set[asyncio.Future[None]] = set()

    def open(self) -> None:
        """Raises ConfigError: Apprise knows no such service, or the url lacks something for it."""
        if self._threads is not None:
            return
        made = [self._client() for _ in range(self._options.threads)]  # one is for one thread at a time
        self._threads = ThreadPoolExecutor(self._options.threads, thread_name_prefix="turnout-apprise")
        self._free = asyncio.Queue()
        for one in made:
            self._free.put_nowait(one)

    async def send(
        self,
        message: object,
        destination: str,
        *,
        message_id: str,
        attempt: int,
        deadline: float | None = None,
        expires: float | None = None,
    ) -> None:
        """See :meth:`Transport.send`.

        Raises:
            DeliveryError: kinds ``unencodable``, ``status_<code>``, ``connection``, ``refused``.
        """
        wording = wording_of(message, self._options.title, self._options.body)
        if not wording.text.strip():
            raise DeliveryError("unencodable", "its text is empty, and services want one", retryable=False)
        self.open()
        free, threads = self._free, self._threads
        if free is None or threads is None:
            raise DeliveryError("connection", "the transport was closed")
        client = await free.get()
        try:
            sending = asyncio.get_running_loop().run_in_executor(threads, self._notify, client, wording)
        except BaseException:
            free.put_nowait(client)
            raise
        self._under_way.add(sending)

        def ended(done: asyncio.Future[None]) -> None:
            self._under_way.discard(done)
            free.put_nowait(client)
            if not done.cancelled():
                done.exception()  # seen, if only by who was cancelled meanwhile

        sending.add_done_callback(ended)
        await asyncio.shield(sending)  # a thread cannot be stopped; its client is free when it has ended

    async def close(self) -> None:
        """See :meth:`Transport.close`; notifications under way end first, within their time limit."""
        threads, self._threads, self._free = self._threads, None, None
        if self._under_way:
            await asyncio.wait(self._under_way)
        if threads is not None:
            threads.shutdown(wait=False)

    def _client(self) -> Apprise:
        asset = AppriseAsset(app_id="turnout", storage_mode=PersistentStoreMode.MEMORY)
        client = Apprise(asset=asset)
        token = _said.set([])
        try:
            usable = client.add(self._url) and len(client) == 1
        finally:
            _said.reset(token)
        if not usable:
            name = self._url.partition(":")[0]
            raise ConfigError(
                f"Apprise makes nothing of the url: it knows no service {name[:32]!r}, or the url lacks something "
                f"for it, or is more than one"
            )
        for service in client:
            service.socket_connect_timeout = service.socket_read_timeout = self._options.timeout
        return client

    def _notify(self, client: Apprise, wording: Wording) -> None:
        """In a thread: one notification."""
        said: list[str] = []
        token = _said.set(said)
        try:
            done = bool(
                client.notify(
                    wording.text,
                    title=wording.subject,
                    notify_type=self._options.type,
                    body_format=NotifyFormat.TEXT.value,
                )
            )
        except Exception as error:  # noqa: BLE001 - of any service; its text may hold the url
            raise DeliveryError("refused", f"Apprise raised {type(error).__name__}") from None
        finally:
            _said.reset(token)
        if not done:
            raise _judged(said)


def _judged(said: list[str]) -> DeliveryError:
    for one in said:
        if (found := _STATUS.search(one)) is not None and 300 <= int(found[1]) <= 599:
            return refusal(int(found[1]), {}, b"")
    if any(map(_UNREACHABLE.search, said)):
        return DeliveryError("connection", "Apprise could not reach the service")
    return DeliveryError("refused", "Apprise says that it failed, and not why")
