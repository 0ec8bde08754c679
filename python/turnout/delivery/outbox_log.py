"""Damage of an outbox's write-ahead log, of which SQLite does not tell: it goes back to the last sound transaction.

The log is a header and frames, each a page with a checksum that goes on from the frame before (SQLite, "Database File
Format", 4.1-4.2). So one bad frame makes all that follow unreadable to SQLite. Here they are checked one by one: each
frame has the checksum that the next goes on from, so what is lost is the bad frame's page alone, and not even that if a
later frame has the page anew. What was cut off is noticed by the ``-shm`` file, which says how many frames there were.

A transaction counts from its last frame on, which says so. What stands after the last of these belongs to one that a
crash cut short: it was not committed, is no damage, and must not be read, for half of a transaction is worse than none.
That the last transaction lost its last frame to damage is known by ``-shm`` alone; without one it counts as cut short.
Checking costs about 0.1 ms a page, after a crash only.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
"""The last bit: whether checksums are of big-endian words."""
_BACKFILLED: Final = 96
"""Where ``-shm`` says how many frames were brought into the file."""


class Log(NamedTuple):
    """What a log holds."""

    page_size: int
    pages: dict[int, bytes]
    """By number from 1, the last version of each."""
    lost: int
    """Pages whose last version is damaged, or cut off."""
    problem: str | None
    """In words; None if nothing is wrong with it."""


def read_log(path: Path) -> Log:
    """The write-ahead log of an outbox.

    Raises:
        OSError: it cannot be read.
    """
    log = path.with_name(path.name + "-wal")
    raw = log.read_bytes() if log.exists() else b""
    expected, in_file, salt = _expected(path)
    if len(raw) < _HEADER.size:
        cut = expected - in_file
        return Log(0, {}, cut, f"{cut} pages were cut off its log" if cut else None)
    magic, _, page_size, _, *salts, first, second = _HEADER.unpack_from(raw)
    order = "big" if magic & 1 else "little"
    sound = (magic | 1) == _MAGIC | 1 and _checksum(raw[:24], (0, 0), order) == (first, second)
    if not sound:
        page_size = int.from_bytes(path.read_bytes()[16:18], "big") or 65_536
        if page_size < 512 or page_size & (page_size - 1):
            return Log(0, {}, 1, "its log and its header are damaged")
    size = _FRAME.size + page_size
    count = (len(raw) - _HEADER.size) // size
    frames = [raw[_HEADER.size + place * size :][:size] for place in range(count)]
    found = _sound_frames(frames, None if not sound else (salts[0], salts[1]), (first, second), order)
    if salt is not None and sound and raw[16:24] != salt:  # it was begun anew just then, and has no transaction yet
        expected = in_file = 0
    found = found[: max(expected, _committed(found))]
    cut = max(0, expected - len(found))
    unsaved = max(0, expected - max(len(found), in_file))
    pages: dict[int, bytes] = {}
    lost: set[int] = set()
    bad = 0
    for place, frame in enumerate(found):
        if place < in_file:  # the file has this page, or a later version
            bad += frame is None
        elif frame is None:
            bad += 1
            lost.add(int.from_bytes(frames[place][:4], "big"))
        else:
            number = int.from_bytes(frame[:4], "big")
            pages[number] = frame[_FRAME.size :]
            lost.discard(number)
    problem = None
    if bad or cut or not sound:
        parts = [f"{bad} pages of its log are damaged" if bad else "", f"{cut} were cut off it" if cut else ""]
        problem = ", ".join(part for part in parts if part) or "the header of its log is damaged"
    return Log(page_size, pages, len(lost) + unsaved, problem)


def rebuilt(path: Path, log: Log, into: Path) -> None:
    """Writes the file as it is with the pages of its log.

    Raises:
        OSError: it cannot be written.
    """
    raw = bytearray(path.read_bytes())
    for number, page in log.pages.items():
        end = number * log.page_size
        raw.extend(bytes(max(0, end - len(raw))))
        raw[end - log.page_size : end] = page
    raw[18:20] = b"\x01\x01"  # no log
    into.write_bytes(raw)


def _expected(path: Path) -> tuple[int, int, bytes | None]:
    """How many frames the log had and how many of them the file has, by ``-shm``, and which log that was."""
    index = path.with_name(path.name + "-shm")
    raw = index.read_bytes()[: _BACKFILLED + 4] if index.exists() else b""
    if len(raw) < _BACKFILLED + 4 or raw[:48] != raw[48:96] or not raw[12]:
        return 0, 0, None
    frames = int.from_bytes(raw[16:20], sys.byteorder)
    backfilled = int.from_bytes(raw[_BACKFILLED : _BACKFILLED + 4], sys.byteorder)
    return frames, min(frames, backfilled), raw[32:40]


def _sound_frames(
    frames: list[bytes], salts: tuple[int, int] | None, seed: tuple[int, int], order: str
) -> list[bytes | None]:
    """The frames of this log, up to the last sound one of it; None for one that is damaged. What follows is of a log
    before it, in the same file."""
    if salts is None and frames:
        salts = _FRAME.unpack_from(frames[0])[2:4]
    found: list[bytes | None] = []
    seeds: list[tuple[int, int] | None] = [seed]
    end = 0
    for frame in frames:
        _, _, one, two, first, second = _FRAME.unpack_from(frame)
        sums = [_checksum(frame[:8] + frame[_FRAME.size :], known, order) for known in seeds if known is not None]
        is_sound = (one, two) == salts and (first, second) in sums
        found.append(frame if is_sound else None)
        # After a damaged frame the next goes on from the checksum that stands in it, or that it should have.
        seeds = [(first, second)] if is_sound else [(first, second), *sums[:1]]
        if (one, two) == salts:
            end = len(found)
    return found[:end]


def _committed(frames: list[bytes | None]) -> int:
    """How many frames there are up to the last that ends a transaction: it says how large the file is then."""
    ends = (place for place, frame in enumerate(frames, 1) if frame is not None and any(frame[4:8]))
    return max(ends, default=0)


def _checksum(data: bytes, seed: tuple[int, int], order: str) -> tuple[int, int]:
    """Of 32-bit words, two at a time."""
    words = iter(struct.unpack(f"{'>' if order == 'big' else '<'}{len(data) // 4}I", data))
    first, second = seed
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
