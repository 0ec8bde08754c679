"""Who is compared: turnout, and what is written by hand. Engines from PyPI are in `peers`.

A contender prepares its texts when it is made (not timed), compiles them in `build` (timed), and answers messages
through the function that `build` returns.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from turnout import RuleSet

from .cases import Case
from .predicates import Condition, InexpressibleError, python

Ask = Callable[[Any], Any]


class Contender(ABC):
    """One way of matching the messages of a case. `asks` is what the function takes, `answers` what it returns."""

    name: ClassVar[str]
    asks: ClassVar[Literal["message", "raw"]] = "message"
    answers: ClassVar[Literal["first", "all", "message"]] = "first"
    # Those that share what another contender built have no build time of their own.
    builds: ClassVar[bool] = True

    def __init__(self, case: Case) -> None:
        """Raises :class:`InexpressibleError` where the case cannot be put to this contender."""
        self.case = case

    @abstractmethod
    def build(self) -> Ask:
        """Compiles the rules; the function that answers a message."""

    def replace(self, number: int) -> None:
        """Removes rule `number` and adds it again, behind all others."""
        raise InexpressibleError("compiles its rules as a whole")


@functools.lru_cache(maxsize=1)
def rules(case: Case) -> list[dict[str, Any]]:
    return [case.rule(number) for number in range(case.rules)]


@functools.lru_cache(maxsize=1)
def rule_set(case: Case) -> RuleSet:
    """The rule set that the contenders of one process share."""
    return RuleSet(rules(case))


class First(Contender):
    name = "RuleSet.first"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        rules(case)

    def build(self) -> Ask:
        self.rule_set = rule_set(self.case)
        return self.rule_set.first

    def replace(self, number: int) -> None:
        rule = rules(self.case)[number]
        self.rule_set.remove(rule["id"])
        self.rule_set.add(rule)


class FirstJson(First):
    name = "RuleSet.first_json"
    asks = "raw"
    builds = False

    def build(self) -> Ask:
        self.rule_set = rule_set(self.case)
        return self.rule_set.first_json


class All(First):
    name = "RuleSet.all"
    answers = "all"
    builds = False

    def build(self) -> Ask:
        self.rule_set = rule_set(self.case)
        return self.rule_set.all


class Lambdas(Contender):
    """The router people write first: functions, tried in order. A dict keeps the order, and lets one be taken out."""

    name = "lambdas"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.predicates = [case.predicates(number) for number in range(case.rules)]

    def conditions(self) -> dict[str, Condition]:
        return {self.case.id(number): python(predicates) for number, predicates in enumerate(self.predicates)}

    def build(self) -> Ask:
        self.table = table = self.conditions()

        def first(message: Any) -> str | None:
            for id, holds in table.items():
                if holds(message):
                    return id
            return None

        return first

    def replace(self, number: int) -> None:
        del self.table[self.case.id(number)]
        self.table[self.case.id(number)] = python(self.predicates[number])


class LambdasAll(Lambdas):
    name = "lambdas, all"
    answers = "all"
    builds = False

    def build(self) -> Ask:
        self.table = table = self.conditions()
        return lambda message: [id for id, holds in table.items() if holds(message)]


class Hand(Contender):
    """The dict, or sorted bands, that only this workload allows."""

    name = "by hand"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        if case.kind.by_hand is None:
            raise InexpressibleError("not a matter of one dict or sorted list")
        self.ids = [case.id(key * case.group) for key in range(case.keys)]

    def build(self) -> Ask:
        assert self.case.kind.by_hand is not None
        self.router = self.case.kind.by_hand(self.ids)
        return self.router.first

    def replace(self, number: int) -> None:
        if self.router.table is None or self.router.entry is None:
            raise InexpressibleError("sorted bands are built as a whole")
        entry = self.router.entry(self.case.key_of(number))
        del self.router.table[entry]
        self.router.table[entry] = self.case.id(number)


OWN: tuple[type[Contender], ...] = (First, FirstJson, All, Lambdas, LambdasAll, Hand)
