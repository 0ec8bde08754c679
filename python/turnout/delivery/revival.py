"""Messages that wait on disk, or outside of the lanes, and are ready to go on: back to memory, the most urgent first.

A message is read when there is room for it in memory, so that however many are ready, few are there. What an earlier
run left over comes this way too. A message that may have ended the process before (``begun``) comes last, and the next
of these only when it has ended or has been under way for a second: so that if it does so again, it is alone.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sqlite3
from collections.abc import Callable
from typing import Final

from ..errors import DeliveryError
from .acceptance import Acceptance
from .failures import text_of
from .jobs import Job
from .lanes import Lanes
from .outbox import Outbox
from .outbox_codec import decode
from .outbox_schema import BranchRow, Row
from .records import Delivery
from .unsettled import Unsettled

_PAGE: Final = 64
"""Messages read at a time."""
_AGAIN: Final = 1.0
"""Seconds until messages that could not be read are tried again."""
_ALONE: Final = 1.0
"""Seconds that a message under suspicion is under way before the next one begins."""

_Entry = tuple[int, int, "Job | int"]
"""Minus the priority, the order, and the message or its priority."""

_log = logging.getLogger(__name__)


class Revival:
    """Brings messages back to memory. Of one event loop; not for threads."""

    def __init__(
        self,
        room: Lanes[Job],
        acceptance: Acceptance,
        unsettled: Unsettled,
        outbox: Outbox | None,
        begin: Callable[[Job], None],
    ) -> None:
        """``begin``: takes over a message that is in memory and has room there."""
        self._room = room
        self._acceptance = acceptance
        self._unsettled = unsettled
        self._outbox = outbox
        self._begin = begin
        self._ready: list[_Entry] = []
        self._suspects: list[_Entry] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, order: int, item: Job | int) -> None:
        """A message is ready: it, or the priority of one that is on disk only."""
        priority = item if isinstance(item, int) else item.priority
        heapq.heappush(self._ready, (-priority, order, item))
        if self._task is None and self._acceptance.accepting:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def close(self) -> list[Job]:
        """Brings nothing more; those in memory that were ready, which the caller must settle."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])
        jobs = [item for _, _, item in self._ready if isinstance(item, Job) and item.delivery is None]
        self._ready.clear()
        self._suspects.clear()
        return jobs

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:  # cancelled before it began
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("messages that wait cannot go on", exc_info=error)

    async def _run(self) -> None:
        try:
            while self._acceptance.accepting and (self._ready or self._suspects):
                if self._ready:
                    count = min(_PAGE, len(self._ready))
                    await self._bring_all([heapq.heappop(self._ready) for _ in range(count)], alone=False)
                else:
                    await self._bring_all([self._suspects.pop()], alone=True)
        finally:
            self._task = None  # at once: whoever comes next must find that nobody is at it

    async def _bring_all(self, page: list[_Entry], *, alone: bool) -> None:
        """Brings those of the page that are there; puts back those that are not brought."""
        numbers = [order for _, order, item in page if isinstance(item, int)]
        outbox, brought = self._outbox, 0
        try:
            rows = await asyncio.to_thread(outbox.read, numbers) if outbox is not None and numbers else {}
            for entry in page:
                _, order, item = entry
                if isinstance(item, Job):
                    await self._bring(item)
                elif outbox is None or order not in rows:
                    _log.error("outbox: message number %d is not in the file any more", order)
                    self._unsettled.vanished()
                elif not alone and any(branch.begun for branch in rows[order][1].values()):
                    self._suspects.append(entry)
                else:
                    number = self._acceptance.number()
                    await self._room.take(item, number)
                    job = self._revived(outbox, number, *rows[order])
                    if alone:
                        await self._watch(job)
                brought += 1
        except sqlite3.Error as error:
            _log.error("outbox: messages cannot be read, and stay there: %s", error)
            await asyncio.sleep(_AGAIN)
        except DeliveryError:
            pass  # the router is closed: they stay where they are
        finally:
            for entry in page[brought:]:
                heapq.heappush(self._ready, entry)

    async def _bring(self, job: Job) -> None:
        """Lets a message go on that is in memory."""
        if job.delivery is None and not job.has_room:
            await self._room.take(job.priority, job.number)
            job.has_room = True
        if job.delivery is None:
            self._begin(job)
        else:  # given up meanwhile
            self._acceptance.leave(job)

    def _revived(self, outbox: Outbox, number: int, row: Row, branches: dict[str, BranchRow]) -> Job:
        """The message of a row, going on; it has room."""
        job = Job(row.id, None, row.priority, number, row.expires, row.not_before, row.ordering)
        job.has_room, job.entering = True, None
        outbox.resumed(job, row, branches)
        self._unsettled.take_up(job)
        try:
            job.message = decode(row.body)
        except Exception as error:  # noqa: BLE001 - written by other hands; the rest must go on
            self._unsettled.give_up(job, "unreadable", f"its body in the outbox cannot be read: {text_of(error)}")
        else:
            self._begin(job)
        return job

    async def _watch(self, job: Job) -> None:
        """Returns when the message has ended, or has been under way for long enough."""
        if job.delivery is None:
            ended: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
            job.waiters += (ended,)
            await asyncio.wait([ended], timeout=_ALONE)
            ended.cancel()
