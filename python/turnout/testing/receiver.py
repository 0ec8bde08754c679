"""A receiver of webhooks in a process of its own.

``python -m turnout.testing.receiver LOG [--port N] [--script FILE]`` appends to LOG one line of JSON a message before
it answers, which :func:`turnout.testing.read_log` reads; so the log is right whatever happens to the sender, and the
receiver can be killed. FILE holds a JSON array of objects with the fields of :class:`turnout.testing.Answer`; without
it every request is answered by 204. It prints the port it listens on, at 127.0.0.1 only, and goes on until it is
ended. Needs ``turnout[http]``.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from .receiving import Answer, Receiver, read_script


async def serve(log: IO[bytes], port: int = 0, script: Iterable[Answer] = ()) -> None:
    """Receives until it is cancelled; prints the port first."""
    async with Receiver(script, log=log, port=port) as receiver:
        print(receiver.port, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m turnout.testing.receiver", description=__doc__)
    parser.add_argument("log", type=Path, help="file that what arrives is appended to")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any that is free")
    parser.add_argument("--script", type=Path, help="file that says how requests are answered; by default all by 204")
    given = parser.parse_args()
    script = [] if given.script is None else read_script(given.script.read_text())
    with given.log.open("ab") as log:
        asyncio.run(serve(log, given.port, script))


if __name__ == "__main__":
    main()
