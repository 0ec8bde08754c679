"""A mail server in a process of its own: ``python mail_child.py LOG PORT``. It notes the id of every mail in LOG, a
line each, before it takes it; so the log is right whenever this process is killed."""

from __future__ import annotations

import asyncio
import email
import json
import sys
from pathlib import Path
from typing import IO, Any, cast

from aiosmtpd.smtp import SMTP, Envelope, Session


class Noting:
    """Takes every mail."""

    def __init__(self, log: IO[bytes]) -> None:
        self._log = log

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        name = email.message_from_bytes(cast("bytes", envelope.content))["X-Message-Id"]
        self._log.write(json.dumps({"id": name}).encode() + b"\n")
        self._log.flush()
        return "250 kept"


async def main(log: Path, port: int) -> None:
    with log.open("ab") as file:
        server = await asyncio.get_running_loop().create_server(lambda: SMTP(Noting(file)), "127.0.0.1", port)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
