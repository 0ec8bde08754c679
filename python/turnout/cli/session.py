"""One run: lines of input dispatched, a bounded number at a time, until the input ends or the run is told to stop.

Stopping is cancelling the task that reads: a message that was read and not yet handed to the router was never
accepted, and one that was handed over is waited for. So there is no message whose fate is unknown.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from typing import Any

from ..delivery import Delivery
from ..errors import DeliveryError, MessageError
from ..router import Router
from .feed import Feed
from .letters import Letters
from .ndjson import Line, LineReader
from .progress import Watcher

_TICK_S = 0.1
"""Between two updates of the progress: as smooth as the eye asks, and no load."""
_WINDOW = 2
"""Messages handed over for each that the router settles at once: some wait, for the urgent to overtake, but none so
long that its time runs out waiting."""


@dataclass(frozen=True)
class Pace:
    """How fast, how many at once, and how long the end may take."""

    concurrency: int
    """Messages that the router settles at once."""
    rate: float | None
    """Messages a second, at most; None for as fast as they settle."""
    drain: float
    """Seconds that messages in flight get when the run was told to stop."""


class Session:
    """Runs once."""

    def __init__(
        self, router: Router, reader: LineReader, pace: Pace, watcher: Watcher, dead_letters: FileIO | None
    ) -> None:
        """``dead_letters``: where a message that was given up on is written, as one line of JSON; a file
        without a buffer, so that what is written is there whatever happens next."""
        self._router, self._reader, self._pace, self._watcher = router, reader, pace, watcher
        durable = router.config.outbox is not None
        self._letters = Letters(
            router.dead_letters, watcher, dead_letters, durable=durable, on_trouble=self._letters_in_trouble
        )
        self._slots = asyncio.Semaphore(pace.concurrency * _WINDOW)
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._lines: dict[int, int] = {}  # line by identity of the message, of those handed over and not settled
        self.handed_over = 0
        """Messages given to the router."""
        self.rejected = 0
        """Lines that were no message, and messages that the router refused: never accepted."""
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
        closes the router."""
        await self._router.start()
        self._watcher.start()
        self._letters.start()
        ticking = asyncio.create_task(self._tick())
        self._reading = asyncio.create_task(self._read())
        try:
            with _signals(self._on_signal):
                await asyncio.wait([self._reading])
                await self._settled()
                self._letters.look(self._line_of)
                await self._letters.written()  # while the outbox is open, to be told what it need not keep
                await self._router.close(drain=0)
                await self._all_done()  # what was not settled is a dead letter now, or kept in the outbox
        finally:
            ticking.cancel()
            self._letters.look(self._line_of)
            await self._letters.written()
            self._watcher.close()
        if not self._reading.cancelled() and (error := self._reading.exception()):
            raise error
        if self._failure is not None:
            raise self._failure

    def _on_signal(self, number: int) -> None:
        """The first stops the reading; the second stops the waiting."""
        if self.stopped_by is not None:
            self._hurry.set()
            return
        self.stopped_by = signal.Signals(number).name
        self._watcher.note(f"{self.stopped_by}: no more input is read; what is in flight is settled (again: stop now)")
        self._stopping.set()
        self._stop()

    def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        feed = Feed(self._reader)
        feed.start()
        began = time.monotonic()
        try:
            while (batch := await feed.next()) is not None:
                for line in batch:
                    if line.message is None:
                        self._reject(line, line.problem or "")
                        continue
                    await self._turn(began)
                    await self._slots.acquire()
                    self.handed_over += 1
                    task = asyncio.create_task(self._deliver(line, line.message))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
        except OSError as error:
            self._in_trouble(f"the input cannot be read any further: {error.strerror or error}")
        finally:
            feed.close()

    async def _turn(self, began: float) -> None:
        """Keeps the rate; and lets deliveries go on where everything settles without ever waiting."""
        early = 0.0 if self._pace.rate is None else began + self.handed_over / self._pace.rate - time.monotonic()
        await asyncio.sleep(max(early, 0.0))

    async def _deliver(self, line: Line, message: dict[str, Any]) -> None:
        self._lines[id(message)] = line.number
        try:
            await self._letters.room()
            delivery = await self._router.dispatch(message)
        except (MessageError, DeliveryError) as error:  # not accepted
            self._reject(line, str(error))
            if self._letters.full and self.trouble is None:
                self._in_trouble(
                    "as many dead letters are kept as may be: see turnout dlq, or name --dead-letters FILE"
                )
                self._stop()
        else:
            self.routed[delivery.stage, delivery.rule] += 1
            self.failovers += _failovers(delivery)
        finally:
            self._letters.look(self._line_of)
            del self._lines[id(message)]

    def _line_of(self, message: object) -> int | None:
        return self._lines.get(id(message))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._slots.release()
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Not a message's failure but this program's: end the run, and show it.
        self._failure = self._failure or error
        self._stop()

    def _reject(self, line: Line, problem: str) -> None:
        self.rejected += 1
        self._watcher.note(f"line {line.number}: rejected: {problem}")

    def _letters_in_trouble(self, why: str) -> None:
        self._in_trouble(why)
        self._stop()

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
        await self._all_done()
        await self._router.join()

    async def _all_done(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _drained(self) -> None:
        """Ends when the time to drain is over, which begins with the first signal; it may come at any time."""
        await self._stopping.wait()
        await asyncio.sleep(self._pace.drain)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._letters.look(self._line_of)  # those of messages left over, which nobody here waits for
            ledger = self._router.ledger
            counts = {
                "accepted": ledger.accepted, "delivered": ledger.delivered, "waiting": ledger.waiting,
                "dead-lettered": ledger.dead_lettered, "expired": ledger.expired, "rejected": self.rejected,
            }  # fmt: skip
            shown = (f"{count:,} {name}" for name, count in counts.items() if count or name == "delivered")
            self._watcher.update(self._reader.bytes_read, " · ".join(shown))


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
