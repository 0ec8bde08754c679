"""One check of each kind. A probe returns the health found, or raises :class:`CheckError` with what is wrong.

Probes do not time themselves; whoever runs them sets the limit. The text of a problem never holds the url: it may
hold a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from ..config import HealthCheckConfig
from ..config.health import host_and_port
from ..errors import ConfigError
from ..security import client_context, connection_problem
from .verdict import Health

if TYPE_CHECKING:
    import aiohttp

Check = Callable[[str], Awaitable[object] | object]
"""What ``router.health_check`` takes: ``fn(destination)``, sync or async. None and true: healthy; false: not; or
``"healthy"``, ``"degraded"``, ``"unhealthy"``. An exception is a failed check."""

Probe = Callable[[], Awaitable[Health]]

BODY_READ: Final = 64 * 1024
"""So much of an answer's body is read, in bytes."""


class CheckError(Exception):
    """The destination is not fit; the text says why."""


class Http:
    """The client that all http checks share; opened by the first."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """The client, on the running loop."""
        if self._session is None:
            import aiohttp

            # A connection of its own for each check: whether one can be had is part of what is asked.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session

    async def close(self) -> None:
        """Closes the client; it is opened again if it is used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def http_probe(check: HealthCheckConfig, http: Http) -> Probe:
    """Asks a url.

    Raises:
        ConfigError: aiohttp is not installed, or the file of certificates cannot be read.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise ConfigError("http health checks need aiohttp: pip install 'turnout[http]'")
    url = check.http or ""
    tls: Any = client_context(check.ca_file) if url.startswith("https:") else True
    body = None if check.body is None else check.body.encode()

    async def probe() -> Health:
        import aiohttp

        try:
            request = http.session().request(
                check.method, url, allow_redirects=False, ssl=tls, server_hostname=check.server_name
            )
            async with request as answer:
                if not any(first <= answer.status <= last for first, last in check.status):
                    raise CheckError(f"status {answer.status}")
                if body is not None and body not in await _start_of(answer.content):
                    raise CheckError("the expected text is not in the answer")
        except (aiohttp.ClientError, OSError) as error:
            raise CheckError(connection_problem(error)) from error
        return "healthy"

    return probe


async def _start_of(content: aiohttp.StreamReader) -> bytes:
    read = bytearray()
    while len(read) < BODY_READ:
        part = await content.read(BODY_READ - len(read))
        if not part:
            break
        read += part
    return bytes(read)


def tcp_probe(check: HealthCheckConfig) -> Probe:
    """Opens a connection, with TLS if the check asks for it. Raises ConfigError, as :func:`http_probe`."""
    host, port = host_and_port(check.tls or check.tcp or "")
    context = client_context(check.ca_file) if check.tls else None
    name = (check.server_name or host) if context else None

    async def probe() -> Health:
        try:
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
        except OSError as error:
            raise CheckError(connection_problem(error)) from error
        # The question is answered; a peer that does not say goodbye is its own matter.
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return "healthy"

    return probe


def callable_probe(destination: str, function: Check) -> Probe:
    """Calls a Python function: on the loop if it is ``async``, in a thread of its own if not, one call at a time."""
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object's own async __call__
    )
    running: threading.Thread | None = None

    async def probe() -> Health:
        nonlocal running
        if running is not None and running.is_alive():
            raise CheckError("the check before has not ended")
        try:
            if is_async:
                found = function(destination)
            else:
                future, running = _in_thread(function, destination)
                found = await future
            if inspect.isawaitable(found):
                found = await found
        except Exception as error:
            raise CheckError(f"{type(error).__name__}: {error}") from error
        match found:
            case None | True | "healthy":
                return "healthy"
            case "degraded":
                return "degraded"
            case False | "unhealthy":
                raise CheckError("the check says so")
        raise CheckError(f"the check returned {type(found).__name__}, not a bool, None or the name of a health")

    return probe


def _in_thread(function: Check, destination: str) -> tuple[asyncio.Future[object], threading.Thread]:
    """Calls ``function`` in a daemon thread: one that hangs must hold up neither the loop nor the exit of Python."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()

    def settle(result: object, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result: object = None
        failure: Exception | None = None
        try:
            result = function(destination)
        except BaseException as error:  # noqa: BLE001 - it is what the check found; SystemExit stays in this thread
            failure = error if isinstance(error, Exception) else RuntimeError(f"raised {type(error).__name__}")
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody asks any more
            loop.call_soon_threadsafe(settle, result, failure)

    thread = threading.Thread(target=run, name=f"turnout-health-{destination}", daemon=True)
    thread.start()
    return future, thread
