"""A proxy of TCP that can be told to hold, lose or break what goes through it: partitions without root.

::

    async with Proxy(server_port) as proxy:   # connect to 127.0.0.1:proxy.port
        proxy.pause()               # total: nothing goes through, either way
        proxy.pause("to_client")    # acknowledgements only: the server gets everything, and its answers do not come
        proxy.resume()              # what was held goes on, in order
        proxy.lose("to_server")     # gone; resume() then resets the connections that missed something
        proxy.reset()               # every connection, now
        proxy.refusing = True       # new connections are reset at once

While it is paused it still accepts connections, and what it cannot pass on waits in it (64 KiB a connection and
direction) and in the sockets: to a client that is a peer that does not answer, as behind a partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Final, Literal, cast

Direction = Literal["to_server", "to_client"]

_BOTH: Final[tuple[Direction, ...]] = ("to_server", "to_client")
_CHUNK: Final = 65_536


class _Gate:
    """What becomes of the bytes of one direction."""

    def __init__(self) -> None:
        self.losing = False
        self._open = asyncio.Event()
        self._open.set()

    def pause(self) -> None:
        self.losing = False
        self._open.clear()

    def lose(self) -> None:
        self.losing = True
        self._open.set()

    def resume(self) -> None:
        self.losing = False
        self._open.set()

    async def passed(self) -> bool:
        """Waits while it is paused; False if what waited is lost."""
        await self._open.wait()
        return not self.losing


class Proxy:
    """From a free port of 127.0.0.1 to a server; open while its ``async with`` lasts."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """``host`` and ``port``: the server's."""
        self.port = 0
        self.refusing = False
        """Whether new connections are reset at once."""
        self.connections = 0
        """Made until now, but for those that were refused."""
        self._to = host, port
        self._gates = {direction: _Gate() for direction in _BOTH}
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._torn: set[asyncio.Task[None]] = set()  # connections whose stream has a hole

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = list(self._open)
        self.reset()
        if tasks:
            await asyncio.wait(tasks)

    def pause(self, direction: Direction | None = None) -> None:
        """Holds what comes from now on in this direction, or in both."""
        for one in self._chosen(direction):
            self._gates[one].pause()

    def lose(self, direction: Direction | None = None) -> None:
        """Throws away what comes, and what was held, in this direction, or in both."""
        for one in self._chosen(direction):
            self._gates[one].lose()

    def resume(self, direction: Direction | None = None) -> None:
        """Lets through again; connections that lost something are reset, for their streams have holes."""
        for one in self._chosen(direction):
            self._gates[one].resume()
        for task in list(self._torn):
            self._break(task)

    def reset(self) -> None:
        """Resets every connection."""
        for task in list(self._open):
            self._break(task)

    def _chosen(self, direction: Direction | None) -> tuple[Direction, ...]:
        if direction is None:
            return _BOTH
        if direction not in _BOTH:
            raise ValueError(f"{direction!r} is no direction; write to_server or to_client")
        return (direction,)

    def _break(self, task: asyncio.Task[None]) -> None:
        for writer in self._open.get(task, ()):
            _abort(writer)
        task.cancel()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _abort(writer)
            return
        self.connections += 1
        # A task of our own: those of asyncio's server log it as an error when they are cancelled.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open[task] = [writer]
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        for writer in self._open.pop(task):
            _abort(writer) if task in self._torn or task.cancelled() else writer.close()
        self._torn.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        await self._gates["to_server"].passed()
        try:
            there, back = await asyncio.open_connection(*self._to)
            self._open[task].append(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, "to_server", task))
                group.create_task(self._pump(there, writer, "to_client", task))
        except* OSError:
            pass  # one side broke, and so the other is closed

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, task: asyncio.Task[None]
    ) -> None:
        gate = self._gates[direction]
        while data := await reader.read(_CHUNK):
            if not await gate.passed():
                self._torn.add(task)
                continue
            writer.write(data)
            await writer.drain()
        # The end of the stream, too, can be held or lost.
        if not await gate.passed():
            self._torn.add(task)
        else:
            with contextlib.suppress(OSError):  # the other side may be gone already
                writer.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Closes with a reset, so that the peer learns of it even while it only writes."""
    one = writer.get_extra_info("socket")
    if one is not None and one.fileno() >= 0:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
