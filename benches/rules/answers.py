"""Equal answers first: nothing is timed that has not given the known answer.

The known answers come from the way the messages were made. They are themselves held against the oracle of the tests,
which evaluates every rule naively and therefore only where the rules are few.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from oracle import all_rules

from .cases import Case, Question
from .contenders import Ask, Contender
from .predicates import Message

ORACLE_RULES = 10
ORACLE_MESSAGES = 4


class WrongAnswerError(AssertionError):
    """A contender, or a workload, says something else than it should."""


def check_with_oracle(case: Case) -> None:
    """Holds the known answers of the same workload with ten rules against the oracle's."""
    small = dataclasses.replace(case, rules=min(case.rules, ORACLE_RULES))
    asked = [*small.questions()[:ORACLE_MESSAGES], small.miss()]
    ruled = [small.rule(number) for number in range(small.rules)]
    for question in asked:
        if question is not None and (said := all_rules(ruled, question.message)) != question.all:
            raise WrongAnswerError(f"{case}: the oracle says {said}, known is {question.all}")


def given(contender: Contender, question: Question) -> Message | bytes:
    """The message in the form that the contender takes."""
    return question.message if contender.asks == "message" else question.raw


def known(contender: Contender, question: Question) -> Any:
    """What the contender must say."""
    return {"first": question.first, "all": question.all, "message": question.message}[contender.answers]


def check(contender: Contender, ask: Ask, question: Question) -> None:
    said = ask(given(contender, question))
    if said != known(contender, question):
        raise WrongAnswerError(f"{contender.case}: {contender.name} says {str(said)[:200]} of {question.message}")


def checked(contender: Contender, ask: Ask, questions: list[Question], seconds: float) -> list[Question]:
    """The questions that were answered rightly: all of them, or as many as fit into `seconds`, one at least.

    A message that matches nothing is asked first, for it is the one most easily wrong and the slowest.
    """
    end = time.perf_counter() + seconds
    miss = contender.case.miss()
    if miss is not None:
        check(contender, ask, miss)
    right = []
    for question in questions:
        check(contender, ask, question)
        right.append(question)
        if time.perf_counter() > end:
            break
    return right
