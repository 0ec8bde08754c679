"""Times of one step, alone and by several threads at once, and of a change of members beside readers.

All are medians of rounds: the fastest round would leave out what happens now and then to whoever calls.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from turnout import Pool

ROUNDS = 15
Loop = Callable[[int], None]
"""Makes so many steps; a loop of the contender's own, so that no call of ours is measured with each."""


def repeated(step: Callable[[], object]) -> Loop:
    def loop(steps: int) -> None:
        for _ in itertools.repeat(None, steps):
            step()

    return loop


def typical(loop: Loop, seconds: float) -> float:
    """Seconds of one step: the median of rounds that take `seconds` together, of at least five."""
    began = time.perf_counter()
    loop(1)
    once = max(time.perf_counter() - began, 1e-7)
    steps = max(1, int(seconds / ROUNDS / once))
    taken: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(taken) < 5 or time.perf_counter() < deadline:
        began = time.perf_counter()
        loop(steps)
        taken.append((time.perf_counter() - began) / steps)
    return statistics.median(taken)


def together(loop: Loop, threads: int, steps: int, rounds: int = 5) -> float:
    """Seconds of one step where several threads make them: time that passes, by all steps made in it; the median."""
    taken = []
    for _ in range(rounds):
        start = threading.Barrier(threads + 1)

        def run(start: threading.Barrier = start) -> None:
            start.wait()
            loop(steps)

        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        began = time.perf_counter()  # before they are let go: this thread may be the last to go on
        start.wait()
        for worker in workers:
            worker.join()
        taken.append((time.perf_counter() - began) / (threads * steps))
    return statistics.median(taken)


@contextmanager
def readers(loop: Loop, threads: int) -> Iterator[None]:
    """Threads that select all the time."""
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            loop(100)

    running = [threading.Thread(target=read) for _ in range(threads)]
    for one in running:
        one.start()
    try:
        yield
    finally:
        done.set()
        for one in running:
            one.join()


def change(pool: Pool, loop: Loop, rounds: int, threads: int = 2) -> float:
    """Seconds of one destination added to a pool, or removed from it, while threads select: the median.

    Of the changing thread's own time: it gives up the interpreter's lock meanwhile, and how long it then waits for the
    readers to give it back is the interpreter's matter (5 ms at a time).
    """
    taken = []
    with readers(loop, threads):
        for number in range(rounds):
            name = f"new-{number}"
            began = time.thread_time()
            pool.add(name)
            between = time.thread_time()
            pool.remove(name)
            taken += [between - began, time.thread_time() - between]
    return statistics.median(taken)
