"""The example's rules written by hand for the benchmark say what the oracle says, of every real delivery."""

from __future__ import annotations

import json

import pytest
from benches.rules.deliveries import DELIVERIES, rules
from benches.rules.github_by_hand import first

from oracle import first_rule

pytestmark = pytest.mark.skipif(
    not DELIVERIES.exists(), reason="the GitHub deliveries (../shared/data/github-webhooks.ndjson) are absent"
)


def test_rules_by_hand_agree_with_the_oracle() -> None:
    known = rules()
    for line in DELIVERIES.read_bytes().splitlines():
        delivery = json.loads(line)
        assert first(delivery) == first_rule(known, delivery), delivery["id"]
