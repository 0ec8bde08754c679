"""Times of one step, alone and by several threads at once, and of a change of membership beside readers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

from turnout import Pool


def fastest(step: Callable[[], object], seconds: float) -> float:
    """Seconds of one step: the fastest of rounds that take `seconds` together, at least three."""
    began = time.perf_counter()
    step()
    once = max(time.perf_counter() - began, 1e-7)
    steps = max(1, int(seconds / 10 / once))
    best, deadline, rounds = float("inf"), time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < deadline:
        began = time.perf_counter()
        for _ in itertools.repeat(None, steps):
            step()
        best = min(best, (time.perf_counter() - began) / steps)
        rounds += 1
    return best


def together(step: Callable[[], object], threads: int, steps: int, rounds: int = 5) -> float:
    """Seconds of one step where several threads make them: time that passes, by all steps made in it."""
    best = float("inf")
    for _ in range(rounds):
        start = threading.Barrier(threads + 1)

        def run(start: threading.Barrier = start) -> None:
            start.wait()
            for _ in itertools.repeat(None, steps):
                step()

        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        began = time.perf_counter()  # before they are let go: this thread may be the last to go on
        start.wait()
        for worker in workers:
            worker.join()
        best = min(best, (time.perf_counter() - began) / (threads * steps))
    return best


def change(pool: Pool, name: str, rounds: int) -> float:
    """Seconds to take a destination out of a pool or bring it back, until a selection goes by it: the median."""
    taken = []
    for number in range(rounds):
        began = time.perf_counter()
        pool.set_health(name, "healthy" if number % 2 else "unhealthy")
        pool.select()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]
