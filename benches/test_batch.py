"""Batches of raw messages: on all cores, on one, message by message, and with the JSON parsed in Python.

Each round goes through the same 10,000 messages of some 450 bytes once; divide by 10,000 for one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from turnout import RuleSet
from workload import messages, rules

MESSAGES = 10_000
RULES = 10
TEXT = "where is my parcel, it should have come on monday and nobody answers the telephone "


def lines() -> list[bytes]:
    """The messages of the other benchmarks with what else a message holds and no rule names."""
    dice = random.Random(2)
    batch = messages(MESSAGES, RULES)
    for number, message in enumerate(batch):
        message["id"] = f"{number:032x}"
        message["headers"] = {"content-type": "application/json", "trace": f"{dice.getrandbits(64):016x}", "hops": 2}
        message["items"] = [{"sku": f"A{dice.randrange(999)}-7", "quantity": 1, "price": 12.5} for _ in range(2)]
        message["note"] = TEXT
    return [json.dumps(message).encode() for message in batch]


LINES = lines()
RAW = b"\n".join(LINES)
SET = RuleSet(rules(RULES))

CONTENDERS: dict[str, Callable[[], list[Any]]] = {
    "first_ndjson": lambda: SET.first_ndjson(RAW),
    "first_ndjson, one thread": lambda: SET.first_ndjson(RAW, threads=1),
    "first_many of bytes": lambda: SET.first_many(LINES),
    "first_json in a loop": lambda: [SET.first_json(line) for line in LINES],
    "json.loads and first in a loop": lambda: [SET.first(json.loads(line)) for line in LINES],
}


@pytest.mark.parametrize("name", CONTENDERS)
def test_ndjson(benchmark: Any, name: str) -> None:
    assert 430 < len(RAW) / MESSAGES < 480
    expected = [SET.first(json.loads(line)) for line in LINES]
    assert CONTENDERS[name]() == expected
    benchmark.group = "10,000 raw messages of 450 B, 10 rules"
    benchmark(CONTENDERS[name])
