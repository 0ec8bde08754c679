"""``outbox_killer.py DIRECTORY KILLS SEED PORT PORT``: kills processes with an outbox, for test_outbox_kills.

It forks a child for each kill, so that a kill costs no start of an interpreter. What the children say stands in
``journal``, a line of JSON each, with what is known here besides: each end, and where the receivers' logs were when a
child had settled everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Any, Final

import aiohttp  # noqa: F401 - once, and not in every child

from outbox_child import Child, redrive
from outbox_points import sizes
from outbox_support import layout_1

PLAN: Final = (
    "random", "before_commit", "after_commit", "start", "log", "fanout_sent", "random", "fanout_noted", "sent", "ended",
    "random", "checkpoint", "random", "vacuum", "rest_before", "rest_after", "random", "revived", "many_before",
    "many_after", "random", "redrive_asked", "redrive_before", "start", "redrive_after", "redrive_answer", "late",
    "redrive_alone_before", "redrive_alone_after", "migration",
)  # fmt: skip
"""What ends the children, in turn. A vacuum needs free pages, which the large messages of a checkpoint leave;
redrive_alone needs letters, which the late one leaves, and redrive_alone_before does not take."""
BLIND: Final = ("random", "start", "late")
"""Killed from here, at a random instant: of their flow, their start and recovery, or after making dead letters."""

BY_SIZE: Final = ("log", "checkpoint")
"""Ended by the kernel, in the middle of a write."""
PATIENCE: Final = 60.0
OLD_MESSAGES: Final = 20
"""Of a file of layout 1."""


class Killer:
    def __init__(self, directory: Path, ports: list[int], journal: IO[str], rng: random.Random) -> None:
        self._directory, self._ports, self._journal, self._rng = directory, ports, journal, rng

    def note(self, **what: Any) -> None:
        print(json.dumps(what), file=self._journal, flush=True)

    def life(self, scenario: str, number: int, path: Path) -> None:
        """A child from its beginning to its end."""
        reading, writing = os.pipe()
        go_on, going_on = os.pipe()
        seed = self._rng.random()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.close(going_on)
            try:
                child = Child(self._directory, path, self._ports, (go_on, writing), number, seed)
                asyncio.run(child.run(scenario))
            except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writing)
        os.close(go_on)
        try:
            self._listen(scenario, pid, reading, going_on, path)
        finally:
            os.close(reading)
            os.close(going_on)
        _, status = os.waitpid(pid, 0)
        by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self.note(of=path.name, end=scenario, sizes=sizes(path))
        expected = None if scenario == "end" else signal.SIGXFSZ if scenario in BY_SIZE else signal.SIGKILL
        if by != expected or (by is None and status):
            sys.exit(f"child {number}, {scenario}: status {status}")

    def _listen(self, scenario: str, pid: int, pipe: int, going_on: int, path: Path) -> None:
        """Until the child is dead: its end of the pipe closes with it."""
        kill_at = time.monotonic() + (self._rng.random() * 0.08 if scenario == "start" else PATIENCE)
        killed, left = False, b""
        while True:
            ready, _, _ = select.select([pipe], [], [], PATIENCE if killed else max(0.0, kill_at - time.monotonic()))
            if not ready:
                os.kill(pid, signal.SIGKILL)
                if killed or scenario not in BLIND:
                    sys.exit(f"{scenario}: the point was not reached, or the child did not settle")
                killed = True
                continue
            data = os.read(pipe, 1 << 16)
            if not data:
                return
            *lines, left = (left + data).split(b"\n")
            for said in map(json.loads, lines):
                if "settled" in said:
                    said["letters"] = json.loads((self._directory / "letters.json").read_text())
                    said["logs"] = [(self._directory / name / "log").stat().st_size for name in "pq"]
                    os.write(going_on, b".")
                if (scenario == "random" and "settled" in said) or (scenario == "late" and "redrivable" in said):
                    kill_at = time.monotonic() + self._rng.random() * 0.04
                elif "redrivable" in said:
                    redrive(path)
                self.note(of=path.name, **said)


def main() -> None:
    directory, kills, ports = Path(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[4:6]]
    rng = random.Random(sys.argv[3])
    with (directory / "journal").open("w") as journal:
        killer = Killer(directory, ports, journal, rng)
        for number in range(kills):
            scenario = PLAN[number % len(PLAN)]
            if scenario == "migration":
                path = directory / f"old-{number}.db"
                layout_1(path, OLD_MESSAGES, f"old-{number}-")
                names = [f"old-{number}-{seq}" for seq in range(1, OLD_MESSAGES + 1)]
                for pool, to in (("q", names), ("p", names[:2] + names[3:])):  # pool p has the third already
                    killer.note(of=path.name, offered=to, to=pool)
                    killer.note(of=path.name, accepted=to, to=pool)
                killer.life(scenario, number, path)
                killer.life("end", number, path)
            else:
                killer.life(scenario, number, directory / "outbox.db")
        killer.life("end", kills, directory / "outbox.db")


if __name__ == "__main__":
    main()
