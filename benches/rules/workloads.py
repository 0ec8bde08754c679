"""The workloads: rules and messages made from numbers, so that which rules a message matches is known beforehand.

Every workload turns a *key* (0, 1, 2, ...) into the predicates of a rule, and into messages that only those predicates
match. Where a message is to match ten rules, ten rules in a row are made from one key; where it is to match all of
them, all are. A message made from a key that no rule has matches nothing. So the known answers owe nothing to any
matcher; `answers` holds them against the oracle all the same.

Fields that share a rule with the selective one (channel, region, ...) take few values, as they do in real messages.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .by_hand import ByHand, bands, by_field_unless, by_item, by_length, by_network, by_tuple, by_users
from .predicates import Message, Predicate

CHANNELS = ("email", "sms", "push", "chat", "webhook")
INTENTS = ("refund", "order", "question", "complaint")
REGIONS = ("eu", "us", "apac")
SOURCES = ("shop", "desk")
# No word has more than six letters, so none of the seven-letter keywords occurs in a text by accident.
WORDS = ("where", "is", "my", "parcel", "the", "order", "was", "paid", "on", "friday", "and", "still", "please", "look")
BATCH = 64
SIZES = (10, 1_000, 100_000)
# Regular expressions and wildcards cost kilobytes each in every engine, Python's own among them.
TEXT_SIZES = (10, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of rule. `every` says that every message matches every rule, whatever their keys."""

    title: str
    predicates: Callable[[int], tuple[Predicate, ...]]
    message: Callable[[int, random.Random], Message]
    by_hand: Callable[[Sequence[str]], ByHand] | None = None
    sizes: tuple[int, ...] = SIZES
    every: bool = False
    # A message matches the rule of its key and all later ones.
    later: bool = False
    messages: int = BATCH


def common(key: int) -> tuple[Predicate, ...]:
    return (
        Predicate("channel", "equals", CHANNELS[key % 5]),
        Predicate("intent", "equals", INTENTS[key % 4]),
        Predicate("region", "equals", REGIONS[key % 3]),
        Predicate("source", "equals", SOURCES[key % 2]),
    )


def common_fields(key: int) -> Message:
    return {
        "channel": CHANNELS[key % 5],
        "intent": INTENTS[key % 4],
        "region": REGIONS[key % 3],
        "source": SOURCES[key % 2],
    }


def five_fields(selective: str) -> Workload:
    """Equality of five fields; all but the selective one have two to five values."""

    def predicates(key: int) -> tuple[Predicate, ...]:
        return tuple(sorted((*common(key), Predicate(selective, "equals", f"id-{key}")), key=lambda one: one.path))

    def by_hand(ids: Sequence[str]) -> ByHand:
        names = ("channel", "intent", "region", "source", selective)
        fields = lambda key: {**common_fields(key), selective: f"id-{key}"}  # noqa: E731
        return by_tuple(ids, names, fields)

    place = "first" if selective < "channel" else "last"
    return Workload(
        title=f"five fields equal, the selective one {place} in the alphabet",
        predicates=predicates,
        message=lambda key, dice: {**common_fields(key), selective: f"id-{key}"},
        by_hand=by_hand,
    )


def and_range() -> Workload:
    """Two common fields and a range: no single test is selective but the range, and the three together are exact."""

    def low(key: int) -> int:
        return 10 * (key // 15)

    def message(key: int, dice: random.Random) -> Message:
        return {"channel": CHANNELS[key % 5], "region": REGIONS[key % 3], "amount": low(key) + dice.randrange(10)}

    return Workload(
        title="two common fields and a range",
        predicates=lambda key: (
            Predicate("channel", "equals", CHANNELS[key % 5]),
            Predicate("region", "equals", REGIONS[key % 3]),
            Predicate("amount", "within", (low(key), low(key) + 10)),
        ),
        message=message,
        by_hand=lambda ids: bands(ids, ("channel", "region"), lambda key: message(key, random.Random(0)), low),
    )


def keyword(key: int) -> str:
    """Seven letters, a different word for every key below 26 ** 7 and no pattern to it."""
    number = (key * 3_141_592_653 + 59) % 26**7  # the factor shares no divisor with 26: a permutation
    letters = []
    for _ in range(7):
        number, letter = divmod(number, 26)
        letters.append(chr(ord("a") + letter))
    return "".join(letters)


def text(dice: random.Random, length: int, inserted: str | None = None) -> str:
    words = dice.choices(WORDS, k=length // 5)
    if inserted is not None:
        words[dice.randrange(len(words))] = inserted
    return " ".join(words)


def network(key: int) -> str:
    """The key-th network of 16 addresses in 10.0.0.0/8, which has room for a million."""
    return f"{dotted((10 << 24) + (key << 4))}/28"


def dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def letters(key: int) -> str:
    """Four letters in order: distinct for keys below 26 ** 4, and none of them within four others."""
    return "".join(chr(ord("a") + key // 26**place % 26) for place in range(4))


def items(key: int, dice: random.Random, count: int = 8) -> list[Message]:
    """Objects, one of which has the sku in a quantity of at least two."""
    made = [{"sku": f"none-{dice.randrange(1000)}", "quantity": dice.randrange(5)} for _ in range(count)]
    made[dice.randrange(count)] = {"sku": f"sku-{key}", "quantity": 2 + dice.randrange(3)}
    return made


def mixed_predicates(key: int) -> tuple[Predicate, ...]:
    """Two rules in ten are indexable by equality; the others test text and ranges. No networks: so peers take part."""
    channel = Predicate("channel", "equals", CHANNELS[key % 5])
    kinds: tuple[tuple[Predicate, ...], ...] = (
        (channel, Predicate("tenant", "equals", f"tenant-{key}")),
        (Predicate("tenant", "equals", f"tenant-{key}"),),
        (channel, Predicate("path", "prefix", f"/shop-{key}/")),
        (Predicate("sender", "suffix", f"@mail-{key}.example"),),
        (channel, Predicate("text", "contains", keyword(key))),
        (Predicate("text", "contains", keyword(key)), Predicate("priority", "at_least", 3)),
        (Predicate("path", "wildcard", f"/api/*/users/{key}/*"),),
        (channel, Predicate("amount", "within", (10 * key, 10 * key + 10))),
        (Predicate("amount", "within", (10 * key, 10 * key + 10)),),
        (Predicate("status", "anything_but", ("ok", "skipped")), Predicate("path", "prefix", f"/jobs-{key}/")),
    )
    return kinds[key % 10]


def mixed_message(key: int, dice: random.Random) -> Message:
    kind = key % 10
    paths = {2: f"/shop-{key}/cart", 6: f"/api/v{dice.randrange(3)}/users/{key}/orders", 9: f"/jobs-{key}/log"}
    return {
        "channel": CHANNELS[key % 5],
        "tenant": f"tenant-{key}" if kind < 2 else f"other-{dice.randrange(100)}",
        "path": paths.get(kind, f"/static/{dice.randrange(100)}.css"),
        "sender": f"user{dice.randrange(100)}@mail-{key}.example" if kind == 3 else "somebody@elsewhere.example",
        "text": text(dice, 200, keyword(key) if kind in (4, 5) else None),
        "priority": 3 + dice.randrange(6),
        "amount": 10 * key + dice.randrange(10) if kind in (7, 8) else -1 - dice.randrange(1000),
        "status": "failed" if kind == 9 else "ok",
    }


WORKLOADS: Final[dict[str, Workload]] = {
    "equality-first": five_fields("account"),
    "equality-last": five_fields("tenant"),
    "and-range": and_range(),
    "prefix": Workload(
        "prefix of a path",
        lambda key: (Predicate("path", "prefix", f"/shop-{key}/"),),
        lambda key, dice: {"path": f"/shop-{key}/cart/{dice.randrange(1000)}", "method": "GET"},
        lambda ids: by_length(ids, "path", lambda key: f"/shop-{key}/", "start"),
    ),
    "suffix": Workload(
        "suffix of an address",
        lambda key: (Predicate("sender", "suffix", f"@mail-{key}.example"),),
        lambda key, dice: {"sender": f"user{dice.randrange(1000)}@mail-{key}.example", "method": "GET"},
        lambda ids: by_length(ids, "sender", lambda key: f"@mail-{key}.example", "end"),
    ),
    "contains": Workload(
        "one of N keywords in a text of 1 kB",
        lambda key: (Predicate("text", "contains", keyword(key)),),
        lambda key, dice: {"text": text(dice, 1_000, keyword(key))},
        sizes=TEXT_SIZES,
    ),
    "wildcard": Workload(
        "wildcards `/api/*/users/i/*`",
        lambda key: (Predicate("path", "wildcard", f"/api/*/users/{key}/*"),),
        lambda key, dice: {"path": f"/api/v{dice.randrange(3)}/users/{key}/orders/{dice.randrange(1000)}"},
        by_users,
        sizes=TEXT_SIZES,
    ),
    "regex": Workload(
        "regular expressions",
        lambda key: (Predicate("host", "regex", f"^node-{key}[.](eu|us)-[0-9]+[.]example$"),),
        lambda key, dice: {"host": f"node-{key}.{dice.choice(('eu', 'us'))}-{dice.randrange(100)}.example"},
        sizes=TEXT_SIZES,
    ),
    "range": Workload(
        "numeric ranges",
        lambda key: (Predicate("amount", "within", (10 * key, 10 * key + 10)),),
        lambda key, dice: {"amount": 10 * key + dice.randrange(10), "currency": "EUR"},
        lambda ids: bands(ids, (), lambda key: {}, lambda key: 10 * key),
    ),
    "cidr": Workload(
        "networks (CIDR)",
        lambda key: (Predicate("address", "cidr", network(key)),),
        lambda key, dice: {"address": dotted((10 << 24) + (key << 4) + dice.randrange(16)), "port": 443},
        lambda ids: by_network(ids, "address", 28, lambda key: (10 << 20) + key),
    ),
    "anything-but": Workload(
        "anything but two values, beside a selective field",
        lambda key: (
            Predicate("status", "anything_but", ("ok", "skipped")),
            Predicate("tenant", "equals", f"id-{key}"),
        ),
        lambda key, dice: {"status": dice.choice(("failed", "late")), "tenant": f"id-{key}"},
        lambda ids: by_field_unless(ids, "tenant", lambda key: f"id-{key}", "status", frozenset(("ok", "skipped"))),
    ),
    "anything-but-alone": Workload(
        "anything but one value, and every message matches",
        lambda key: (Predicate("status", "anything_but", (f"code-{key}",)),),
        lambda key, dice: {"status": f"other-{key}", "tenant": "x"},
        every=True,
    ),
    "mix": Workload("a realistic mix, 20 % indexable by equality", mixed_predicates, mixed_message),
    "objects": Workload(
        "objects in arrays",
        lambda key: (
            Predicate(
                "items", "some", (Predicate("sku", "equals", f"sku-{key}"), Predicate("quantity", "at_least", 2))
            ),
        ),
        lambda key, dice: {"items": items(key, dice), "channel": "shop"},
        lambda ids: by_item(ids, "items", "sku", "quantity", 2, lambda key: f"sku-{key}"),
    ),
    "adversarial-literal": Workload(
        "adversarial: wildcards that share one literal",
        lambda key: (Predicate("text", "wildcard", f"*connection refused*node {key} *"),),
        lambda key, dice: {"text": f"{text(dice, 100)} connection refused by node {key} after {dice.randrange(99)} s"},
        sizes=TEXT_SIZES,
    ),
    "adversarial-letters": Workload(
        "adversarial: wildcards of single characters",
        lambda key: (Predicate("text", "wildcard", f"*{'*'.join(letters(key))}*"),),
        lambda key, dice: {"text": "-".join(f"{dice.randrange(10)}{letter}" for letter in letters(key))},
        sizes=TEXT_SIZES,
    ),
    "adversarial-ranges": Workload(
        "adversarial: ranges that all overlap; half of the rules match",
        lambda key: (Predicate("amount", "within", (-key, 1_000_000_000)),),
        lambda key, dice: {"amount": -key, "currency": "EUR"},
        sizes=TEXT_SIZES,
        later=True,
    ),
    "adversarial-array": Workload(
        "adversarial: an array of 10,000 objects",
        lambda key: (
            Predicate(
                "items", "some", (Predicate("sku", "equals", f"sku-{key}"), Predicate("quantity", "at_least", 2))
            ),
        ),
        lambda key, dice: {"items": items(key, dice, 10_000)},
        lambda ids: by_item(ids, "items", "sku", "quantity", 2, lambda key: f"sku-{key}"),
        sizes=(10, 1_000),
        messages=2,
    ),
    "adversarial-keys": Workload(
        "adversarial: messages of 100,000 distinct keys",
        lambda key: (Predicate("tenant", "equals", f"id-{key}"),),
        lambda key, dice: {**{f"key-{number}": number for number in range(100_000)}, "tenant": f"id-{key}"},
        lambda ids: by_tuple(ids, ("tenant", "key-0"), lambda key: {"tenant": f"id-{key}", "key-0": 0}),
        sizes=(10, 1_000),
        messages=2,
    ),
}
