"""``https://HOST/PATH``: a message is posted to a url; signed after Standard Webhooks if the destination has a secret.

What keeps it safe where the url was chosen by somebody else: TLS is verified; only public addresses are connected to,
judged at the moment of connecting (see :mod:`turnout.security.addresses`); redirects are not followed, for they would
lead past what was checked; proxies and cookies of the environment are not used; an answer is read up to a bound, in
bytes and in time, and is not decompressed.

The receiver is told how long its answer is waited for, by Envoy's header ``x-envoy-expected-rq-timeout-ms``: a time
left, and not a date, for clocks differ. What an answer means is in :mod:`.webhook_answer`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp
from yarl import URL

from ..config.channels import WebhookOptions
from ..errors import ConfigError, DeliveryError
from ..security import AddressGuard, ForbiddenAddressError, Signer, client_context, connection_problem
from .base import Target, limit_of
from .encoding import body_of, header_id
from .webhook_answer import WebhookAnswer, refusal, utilisation

_UNLIMITED: Final = aiohttp.ClientTimeout(total=None)
_TIME_LEFT: Final = "x-envoy-expected-rq-timeout-ms"


class WebhookTransport:
    """Posts one destination's messages; connections are kept and used again."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the secret is no signing key, or the file of certificates cannot be read."""
        options = target.options if isinstance(target.options, WebhookOptions) else WebhookOptions()
        self._options = options
        self._url = URL(_checked(target.url))
        self._signer = Signer(target.secret) if target.secret else None
        self._tls = client_context(options.ca_file)
        # A proxy resolves names itself, so what is connected to here is the proxy, which the configuration names.
        self._guard = AddressGuard(options.allow) if options.proxy is None else None
        self._headers = {"content-type": "application/json", "user-agent": "turnout", **options.headers}
        if options.body == "content":
            self._headers["content-type"] = "application/octet-stream"
        self._timeout = aiohttp.ClientTimeout(total=options.timeout)
        self._session: aiohttp.ClientSession | None = None
        self._sending: set[asyncio.Task[object]] = set()

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
    ) -> WebhookAnswer:
        """See :meth:`Transport.send`.

        Raises:
            DeliveryError: kinds ``unencodable``, ``status_<code>``, ``timeout``, ``forbidden_address``, ``connection``.
        """
        body = body_of(message, self._options.body)
        name = header_id(message_id)
        now, left = time.time(), self._options.timeout
        if deadline is not None:
            left = min(left, deadline - now)
        headers = {**self._headers, _TIME_LEFT: str(max(int(left * 1000.0), 0))}
        if self._signer is None:
            headers["webhook-id"] = name
        else:
            headers.update(self._signer.headers(name, int(now), body))
        task = asyncio.current_task()
        if task is not None:
            self._sending.add(task)
        try:
            return await self._post(body, headers, is_limited=limit_of(self._options.timeout, deadline) is None)
        except TimeoutError:
            raise DeliveryError("timeout", f"no answer within {self._options.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(error) from error
        finally:
            if task is not None:
                self._sending.discard(task)

    async def close(self) -> None:
        """See :meth:`Transport.close`; requests under way end first."""
        under_way = self._sending - {asyncio.current_task()}
        if under_way:
            await asyncio.wait(under_way)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, body: bytes, headers: dict[str, str], *, is_limited: bool) -> WebhookAnswer:
        """``is_limited``: it is cancelled before its own time limit."""
        request = self._open_session().post(
            self._url,
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy=self._options.proxy,
            timeout=_UNLIMITED if is_limited else self._timeout,
        )
        async with request as answer:
            limit = self._options.max_response
            read = bytearray()
            while len(read) < limit and (part := await answer.content.read(limit - len(read))):
                read += part
            if not answer.content.at_eof():
                answer.close()  # the rest is not read, so the connection cannot be used again
        if 200 <= answer.status < 300:
            load = utilisation(answer.headers.get("endpoint-load-metrics"))
            return WebhookAnswer(answer.status, bytes(read), load)
        raise refusal(answer.status, answer.headers, bytes(read))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0, ssl=self._tls, socket_factory=None if self._guard is None else self._guard.socket
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("accept-encoding",),
            )
        return self._session


def _failed(error: BaseException) -> DeliveryError:
    """No answer. The text does not hold the url."""
    words = connection_problem(error)
    root: BaseException | None = error
    while root is not None:
        if isinstance(root, ForbiddenAddressError):
            return DeliveryError("forbidden_address", str(root))
        root = root.__cause__
    return DeliveryError("connection", words)


def _checked(url: str) -> str:
    try:
        usable = bool(URL(url).host)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("the url names no host; write one such as https://host:8443/hook")
    return url
