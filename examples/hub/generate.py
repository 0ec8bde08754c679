"""Writes notifications for the hub, one JSON object a line: the same seed writes the same bytes.

python examples/hub/generate.py --count 2000 --seed 7 --output demo-output/messages.ndjson
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Message = dict[str, Any]

COUNTRIES = ["DE", "AT", "CH", "FR", "NL", "PL", "ES", "US", "BR", "JP"]
NAMES = ["Ada", "Bruno", "Chloé", "Dmitri", "Elif", "Femi", "Grace", "Håkon", "Inés", "Jürgen", "Kaito", "Łukasz"]
TENANTS = ["acme", "globex", "initech", "umbrella"]
SEVERITIES = ["critical", "major", "minor", "info"]
REGIONS = ["eu-west", "us-east", "ap-south"]


def _recipient(rng: random.Random) -> Message:
    number = rng.randrange(400)
    name = NAMES[number % len(NAMES)]
    recipient: Message = {
        "id": f"u-{number:03}",
        "name": name,
        "email": f"user{number}@mail.example",
        "phone": f"+4930{number:06}",
        "country": COUNTRIES[number % len(COUNTRIES)],
        "plan": rng.choice(["free", "free", "plus", "VIP"]),
        "presence": rng.choice(["online", "away", "offline"]),
    }
    if number % 5:
        recipient["consent"] = number % 7 != 0
    if number % 3:
        recipient["device"] = f"{'ios' if number % 2 else 'android'}-{number:03}"
    if number % 4 == 0:
        recipient["preferred"] = rng.choice(["push", "chat", "sms"])
    return recipient


def _one_time_code(rng: random.Random) -> Message:
    channel = rng.choice(["sms", "sms", "sms", "email"])
    return {"channel": channel, "priority": 9, "content": {"text": f"Your code is {rng.randrange(10**6):06}."}}


def _security(rng: random.Random) -> Message:
    place = rng.choice(COUNTRIES)
    return {
        "kind": "security_" + rng.choice(["login", "password"]),
        "channel": "push",
        "priority": 9,
        "content": {"text": f"New sign-in from {place}. Was it you?"},
    }


def _password_reset(rng: random.Random) -> Message:
    link = f"https://id.example/reset/{rng.getrandbits(64):016x}"
    return {"channel": "email", "priority": 7, "content": {"subject": "Reset your password", "text": link}}


def _incident(rng: random.Random) -> Message:
    severity, region = rng.choices(SEVERITIES, [1, 2, 4, 4])[0], rng.choice(REGIONS)
    return {
        "channel": "chat",
        "priority": 8 if severity == "critical" else 6,
        "content": {"severity": severity, "region": region, "text": f"Error rate above 2 % in {region}"},
    }


def _refund(rng: random.Random) -> Message:
    amount = round(rng.lognormvariate(5, 1), 2)
    return {"channel": "email", "content": {"subject": "Your refund", "amount": amount, "currency": "EUR"}}


def _order(rng: random.Random) -> Message:
    items = [{"sku": f"sku-{rng.randrange(900)}", "quantity": rng.randint(1, 4)} for _ in range(rng.randint(1, 5))]
    order = {"number": rng.randrange(10**8), "items": items, "total": round(rng.uniform(5, 900), 2)}
    if rng.random() < 0.4:
        kind = rng.choice(["order_created", "order_paid", "order_cancelled"])
        return {"kind": kind, "channel": "webhook", "content": {"order": order}}
    return {"kind": "order_receipt", "channel": "email", "content": {"subject": "Thank you", "order": order}}


def _payment(rng: random.Random) -> Message:
    status = rng.choice(["declined", "declined", "settled"])
    return {
        "channel": "sms",
        "priority": 6,
        "content": {"status": status, "retries": rng.randrange(4), "risk": round(rng.betavariate(1, 3), 3)},
    }


def _invoice(rng: random.Random) -> Message:
    return {
        "channel": "email",
        "content": {"subject": f"Your invoice #{rng.randrange(10**6)}", "pages": rng.randint(1, 9)},
    }


def _shipping(rng: random.Random) -> Message:
    return {
        "channel": rng.choice(["sms", "push"]),
        "priority": 5,
        "content": {"text": f"Your parcel arrives at {rng.randint(8, 20)}:00.", "carrier": rng.choice(["DHL", "GLS"])},
    }


def _appointment(rng: random.Random) -> Message:
    return {
        "kind": "reminder",
        "channel": "sms",
        "priority": 5,
        "tags": ["appointment", rng.choice(["dentist", "garage"])],
        "content": {"text": f"See you tomorrow at {rng.randint(8, 17)}:30."},
    }


def _support(rng: random.Random) -> Message:
    subject = f"Re: [Ticket #{rng.randrange(10**5)}] {rng.choice(['Login', 'Billing', 'Delivery'])}"
    return {"kind": "support", "channel": "email", "content": {"subject": subject, "text": "We looked into it."}}


def _mention(rng: random.Random) -> Message:
    return {"channel": rng.choice(["chat", "chat", "push"]), "content": {"text": f"@{rng.choice(NAMES)} can you look?"}}


def _callback(rng: random.Random) -> Message:
    address = f"10.20.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    return {
        "kind": "callback",
        "channel": "webhook",
        "headers": {"x-forwarded-for": address},
        "content": {"state": "done"},
    }


def _marketing(rng: random.Random) -> Message:
    campaign = rng.choice(["spring", "black-friday", "welcome"])
    return {"channel": "email", "priority": 2, "content": {"subject": "Just for you", "campaign": campaign}}


def _digest(rng: random.Random) -> Message:
    items = [f"thread-{rng.randrange(5000)}" for _ in range(rng.randrange(6))]
    return {
        "kind": rng.choice(["daily_digest", "weekly_digest"]),
        "channel": "email",
        "priority": 1,
        "content": {"items": items},
    }


def _page(rng: random.Random) -> Message:
    """No rule is for these: the urgent lane is."""
    return {"kind": "page", "channel": "chat", "priority": rng.choice([8, 9]), "content": {"text": "Queue is growing"}}


def _addressed(rng: random.Random) -> Message:
    """These name their destination."""
    return {
        "kind": "export",
        "channel": "webhook",
        "destination": rng.choice(["hook-eu", "hook-us"]),
        "content": {"rows": rng.randrange(10**5)},
    }


def _survey(rng: random.Random) -> Message:
    """The custom rule of app.py finds the channel that the recipient prefers; without one, the default is left."""
    return {"kind": "survey", "channel": "any", "priority": 3, "content": {"text": "How did we do?"}}


KINDS: dict[str, tuple[Callable[[random.Random], Message], int]] = {
    "one_time_code": (_one_time_code, 14),
    "security": (_security, 3),
    "password_reset": (_password_reset, 5),
    "incident": (_incident, 4),
    "refund": (_refund, 5),
    "order": (_order, 16),
    "payment": (_payment, 7),
    "invoice": (_invoice, 5),
    "shipping": (_shipping, 10),
    "appointment": (_appointment, 4),
    "support": (_support, 5),
    "mention": (_mention, 7),
    "callback": (_callback, 4),
    "marketing": (_marketing, 8),
    "digest": (_digest, 3),
    "page": (_page, 2),
    "export": (_addressed, 2),
    "survey": (_survey, 4),
}
"""How each kind is made, and its share of the stream."""


def messages(count: int, seed: int) -> Iterator[Message]:
    """``count`` notifications, the same for the same seed."""
    rng = random.Random(seed)
    kinds, weights = list(KINDS), [share for _, share in KINDS.values()]
    for number in range(count):
        kind = rng.choices(kinds, weights)[0]
        made = KINDS[kind][0](rng)
        recipient = _recipient(rng)
        yield {
            "id": f"n-{number:06}",
            "kind": kind,
            "tenant": rng.choice(TENANTS),
            "priority": 4,
            "key": recipient["id"],
            "recipient": recipient,
            "tags": [],
            **made,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", help="file to write; standard output if absent")
    parser.add_argument("--count", type=int, default=2000, help="messages to write (2000)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed writes the same messages (7)")
    arguments = parser.parse_args()
    lines = (json.dumps(message, ensure_ascii=False) + "\n" for message in messages(arguments.count, arguments.seed))
    if arguments.output is None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        sys.stdout.writelines(lines)
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    print(f"{arguments.count} messages written to {arguments.output}")


if __name__ == "__main__":
    main()
