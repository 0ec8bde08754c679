"""What is measured: a workload at one number of rules, its messages, and their known answers."""

from __future__ import annotations

import functools
import json
import math
import random
from dataclasses import dataclass
from typing import Any, Literal

from .predicates import Message, Predicate, turnout_rule
from .workloads import WORKLOADS, Workload, text

# Numbers of rules that only goals ask for: where a scan meets an index, and the dict by hand.
GOAL_SIZES = (8, 32)
Hits = Literal["0", "1", "10", "all"]


def padded(message: Message, size: int, dice: random.Random) -> Message:
    """The message among other fields that no rule names, half before and half after; about `size` bytes of JSON."""
    names = iter(range(1_000_000))

    def filler(bytes_wanted: int) -> Message:
        made: Message = {}
        while bytes_wanted > 40:
            length = min(bytes_wanted - 40, 60)
            number = next(names)
            made[f"extra{number}"] = {"note": text(dice, length), "n": number, "seen": [True, None]}
            bytes_wanted -= len(json.dumps(made[f"extra{number}"])) + 14
        return made

    missing = size - len(json.dumps(message))
    return {**filler(missing // 2), **message, **filler(missing // 2)}


@dataclass(frozen=True, slots=True)
class Case:
    """A workload at one number of rules. `changing` rules are removed and added again between messages."""

    workload: str
    rules: int
    hits: Hits = "1"
    size: int | None = None
    changing: bool = False

    @property
    def for_goals(self) -> bool:
        """Whether the case is there for a goal alone, and has no column in the tables."""
        return self.rules in GOAL_SIZES

    @property
    def kind(self) -> Workload:
        return WORKLOADS[self.workload]

    @property
    def group(self) -> int:
        """How many rules in a row are made from one key."""
        if self.kind.every:
            return 1
        return {"0": 1, "1": 1, "10": min(10, self.rules), "all": self.rules}[self.hits]

    @property
    def keys(self) -> int:
        return math.ceil(self.rules / self.group)

    def id(self, number: int) -> str:
        return f"rule-{number}"

    def key_of(self, number: int) -> int:
        return number // self.group

    def predicates(self, number: int) -> tuple[Predicate, ...]:
        return self.kind.predicates(self.key_of(number))

    def rule(self, number: int) -> dict[str, Any]:
        return turnout_rule(self.id(number), self.predicates(number))

    def questions(self) -> list[Question]:
        """The messages, each with its known answer, always the same."""
        return questions(self)

    def miss(self) -> Question | None:
        """A message that matches nothing; None where every message matches."""
        if self.kind.every:
            return None
        dice = random.Random(2)
        return self.question(self.keys + dice.randrange(1_000), dice)

    def question(self, key: int, dice: random.Random) -> Question:
        message = self.kind.message(key, dice)
        if self.size is not None:
            message = padded(message, self.size, dice)
        if self.kind.every:
            numbers = range(self.rules)
        elif self.kind.later:
            numbers = range(min(key, self.rules), self.rules)
        else:
            numbers = range(key * self.group, min((key + 1) * self.group, self.rules))
        return Question(key, message, json.dumps(message, separators=(",", ":")).encode(), numbers)


@dataclass(frozen=True, slots=True)
class Question:
    """A message, its JSON, and the numbers of the rules that it matches, best first."""

    key: int
    message: Message
    raw: bytes
    numbers: range

    @property
    def first(self) -> str | None:
        return f"rule-{self.numbers[0]}" if self.numbers else None

    @property
    def all(self) -> list[str]:
        return [f"rule-{number}" for number in self.numbers]


@functools.lru_cache(maxsize=1)
def questions(case: Case) -> list[Question]:
    dice = random.Random(1)
    beyond = case.keys if case.hits == "0" else 0
    return [case.question(beyond + dice.randrange(case.keys), dice) for _ in range(case.kind.messages)]


def cases(*, quick: bool = False, large: bool = False) -> list[Case]:
    """What is measured, the smaller numbers of rules first, workload by workload."""

    def sizes_of(name: str) -> list[int]:
        sizes = list(WORKLOADS[name].sizes)
        if large and 100_000 in sizes:
            sizes.append(1_000_000)
        return [size for size in sizes if not (quick and size > 1_000)]

    made = [
        Case(name, count, hits="all" if WORKLOADS[name].every else "1")
        for name in WORKLOADS
        for count in sizes_of(name)
    ]
    usual = [name for name in WORKLOADS if not name.startswith("adversarial")]
    made += [Case(name, count, hits="all" if WORKLOADS[name].every else "1") for name in usual for count in GOAL_SIZES]
    if not quick:
        made += [Case(name, 10_000) for name in ("equality-first", "equality-last")]
    hits: tuple[Hits, ...] = ("0", "10", "all")
    some = ("equality-last",) if quick else ("equality-last", "mix")
    made += [Case(name, count, hits=one) for name in some for one in hits for count in sizes_of(name)[1:]]
    made += [Case("equality-first", sizes_of("equality-first")[-1], size=size) for size in (454, 10_240, 262_144)]
    made += [Case("equality-last", count, changing=True) for count in sizes_of("equality-last")]
    return made
