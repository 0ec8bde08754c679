"""A receiver of webhooks in a process of its own: ``python -m turnout.testing.receiver LOG [--port N]``.

It notes every message in LOG, one line of JSON, before it answers 204; ``key`` and ``number`` of a message that is a
JSON object are noted too. It prints the port it listens on, at 127.0.0.1 only, and goes on until it is ended. Needs
``turnout[http]``. :func:`turnout.testing.read_log` reads the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import IO, Any

_LARGEST = 64 * 1024 * 1024


def _noted(identifier: str, body: bytes) -> bytes:
    try:
        message: Any = json.loads(body)
    except ValueError:
        message = None
    extra = {}
    if isinstance(message, dict):
        extra = {key: message[key] for key in ("key", "number") if isinstance(message.get(key), (str, int))}
    return json.dumps({"id": identifier, **extra}).encode() + b"\n"


async def serve(log: IO[bytes], port: int = 0) -> None:
    """Receives until it is cancelled; prints the port first."""
    from aiohttp import web

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        log.write(_noted(request.headers.get("webhook-id", ""), body))
        log.flush()  # it survives this process, which may be killed; a power loss is not its subject
        return web.Response(status=204)

    app = web.Application(client_max_size=_LARGEST)
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m turnout.testing.receiver", description=__doc__)
    parser.add_argument("log", type=Path, help="file that what arrives is appended to")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any that is free")
    given = parser.parse_args()
    with given.log.open("ab") as log:
        asyncio.run(serve(log, given.port))


if __name__ == "__main__":
    main()
