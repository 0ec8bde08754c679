"""The workload of the benchmarks: rules over five fields, messages that match them, and two hand-written peers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]

CHANNELS = ("email", "sms", "push", "chat", "webhook")
INTENTS = ("refund", "order", "question", "complaint")
REGIONS = ("eu", "us", "apac")


def rules(count: int) -> list[dict[str, Any]]:
    """Rules that test five fields each; the tenant tells them apart, so a message matches one of them at most."""
    return [
        {
            "id": f"rule-{number}",
            "when": f'message.channel == "{CHANNELS[number % 5]}" && message.content.intent == "{INTENTS[number % 4]}" '
            f'&& message.region == "{REGIONS[number % 3]}" && message.priority >= {number % 3} '
            f'&& message.tenant == "tenant-{number}"',
        }
        for number in range(count)
    ]


def messages(count: int, rule_count: int, seed: int = 1) -> list[Message]:
    """Messages of which nine in ten match one rule, any of them equally often, and one in ten matches none."""
    dice = random.Random(seed)
    made = []
    for position in range(count):
        number = dice.randrange(rule_count)
        made.append(
            {
                "channel": CHANNELS[number % 5],
                "content": {"intent": INTENTS[number % 4], "text": "where is my parcel"},
                "region": REGIONS[number % 3] if position % 10 else "nowhere",
                "priority": 3 + dice.randrange(6),
                "tenant": f"tenant-{number}",
            }
        )
    return made


def computed(count: int) -> list[dict[str, Any]]:
    """Rules that nothing can be looked up for: expressions over two fields, of which one at most holds."""
    return [
        {"id": f"rule-{number}", "when": f"message.tenant.size() * 100 + message.priority == {number}"}
        for number in range(count)
    ]


def repeated(count: int, different: int) -> list[Message]:
    """Messages for :func:`computed`, so many of them different; half of these match a rule."""
    return [
        {"tenant": "t" * (number % different // 10), "priority": number % 10 if number % 2 else 100_000}
        for number in range(count)
    ]


def lambdas(count: int) -> Callable[[Message], str | None]:
    """The router people write first: a list of functions, tried in order."""

    def condition(number: int) -> Callable[[Message], bool]:
        channel, intent, region = CHANNELS[number % 5], INTENTS[number % 4], REGIONS[number % 3]
        priority, tenant = number % 3, f"tenant-{number}"
        return lambda message: (
            message["channel"] == channel
            and message["content"]["intent"] == intent
            and message["region"] == region
            and message["priority"] >= priority
            and message["tenant"] == tenant
        )

    conditions = [(f"rule-{number}", condition(number)) for number in range(count)]

    def first(message: Message) -> str | None:
        for name, holds in conditions:
            if holds(message):
                return name
        return None

    return first


def dict_router(count: int) -> Callable[[Message], str | None]:
    """The fastest that can be written by hand for these very rules: one dict of tuples, and the range checked."""
    table = {
        (CHANNELS[number % 5], INTENTS[number % 4], REGIONS[number % 3], f"tenant-{number}"): (
            number % 3,
            f"rule-{number}",
        )
        for number in range(count)
    }

    def first(message: Message) -> str | None:
        found = table.get((message["channel"], message["content"]["intent"], message["region"], message["tenant"]))
        if found is not None and message["priority"] >= found[0]:
            return found[1]
        return None

    return first
