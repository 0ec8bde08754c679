"""One run: messages of a source dispatched, a bounded number at a time, until it ends or the run is told to stop.

Stopping is stopping the bridge: a message that was read and not yet handed to the router was never accepted, and one
that was handed over is waited for. So there is no message whose fate is unknown.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from typing import Any

from ..delivery import DeadLetter, Delivery
from ..errors import ConfigError, DeliveryError
from ..router import Router
from ..sources import WINDOW, Bridge, FileSource, Incoming, Source, Watch
from .letters import Letters
from .progress import Watcher

_TICK_S = 0.1
"""Between two updates of the progress: as smooth as the eye asks, and no load."""


@dataclass(frozen=True)
class Pace:
    """How fast, how many at once, and how long the end may take."""

    concurrency: int
    """Messages that the router settles at once."""
    rate: float | None
    """Messages a second, at most; None for as fast as they settle."""
    drain: float
    """Seconds that messages in flight get when the run was told to stop."""


class Session(Watch):
    """Runs once."""

    def __init__(
        self, router: Router, source: Source, pace: Pace, watcher: Watcher, dead_letters: FileIO | None
    ) -> None:
        """``dead_letters``: where a message that was given up on is written, as one line of JSON; a file
        without a buffer, so that what is written is there whatever happens next."""
        self._router, self._source, self._pace, self._watcher = router, source, pace, watcher
        self._durable = durable = router.config.outbox is not None
        self._letters = Letters(
            router.dead_letters,
            watcher,
            dead_letters,
            durable=durable,
            returns=source.keeps and not durable,
            on_trouble=self._letters_in_trouble,
        )
        self._bridge = Bridge(router, source, window=pace.concurrency * WINDOW, rate=pace.rate, watch=self)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._lines: dict[int | str, int] = {}  # of messages not settled, by identity; with an outbox, by id
        self.rejected = 0
        """What was no message: never accepted."""
        self.routed: Counter[tuple[str | None, str | None]] = Counter()
        """Messages that were settled, by the stage that decided and the rule; None for no stage, or no rule."""
        self.failovers = 0
        """Attempts that went to another destination than the failed one before."""
        self.stopped_by: str | None = None
        """Name of the signal that ended the run before its input did."""
        self.trouble: str | None = None
        """Why the run ended before its input did, if not by a signal: it cannot be read, or letters not be written."""

    async def run(self) -> None:
        """Until the input ends or a signal comes, and all in flight is settled, what an outbox had left over included;
        closes the router.

        Raises:
            ConfigError: a transport or the source cannot work.
        """
        try:
            await self._router.start()
        except BaseException:
            await self._source.close()
            raise
        self._router.on_settled(self._settled_one)
        self._watcher.start()
        self._letters.start()
        if self._source.keeps and self._letters.in_memory:
            self._watcher.note(
                "without an outbox or --dead-letters FILE, what cannot be delivered goes back to where it came from"
            )
        ticking = asyncio.create_task(self._tick())
        try:
            with _signals(self._on_signal):
                try:
                    await self._source.open()
                    await self._bridge.read()
                except OSError as error:
                    self._in_trouble(f"the input cannot be read any further: {error.strerror or error}")
                except ConfigError:
                    await self._router.close(drain=0)
                    raise
                await self._settled()
                self._letters.look(self._line_of)
                await self._letters.written()  # while the outbox is open, to be told what it need not keep
                await self._router.close(drain=0)
                await self._bridge.settled()  # what was not settled is a dead letter now, or kept in the outbox
        finally:
            ticking.cancel()
            await self._bridge.give_back()
            await self._source.close()
            self._letters.look(self._line_of)
            await self._letters.written()
            self._watcher.close()
        if self._bridge.failure is not None:
            raise self._bridge.failure

    def _on_signal(self, number: int) -> None:
        """The first stops the reading; the second stops the waiting."""
        if self.stopped_by is not None:
            self._hurry.set()
            return
        self.stopped_by = signal.Signals(number).name
        self._watcher.note(f"{self.stopped_by}: no more input is read; what is in flight is settled (again: stop now)")
        self._stopping.set()
        self._bridge.stop()

    # -- what the bridge and the router tell

    async def bringing(self, incoming: Incoming, message: dict[str, Any]) -> None:
        """See :class:`Watch`. Waits while the store of dead letters is full, and is being written to the file."""
        if incoming.line is not None:
            self._lines[id(message)] = incoming.line
        await self._letters.room()

    def accepted(self, incoming: Incoming, name: str) -> None:
        """See :class:`Watch`."""
        if incoming.line is not None:
            self._lines[name] = incoming.line

    def brought(self, message: dict[str, Any]) -> None:
        """See :class:`Watch`."""
        self._letters.look(self._line_of)
        self._lines.pop(id(message), None)

    def _settled_one(self, delivery: Delivery) -> None:
        self.routed[delivery.stage, delivery.rule] += 1
        self.failovers += _failovers(delivery)
        if self._durable:
            self._letters.look(self._line_of)
            self._lines.pop(delivery.id, None)

    async def rejects(self, incoming: Incoming, why: str) -> None:
        """See :class:`Watch`."""
        self.rejected += 1
        self._watcher.note(f"{incoming.place}: rejected: {why}")
        if self._source.keeps:
            await self._letters.write_rejected(incoming.id, incoming.body, why)

    def refused(self, incoming: Incoming, error: DeliveryError) -> None:
        """See :class:`Watch`."""
        if self._letters.full and self.trouble is None:
            self._in_trouble("as many dead letters are kept as may be: see turnout dlq, or name --dead-letters FILE")
            self._bridge.stop()

    async def keep(self, message: dict[str, Any]) -> bool:
        """See :class:`Watch`."""
        self._letters.look(self._line_of)
        return await self._letters.on_disk()

    def _line_of(self, letter: DeadLetter) -> int | None:
        return self._lines.get(letter.id if self._durable else id(letter.message))

    def _letters_in_trouble(self, why: str) -> None:
        self._in_trouble(why)
        self._bridge.stop()

    def _in_trouble(self, why: str) -> None:
        self.trouble = why
        self._watcher.note(why)

    async def _settled(self) -> None:
        """Waits for what is in flight or left over: as long as it takes, but after a signal only until the drain or a
        second one."""
        ends = [asyncio.create_task(wait()) for wait in (self._all_settled, self._drained, self._hurry.wait)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def _all_settled(self) -> None:
        await self._bridge.settled()
        await self._router.join()

    async def _drained(self) -> None:
        """Ends when the time to drain is over, which begins with the first signal; it may come at any time."""
        await self._stopping.wait()
        await asyncio.sleep(self._pace.drain)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._letters.look(self._line_of)  # those of messages left over, which nobody here waits for
            ledger, bridged = self._router.ledger, self._bridge.counts
            counts = {
                "accepted": ledger.accepted, "delivered": ledger.delivered, "waiting": ledger.waiting,
                "dead-lettered": ledger.dead_lettered, "expired": ledger.expired, "rejected": self.rejected,
                "given back": bridged.nacked,
            }  # fmt: skip
            shown = (f"{count:,} {name}" for name, count in counts.items() if count or name == "delivered")
            read = self._source.reader.bytes_read if isinstance(self._source, FileSource) else 0
            self._watcher.update(read, " · ".join(shown))


def _failovers(delivery: Delivery) -> int:
    """Attempts on another destination than the attempt before, branch by branch."""
    chains = [branch.attempts for branch in delivery.branches] or [delivery.attempts]
    return sum(before.destination != after.destination for chain in chains for before, after in pairwise(chain))


@contextmanager
def _signals(on_signal: Callable[[int], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call ``on_signal`` on the event loop, in the block."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            # Not loop.add_signal_handler: Windows has none.
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(on_signal, number))
    except ValueError:  # not the main thread, where signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
