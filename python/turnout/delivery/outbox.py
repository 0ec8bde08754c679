"""The outbox: what is accepted is on disk, and stays there until it is settled. A ledger, not a second way to deliver.

::

    accept ── add ──▶ one writer thread: all that waits is one transaction, one fsync ──▶ accepted
    branch delivered ── took ──▶ (written behind)       settled ── end ──▶ (written behind)
    start ── rows ──▶ the lanes, as any other message

Acceptance waits for the disk. Ends do not: a process that dies between a delivery and its record sends that message
again at the next start (at least once). While the disk is full or fails, new work is refused in words and ends wait in
memory until they can be written, so deliveries go on. Costs about 30 µs of CPU a message; the fsync is shared.

The beginning of an attempt is written only for messages of earlier runs, before the attempt: it would double the
writes of all others. So a message that ends the process is known for it from its second time on; of the first time,
``attempt`` counts one that may have been made.

Sizes count the messages themselves. The file is larger by its write-ahead log (about 4 MB) and pages not yet reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from ..errors import ConfigError, DeliveryError, MessageError
from .clock import clock
from .jobs import Job, Run
from .outbox_batch import Batch
from .outbox_codec import decode_branch, decode_letter, encode, encode_branch, encode_letter
from .outbox_file import Listed, OutboxFile
from .outbox_known import Known
from .outbox_rows import decode_redrive, rows_of, target_of
from .outbox_salvage import Damage
from .outbox_schema import RUN_BITS, BranchRow, Request, Row, head_crc
from .outbox_writer import Writer, full
from .records import DeadLetter, Delivery, Status
from .settings import OutboxSettings

_log = logging.getLogger(__name__)


class Outbox:
    """The outbox of one deliverer. Of one event loop, besides its writer thread."""

    def __init__(self, settings: OutboxSettings) -> None:
        self.settings = settings
        self.damage: Damage | None = None
        """What was wrong with the file when it was opened last."""
        self.run = 0
        """Number of this run of the router; it goes up with every :meth:`open`."""
        self._ids: dict[str, Job | None] = {}
        self._count = self._bytes = 0
        self._known = Known()
        self._runs: Mapping[int, bool] = {}
        self._next = self._next_letter = 1
        self._file: OutboxFile | None = None
        self._writer: Writer | None = None
        self._unwritten = Batch()

    def open(self) -> tuple[list[tuple[int, DeadLetter]], list[Listed]]:
        """Opens the file; the dead letters in it, with their numbers, and the unsettled messages. Blocks while the file
        is checked.

        Raises:
            ConfigError: see :class:`OutboxFile`.
        """
        file = OutboxFile(Path(self.settings.path))
        try:
            self.damage = file.damage
            if file.damage is not None:
                _log.error("%s", file.damage)
            found, self._runs = file.unsettled(), file.runs()
            last_asked = max((request.letter for request in file.requests()), default=0)
            letters = [(number, decode_letter(body)) for number, body in file.dead()]
            known = file.known()
        except sqlite3.Error as error:
            file.close()
            raise ConfigError(f"outbox {file.path}: cannot be used: {error}") from error
        self.run = max(self.run, *self._runs) + 1
        self._ids = {one.id: None for one in found}
        self._count, self._bytes = len(found), sum(one.size for one in found)
        self._known = Known(known)
        self._next = self.run << RUN_BITS
        # Above those that requests speak of too, or they would mean another letter.
        self._next_letter = max([last_asked, *(number for number, _ in letters)]) + 1
        batch, self._unwritten = self._unwritten, Batch()
        batch.runs[self.run] = False
        self._file, self._writer = file, Writer(file, batch)
        return letters, found

    def read(self, numbers: Iterable[int]) -> dict[int, tuple[Row, dict[str, BranchRow]]]:
        """Messages that are on disk only, by their numbers, with their branches. Blocks for the disk.

        Raises:
            sqlite3.Error: they cannot be read; they stay in the file.
        """
        return {} if self._file is None else self._file.rows(numbers)

    def resumed(self, job: Job, row: Row, branches: dict[str, BranchRow]) -> None:
        """The job stands for this row from now on."""
        accepted_in = row.seq >> RUN_BITS
        job.seq, job.size, job.body_crc, job.accepted = row.seq, len(row.body), zlib.crc32(row.body), row.accepted
        job.round, job.resumed, job.noted, job.known = row.round, accepted_in != self.run, bool(branches), branches
        job.ends = min(job.ends, row.accepted + self.settings.max_age)
        records = {pool: branch.record for pool, branch in branches.items() if branch.record is not None}
        if records:
            job.past = {pool: decode_branch(record) for pool, record in records.items()}
        if row.target is not None:
            job.redrive = decode_redrive(row.target)
        due = row.not_before is None or row.not_before <= clock.now()
        if job.resumed and due and not self._runs.get(accepted_in, False):
            # An attempt in the run that accepted it leaves no trace.
            for pool in branches.keys() | {""}:
                before = branches.get(pool) or BranchRow(row.seq, pool, accepted_in, 0, 0, 0, 0, None)
                if before.run == accepted_in:
                    branches[pool] = before._replace(earlier=before.earlier + 1, run=self.run)
        self._ids[job.id] = job

    async def close(self) -> None:
        """Writes what is to be written and lets go of the file."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with writer.lock:
            writer.batch.runs[self.run] = True
        self._unwritten = await asyncio.to_thread(writer.close)
        self._file = None

    # -- ids

    def claim(self, job: Job) -> None:
        """The message of this id is this one, until it is settled or let go."""
        self._ids[job.id] = job

    def let_go(self, job: Job) -> None:
        """It was not accepted."""
        if self._ids.get(job.id) is job:
            del self._ids[job.id]

    def first(self, name: str) -> Job | None:
        """The message of that id which is unsettled or about to be accepted, if it is in memory."""
        return self._ids.get(name)

    def knows(self, name: str) -> bool:
        """Whether a message of that id is unsettled, or was delivered within the window."""
        return name in self._ids or self.delivered_before(name)

    def repeated(self, job: Job) -> asyncio.Future[Delivery]:
        """What becomes of a message whose id is known."""
        settled: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        if job.id in self._ids:
            first = self._ids[job.id]
            if first is None:
                detail = "it is in the outbox, and its turn has not come"
                settled.set_result(_delivery(job, "kept", detail))
            else:
                first.waiters += (settled,)
        else:
            settled.set_result(_delivery(job, "delivered", "a message of this id was delivered before"))
        return settled

    def want(self, name: str) -> None:
        """Somebody brought a message of that id who does not wait for its end."""
        if (first := self._ids.get(name)) is not None:
            first.wanted = True

    def delivered_before(self, name: str) -> bool:
        """Whether a message of that id was delivered within the window."""
        return self._known.has(name, self.settings.window)

    # -- changes

    async def add(self, job: Job) -> None:
        """Returns when the message is on disk; its id must be claimed.

        Raises:
            MessageError: it cannot be written.
            DeliveryError: ``outbox_full``: by its limits, or because the disk is full or fails.
        """
        row, branches = self._prepared(job)
        await self._written([job], [row], branches)

    async def add_all(self, jobs: dict[int, Job]) -> dict[int, Exception]:
        """As :meth:`add` of each, in one transaction; why some were not added, by their keys."""
        failed: dict[int, Exception] = {}
        added: dict[int, Job] = {}
        rows: list[Row] = []
        branches: list[BranchRow] = []
        for key, job in jobs.items():
            try:
                row, known = self._prepared(job)
            except (MessageError, DeliveryError) as error:
                failed[key] = error
                continue
            added[key] = job
            rows.append(row)
            branches.extend(known)
        try:
            if rows:
                await self._written(added.values(), rows, branches)
        except DeliveryError as error:
            failed.update({key: copy.copy(error) for key in added})
        return failed

    def _prepared(self, job: Job) -> tuple[Row, list[BranchRow]]:
        """The rows of a message that is about to be added, which has a number now.

        Raises:
            MessageError, DeliveryError: it cannot be.
        """
        body = encode(job.message)
        self._check(job.id, len(body))
        job.seq, job.size, job.body_crc, job.accepted = self._next, len(body), zlib.crc32(body), clock.now()
        self._next += 1
        self._count += 1
        self._bytes += job.size
        row, branches = rows_of(job, self.run, body)
        job.noted = bool(branches)
        return row, branches

    async def _written(self, jobs: Collection[Job], rows: list[Row], branches: list[BranchRow]) -> None:
        """Returns when all of it is on disk."""
        writer = self._writer
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            if writer is None:
                raise DeliveryError("closed", "the outbox is closed")
            with writer.lock:
                writer.batch.added.extend(rows)
                for job in jobs:
                    if job.letter:
                        writer.batch.redriven.append((job.letter,))
                for branch in branches:
                    writer.batch.branches[branch.seq, branch.pool] = branch
                writer.adding.append(written)
                writer.changed()
            await written
        except DeliveryError:
            for job in jobs:
                self._forget(job)
            raise
        except BaseException:  # cancelled: whether or not it is on disk by now, it was not accepted
            for job in jobs:
                self._forget(job)
                if not job.letter:  # of a redrive there is no letter any more, and so the next start goes on with it
                    self._note(ended=job.seq)
            raise

    def _check(self, name: str, size: int) -> None:
        """Raises MessageError or DeliveryError where a message of that id and size cannot be taken."""
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise MessageError("message.id", "is no valid Unicode (half of a surrogate pair); the outbox keeps "
                                   "text only") from None  # fmt: skip
        settings = self.settings
        if self._bytes + size > settings.max_bytes:
            raise full(f"{self._bytes} bytes of messages are unsettled (outbox.max_bytes is {settings.max_bytes})")
        if self._count >= settings.max_messages:
            raise full(f"{self._count} messages are unsettled (outbox.max_messages)")

    async def begin(self, run: Run) -> None:
        """Returns when it is written that an attempt begins, or cannot be: deliveries go on all the same."""
        writer = self._writer
        if writer is None:
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        row = self._branch(run, begun=1)
        with writer.lock:
            writer.batch.branches[row.seq, row.pool] = row
            writer.noting.append(written)
            writer.changed()
        try:
            await written
        except DeliveryError as error:
            _log.warning("message %s: attempted without a note in the outbox: %s", run.job.id, error)

    async def rest(self, job: Job) -> bool:
        """Writes where a message stands between two rounds; whether it is on disk when this returns."""
        writer = self._writer
        if writer is None:
            return False
        crc = head_crc(
            job.body_crc, job.seq, job.id, job.priority, job.accepted, job.expires, job.not_before, job.ordering,
            target_of(job), job.round,
        )  # fmt: skip
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        job.noted = job.noted or bool(job.past)
        with writer.lock:
            writer.batch.moved.append((job.not_before, job.round, crc, job.seq))
            for pool, past in job.past.items():
                known = job.known[pool]
                earlier = known.earlier + job.tried
                row = known._replace(seq=job.seq, run=self.run, earlier=earlier, record=encode_branch(past))
                writer.batch.branches[job.seq, pool] = row
            writer.noting.append(written)
            writer.changed()
        try:
            await written
        except DeliveryError as error:
            _log.warning("message %s: waits for its next round in memory: %s", job.id, error)
            return False
        return True

    def put_down(self, job: Job) -> None:
        """The message is on disk only from now on."""
        self._ids[job.id] = None

    def tried(self, run: Run) -> None:
        """An attempt failed."""
        self._note(branch=self._branch(run))

    def took(self, run: Run) -> None:
        """A branch of the message was delivered, and another start must not do it again."""
        self._note(branch=self._branch(run, took=1))

    def _branch(self, run: Run, *, begun: int = 0, took: int = 0) -> BranchRow:
        run.job.noted = True
        return BranchRow(
            run.job.seq, run.branch_key, self.run, run.tried, run.earlier + run.job.tried, begun, took, None
        )

    def _note(self, *, branch: BranchRow | None = None, ended: int | None = None) -> None:
        writer = self._writer
        if writer is None:  # an attempt that went on after the close; the next start knows it was under way
            return
        with writer.lock:
            if branch is not None:
                writer.batch.branches[branch.seq, branch.pool] = branch
            if ended is not None:
                writer.batch.ended.append((ended,))
                writer.batch.unnoted.append((ended,))
            writer.changed()

    def end(self, job: Job, *, delivered: bool, letters: Iterable[DeadLetter]) -> list[int]:
        """The message is settled; the numbers of its dead letters."""
        self._forget(job)
        self.let_go(job)
        kept: dict[int, tuple[int, bytes]] = {}
        for letter in letters:
            kept[self._next_letter] = job.seq, encode_letter(letter)
            self._next_letter += 1
        remembers = delivered and self.settings.window > 0
        number, forgotten = self._known.add(job.id, self.settings) if remembers else (0, 0)
        writer = self._writer
        if writer is None:
            return list(kept)
        with writer.lock:
            batch = writer.batch
            batch.ended.append((job.seq,))
            if job.noted:
                batch.unnoted.append((job.seq,))
            batch.dead.update(kept)
            if remembers:
                batch.known.append((number, job.id, clock.now()))
            batch.forgotten = max(batch.forgotten, forgotten)
            writer.changed()
        return list(kept)

    def taken(self, numbers: Iterable[int]) -> None:
        """Dead letters were taken out by the user."""
        writer = self._writer
        if writer is None:
            self._unwritten.take(numbers)
            return
        with writer.lock:
            writer.batch.take(numbers)
            writer.changed()

    async def answered(self, numbers: Iterable[int]) -> None:
        """Requests of other processes were done, and all that belongs to them; returns when that is on disk, or the
        disk takes nothing: then it waits with the other ends."""
        writer = self._writer
        if writer is None:  # a request about a letter that is not there does nothing
            self._unwritten.answered.extend((number,) for number in numbers)
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with writer.lock:
            writer.batch.answered.extend((number,) for number in numbers)
            writer.noting.append(written)
            writer.changed()
        with contextlib.suppress(DeliveryError):
            await written

    def listen(self, asked: Callable[[list[Request]], None]) -> None:
        """From now on ``asked`` is told, from the writer's thread, what other processes ask; what waits already too."""
        if self._writer is not None:
            self._writer.asked = asked

    def _forget(self, job: Job) -> None:
        self._count -= 1
        self._bytes -= job.size


def _delivery(job: Job, status: Status, detail: str) -> Delivery:
    return Delivery(job.id, status, None, None, None, None, (), None, detail, None, 0.0)
