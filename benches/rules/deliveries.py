"""Real deliveries: GitHub's webhooks and the 30 rules of `examples/github`, from raw bytes to a rule.

The deliveries are read from `../shared/data`, beside the checkout; without them there is nothing to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from turnout import RuleSet

from . import github_by_hand
from .answers import WrongAnswerError

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "examples" / "github" / "router.yaml"
DELIVERIES = ROOT.parent / "shared" / "data" / "github-webhooks.ndjson"
ROUNDS = 50


def rules() -> list[dict[str, Any]]:
    """The example's rules, without where they send."""
    every = yaml.safe_load(RULES.read_text(encoding="utf-8"))["message_router"]["rules"]
    return [{key: rule[key] for key in ("id", "priority", "when", "match") if key in rule} for rule in every]


def seconds(steps: Mapping[str, Callable[[bytes], Any]], raws: list[bytes]) -> dict[str, float]:
    """Of one delivery, by step: the fastest of some rounds through all, in turns, so that what else the machine does
    for a while falls on each. What a step makes is dropped before the next."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            for raw in raws:
                step(raw)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: taken / len(raws) for name, taken in best.items()}


def measure() -> dict[str, float] | None:
    """Seconds a delivery, by contender; None where there are no deliveries.

    Raises WrongAnswerError if contenders disagree.
    """
    if not DELIVERIES.exists():
        return None
    from orjson import loads

    raws = DELIVERIES.read_bytes().splitlines()
    rule_set = RuleSet(rules())
    by_hand = github_by_hand.first
    for raw in raws:
        said, known = rule_set.first_json(raw), by_hand(loads(raw))
        if said != known:
            raise WrongAnswerError(f"first_json says {said}, written by hand {known}, of {raw[:80]!r}")
    steps: dict[str, Callable[[bytes], Any]] = {
        "RuleSet.first_json": rule_set.first_json,
        "orjson.loads and a dict by hand": lambda raw: by_hand(loads(raw)),
        "orjson.loads and RuleSet.first": lambda raw: rule_set.first(loads(raw)),
        "orjson alone": loads,
    }
    return seconds(steps, raws)
