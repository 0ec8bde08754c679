"""A server of webhooks that keeps whole requests and answers as told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Server:
    """An HTTP server that keeps what it gets and answers as told."""

    def __init__(self) -> None:
        self.requests: list[tuple[web.BaseRequest, bytes]] = []
        self.status, self.headers, self.body = 204, {}, b""  # type: tuple[int, dict[str, str], bytes]
        self.hanging: asyncio.Event | None = None
        self.dropping = False
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if self.hanging is not None:
            await self.hanging.wait()
        if self.dropping:
            assert request.transport is not None
            request.transport.abort()
        elif self.status < 300:
            self.requests.append((request, body))
        return web.Response(status=self.status, headers=self.headers, body=self.body)


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    runner = web.ServerRunner(web.Server(server.answer), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
