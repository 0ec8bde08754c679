"""Engines from PyPI, each used as its documentation recommends for speed. Imported only where they are asked for.

- zen-engine: one decision table, compiled once (`ZenDecisionContent`) and handed out by the loader;
- rule-engine: one compiled rule each, tried in order; it has no set of rules;
- common-expression-language: the Rust CEL interpreter; one program each, tried in order, on one context a message;
- orjson: parses the message and decides nothing: the floor for everything that starts from bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from .cases import Case
from .contenders import OWN, Ask, Contender, Hand
from .predicates import InexpressibleError, Message, cel, rule_engine, zen_cell

DISTRIBUTIONS = ("zen-engine", "rule-engine", "common-expression-language", "orjson")


class Zen(Contender):
    name = "zen-engine"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        if case.changing:
            raise InexpressibleError("compiles its table as a whole")
        import zen

        self.engine = zen
        self.content = json.dumps(zen_model(case))
        self.probe = case.questions()[0].message

    def build(self) -> Ask:
        content = self.engine.ZenDecisionContent(self.content)
        evaluate = self.engine.ZenEngine({"loader": lambda key: content}).evaluate
        evaluate("table", self.probe)  # the table is indexed when it is first asked

        def first(message: Message) -> str | None:
            found: str | None = evaluate("table", message)["result"].get("rule")
            return found

        return first


def zen_model(case: Case) -> dict[str, Any]:
    """The rules as the decision table of zen's JSON decision model: a column for each field, a row for each rule."""
    columns: dict[str, str] = {}
    rows: list[dict[str, str]] = []
    for number in range(case.rules):
        row = {"_id": str(number), "out": json.dumps(case.id(number))}
        for predicate in case.predicates(number):
            column = columns.setdefault(predicate.path, f"in{len(columns)}")
            row[column] = zen_cell(predicate)
        rows.append(row)
    empty = dict.fromkeys(columns.values(), "")
    table = {
        "hitPolicy": "first",
        "inputs": [{"id": column, "name": path, "field": path} for path, column in columns.items()],
        "outputs": [{"id": "out", "name": "rule", "field": "rule"}],
        "rules": [{**empty, **row} for row in rows],
    }
    place = {"x": 0, "y": 0}
    return {
        "nodes": [
            {"id": "in", "name": "in", "type": "inputNode", "position": place},
            {"id": "table", "name": "table", "type": "decisionTableNode", "position": place, "content": table},
            {"id": "out", "name": "out", "type": "outputNode", "position": place},
        ],
        "edges": [
            {"id": "e1", "type": "edge", "sourceId": "in", "targetId": "table"},
            {"id": "e2", "type": "edge", "sourceId": "table", "targetId": "out"},
        ],
    }


class RuleEngine(Contender):
    name = "rule-engine"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.compile = self.compiler()
        self.texts = [rule_engine(case.predicates(number)) for number in range(case.rules)]

    def compiler(self) -> Callable[[str], Callable[[Message], bool]]:
        import rule_engine as engine

        context = engine.Context(resolver=engine.resolve_item)

        def compiled(text: str) -> Callable[[Message], bool]:
            matches: Callable[[Message], bool] = engine.Rule(text, context=context).matches
            return matches

        return compiled

    def build(self) -> Ask:
        self.table = table = {self.case.id(number): self.compile(text) for number, text in enumerate(self.texts)}

        def first(message: Message) -> str | None:
            for id, holds in table.items():
                if holds(message):
                    return id
            return None

        return first

    def replace(self, number: int) -> None:
        del self.table[self.case.id(number)]
        self.table[self.case.id(number)] = self.compile(self.texts[number])


class CelBinding(Contender):
    name = "CEL (Rust)"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        import cel as engine

        self.compile, self.context = engine.compile, engine.Context
        self.texts = [cel(case.predicates(number)) for number in range(case.rules)]

    def build(self) -> Ask:
        new_context = self.context
        self.table = table = {
            self.case.id(number): self.compile(text).execute for number, text in enumerate(self.texts)
        }

        def first(message: Message) -> str | None:
            context = new_context({"message": message})
            for id, execute in table.items():
                if execute(context):
                    return id
            return None

        return first

    def replace(self, number: int) -> None:
        del self.table[self.case.id(number)]
        self.table[self.case.id(number)] = self.compile(self.texts[number]).execute


class Orjson(Contender):
    """Not a matcher: what reading the bytes costs before anything is matched."""

    name = "orjson alone"
    asks = "raw"
    answers = "message"
    builds = False

    def build(self) -> Ask:
        import orjson

        loads: Ask = orjson.loads
        return loads


class OrjsonHand(Hand):
    name = "orjson, by hand"
    asks = "raw"
    builds = False

    def build(self) -> Ask:
        from orjson import loads

        first = super().build()
        return lambda raw: first(loads(raw))


EVERYONE: tuple[type[Contender], ...] = (*OWN, OrjsonHand, Orjson, Zen, CelBinding, RuleEngine)


def versions() -> str:
    """The peers with their versions, as the table names them."""
    return ", ".join(f"{name} {version(name)}" for name in DISTRIBUTIONS)
