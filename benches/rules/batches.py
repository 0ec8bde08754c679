"""Batches: newline-delimited JSON matched on one thread and on two, in one run, one after the other in turns."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from .answers import WrongAnswerError
from .cases import Case
from .contenders import rule_set

CASE = Case("equality-first", 10_000, size=454)
MESSAGES = 20_000
TURNS = 15
THREADS = (1, 2)


def measure() -> Mapping[int, float] | None:
    """Seconds a message by number of threads, the fastest of some turns; None on a machine of one core.

    Raises WrongAnswerError if an answer is not the known one.
    """
    if (os.cpu_count() or 1) < max(THREADS):
        return None
    rules, questions = rule_set(CASE), CASE.questions()
    asked = [questions[number % len(questions)] for number in range(MESSAGES)]
    raw = b"\n".join(question.raw for question in asked)
    known = [question.first for question in asked]
    best = dict.fromkeys(THREADS, float("inf"))
    for _ in range(TURNS):
        for threads in THREADS:
            start = time.perf_counter()
            said = rules.first_ndjson(raw, threads=threads)
            best[threads] = min(best[threads], time.perf_counter() - start)
            if said != known:
                raise WrongAnswerError(f"first_ndjson on {threads} threads says something else than is known")
    return {threads: taken / MESSAGES for threads, taken in best.items()}
