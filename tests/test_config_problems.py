"""Configurations that do not load: what is said, and the exact file, line and column it is said of."""

from __future__ import annotations

import pytest

from turnout import errors
from turnout.config import SCHEMES, load_text

POOL = "  pools: {p: {destinations: [x]}}\n  destinations: {x: {}}\n"


def said(text: str) -> list[str]:
    """The problems of a text, one a line; none if it loads."""
    try:
        load_text(text, "router.yaml")
    except errors.ConfigError as error:
        return str(error).splitlines()
    return []


KNOWN = ", ".join(f"{one}:" for one in SCHEMES)

SHAPE = {
    "unknown key, near": (
        "message_router:\n  pools:\n    sms:\n      destinations: [x]\n      polcy: random\n  destinations: {x: {}}\n",
        ["router.yaml:5:7: message_router.pools.sms.polcy: unknown key; did you mean 'policy'?"],
    ),
    "unknown key, none near": (
        "message_router:\n  urgent: {to: p, zzz: 1}\n" + POOL,
        ["router.yaml:2:19: message_router.urgent.zzz: unknown key; known keys: min_priority, to"],
    ),
    "camel case key": (
        "message_router: {routing: {routingRules: []}}",
        ["router.yaml:1:28: message_router.routing.routingRules: unknown key; did you mean 'routing_rules'?"],
    ),
    "unknown key of what is named like a key": (
        (
            "message_router:\n  pools: {policy: {polcy: random, destinations: [url]}}\n"
            "  destinations: {url: {wieght: 1}}\n"
        ),
        [
            "router.yaml:2:20: message_router.pools.policy.polcy: unknown key; did you mean 'policy'?",
            "router.yaml:3:24: message_router.destinations.url.wieght: unknown key; did you mean 'weight'?",
        ],
    ),
    "second key at the top": (
        "message_router: {}\nother: 1\n",
        ["router.yaml:2:1: other: unknown key; everything stands below 'message_router'"],
    ),
    "no root key": (
        "rules: []\n",
        [
            "router.yaml:1:1: the key 'message_router' is missing",
            "router.yaml:1:1: rules: unknown key; everything stands below 'message_router'",
        ],
    ),
    "missing key": (
        "message_router:\n  rules:\n    - when: 'true'\n      to: p\n" + POOL,
        ["router.yaml:3:7: message_router.rules[0]: the key 'id' is missing"],
    ),
    "text for a number": (
        "message_router:\n  destinations:\n    a: {weight: heavy}\n",
        [
            "router.yaml:3:17: message_router.destinations.a.weight: expected a whole number, found the text 'heavy'",
        ],
    ),
    "fraction for a whole number": (
        "message_router: {destinations: {a: {tier: 0.5}}}",
        ["router.yaml:1:43: message_router.destinations.a.tier: expected a whole number, found 0.5"],
    ),
    "yes for true": (
        "message_router:\n  performance:\n    optimization: yes\n",
        [
            (
                "router.yaml:3:19: message_router.performance.optimization: "
                "expected true or false, found the text 'yes'; write true"
            )
        ],
    ),
    "one for true": (
        "message_router: {performance: {optimization: 1}}",
        ["router.yaml:1:46: message_router.performance.optimization: expected true or false, found 1"],
    ),
    "a mode of caching that there is not": (
        "message_router: {performance: {caching: onn}}",
        [
            (
                "router.yaml:1:41: message_router.performance.caching: unknown value 'onn'; did you mean 'on'? "
                "known: auto, on, off"
            )
        ],
    ),
    "a number for caching": (
        "message_router: {performance: {caching: 1}}",
        ["router.yaml:1:41: message_router.performance.caching: expected a mapping, found 1"],
    ),
    "too small a cache": (
        "message_router: {performance: {caching: {mode: on, max_entries: 2}}}",
        ["router.yaml:1:65: message_router.performance.caching.max_entries: must be at least 16, found 2"],
    ),
    "unknown key of caching": (
        "message_router: {performance: {caching: {max_entrys: 20}}}",
        ["router.yaml:1:42: message_router.performance.caching.max_entrys: unknown key; did you mean 'max_entries'?"],
    ),
    "true for a number": (
        "message_router: {performance: {concurrency: true}}",
        ["router.yaml:1:45: message_router.performance.concurrency: expected a whole number, found true"],
    ),
    "below the least": (
        "message_router: {retries: {max_attempts: 0}}",
        ["router.yaml:1:42: message_router.retries.max_attempts: must be at least 1, found 0"],
    ),
    "above the most": (
        "message_router: {urgent: {min_priority: 10, to: default}, destinations: {x: {}}}",
        ["router.yaml:1:41: message_router.urgent.min_priority: must be at most 9, found 10"],
    ),
    "list for a mapping": (
        "message_router: {routing: [a]}",
        ["router.yaml:1:27: message_router.routing: expected a mapping, found a list"],
    ),
    "mapping for a list": (
        "message_router:\n  rules: {id: a}\n",
        ["router.yaml:2:10: message_router.rules: expected a list, found a mapping"],
    ),
    "nothing for a section": (
        "message_router:\n  rules:\n  default: dead_letter\n",
        ["router.yaml:2:9: message_router.rules: expected a list, found nothing"],
    ),
    "unknown policy": (
        "message_router:\n  routing: {load_balancing: response-time}\n",
        [
            (
                "router.yaml:2:29: message_router.routing.load_balancing: unknown value 'response-time'; "
                "did you mean 'response_time'? known: round_robin, weighted_round_robin, random, weighted_random, "
                "least_connections, weighted_least_connections, response_time, prequal, health_based, maglev, "
                "rendezvous, adaptive, auto"
            )
        ],
    ),
    "settings of affinity without it": (
        (
            "message_router:\n  pools: {a: {key: message.u, bounded_load: 2, destinations: [x]}}\n"
            "  destinations: {x: {}}\n"
        ),
        [
            "router.yaml:2:15: message_router.pools.a.key: is for maglev, rendezvous and auto, not for round_robin",
            (
                "router.yaml:2:31: message_router.pools.a.bounded_load: is for maglev, rendezvous and auto, "
                "not for round_robin"
            ),
        ],
    ),
    "a key that is no path": (
        "message_router:\n  pools: {a: {policy: maglev, key: user id, destinations: [x]}}\n  destinations: {x: {}}\n",
        [
            (
                "router.yaml:2:36: message_router.pools.a.key: 'user id' is no path; "
                "write one such as message.content.user.id"
            )
        ],
    ),
    "stage twice": (
        "message_router: {routing: {routing_rules: [content_based, content_based]}}",
        [
            (
                "router.yaml:1:43: message_router.routing.routing_rules: 'content_based' is listed twice; "
                "each stage is tried once"
            )
        ],
    ),
    "no stage": (
        "message_router: {routing: {routing_rules: []}}",
        ["router.yaml:1:43: message_router.routing.routing_rules: must not be empty"],
    ),
    "failover true": (
        "message_router: {routing: {failover: true}}",
        [
            "router.yaml:1:38: message_router.routing.failover: expected one of automatic, manual, off; found true",
        ],
    ),
    "duration without unit": (
        'message_router: {performance: {timeout: "5"}}',
        [
            (
                "router.yaml:1:41: message_router.performance.timeout: not a duration: "
                "write it like 5s, 250ms, 30m or 1h30m, or as a number of seconds"
            )
        ],
    ),
    "no time at all": (
        "message_router: {performance: {timeout: 0s}}",
        ["router.yaml:1:41: message_router.performance.timeout: must be longer than 0"],
    ),
    "delays out of order": (
        "message_router: {retries: {base_delay: 3s}}",
        ["router.yaml:1:40: message_router.retries.base_delay: longer than max_delay; raise that too"],
    ),
    "partial failure neither word nor quorum": (
        "message_router:\n  rules:\n    - {id: a, when: 'true', to: p, mode: all, on_partial_failure: most}\n" + POOL,
        ["router.yaml:3:67: message_router.rules[0].on_partial_failure: unknown value 'most'; known: all, any"],
    ),
    "misspelt quorum": (
        "message_router:\n  rules:\n"
        "    - {id: a, when: 'true', to: p, mode: all, on_partial_failure: {quorm: 1, quorum: 1}}\n" + POOL,
        ["router.yaml:3:68: message_router.rules[0].on_partial_failure.quorm: unknown key; did you mean 'quorum'?"],
    ),
    "pool member without id": (
        "message_router:\n  pools: {p: {destinations: [{weight: 1}]}}\n",
        ["router.yaml:2:30: message_router.pools.p.destinations[0]: the key 'id' is missing"],
    ),
    "empty name": (
        "message_router:\n  destinations: {'': {}}\n",
        ['router.yaml:2:18: message_router.destinations."": must not be empty'],
    ),
    "name with a line break": (
        'message_router:\n  destinations: {"a\\n": {}}\n',
        [
            (
                'router.yaml:2:18: message_router.destinations."a\\n": '
                "the key a name has no space around it and no control characters"
            )
        ],
    ),
    "unknown scheme": (
        'message_router: {destinations: {a: {url: "gopher://example.org"}}}',
        [f"router.yaml:1:42: message_router.destinations.a.url: unknown scheme 'gopher'; known: {KNOWN}"],
    ),
    "url without scheme": (
        "message_router: {destinations: {a: {url: inbox}}}",
        [f"router.yaml:1:42: message_router.destinations.a.url: a url starts with its scheme; known: {KNOWN}"],
    ),
    "url of nothing": (
        "message_router: {destinations: {a: {url: 'spool:'}}}",
        ["router.yaml:1:42: message_router.destinations.a.url: the url ends after 'spool:'; name what to deliver to"],
    ),
}

REFERENCES = {
    "unknown pool in a rule": (
        "message_router:\n  rules:\n    - {id: a, when: 'true', to: q}\n    - {id: b, when: 'true', to: [p, pp]}\n"
        + POOL,
        [
            "router.yaml:3:33: message_router.rules[0].to: unknown pool 'q'; known: p",
            "router.yaml:4:37: message_router.rules[1].to[1]: unknown pool 'pp'; did you mean 'p'?",
        ],
    ),
    "unknown pool elsewhere": (
        "message_router:\n  urgent: {to: q}\n  default: deadletter\n" + POOL,
        [
            "router.yaml:2:16: message_router.urgent.to: unknown pool 'q'; known: p",
            "router.yaml:3:12: message_router.default: unknown pool 'deadletter'; did you mean 'dead_letter'?",
        ],
    ),
    "no pool at all": (
        "message_router: {default: inbox}",
        ["router.yaml:1:27: message_router.default: unknown pool 'inbox'; no pool is defined"],
    ),
    "unknown and unused destination": (
        "message_router:\n  pools: {p: {destinations: [smtp-2, {id: gone}]}}\n  destinations:\n    smtp-1: {}\n",
        [
            (
                "router.yaml:2:30: message_router.pools.p.destinations[0]: unknown destination 'smtp-2'; "
                "did you mean 'smtp-1'?"
            ),
            "router.yaml:2:43: message_router.pools.p.destinations[1].id: unknown destination 'gone'; known: smtp-1",
            "router.yaml:4:5: message_router.destinations.smtp-1: no pool uses this destination",
        ],
    ),
    "rule id twice": (
        "message_router:\n  rules:\n    - {id: a, when: 'true', to: p}\n    - {id: a, when: 'true', to: p}\n" + POOL,
        ["router.yaml:4:12: message_router.rules[1].id: duplicate rule id 'a'; first used by rules[0]"],
    ),
    "pool twice in a rule": (
        "message_router:\n  rules:\n    - {id: a, when: 'true', to: [p, p]}\n" + POOL,
        ["router.yaml:3:37: message_router.rules[0].to[1]: 'p' is listed twice"],
    ),
    "rule without condition": (
        "message_router:\n  rules:\n    - {id: a, to: p}\n" + POOL,
        [
            (
                "router.yaml:3:7: message_router.rules[0]: a rule needs a condition: `when` (CEL) or `match` "
                "(an event pattern)"
            )
        ],
    ),
    "destination twice in a pool": (
        "message_router:\n  pools: {p: {destinations: [x, {id: x}]}}\n  destinations: {x: {}}\n",
        ["router.yaml:2:38: message_router.pools.p.destinations[1].id: 'x' is in this pool already"],
    ),
    "tier gap": (
        "message_router:\n  pools: {p: {destinations: [x, y]}}\n  destinations: {x: {}, y: {tier: 2}}\n",
        [
            (
                "router.yaml:2:33: message_router.pools.p.destinations[1]: tier 2, but no destination has tier 1; "
                "tiers are 0, 1, 2, ..."
            )
        ],
    ),
    "no primary": (
        "message_router:\n  destinations: {x: {tier: 1}}\n",
        [
            (
                "router.yaml:2:21: message_router.destinations.x: "
                "tier 1, but no destination has tier 0; tiers are 0, 1, 2, ..."
            )
        ],
    ),
    "quorum beyond the pools": (
        "message_router:\n  rules:\n"
        "    - {id: a, when: 'true', to: p, mode: all, on_partial_failure: {quorum: 2}}\n" + POOL,
        [
            (
                "router.yaml:3:76: message_router.rules[0].on_partial_failure.quorum: "
                "a quorum of 2, but the rule names 1 pool"
            )
        ],
    ),
    "quorum without mode all": (
        "message_router:\n  rules:\n    - {id: a, when: 'true', to: p, on_partial_failure: any}\n" + POOL,
        [
            (
                "router.yaml:3:36: message_router.rules[0].on_partial_failure: has no meaning with mode: first; "
                "write mode: all"
            )
        ],
    ),
    "reserved name": (
        "message_router:\n  pools: {dead_letter: {destinations: [x]}}\n  destinations: {x: {}}\n",
        [
            (
                "router.yaml:2:11: message_router.pools.dead_letter: 'dead_letter' is what `default` names to keep "
                "messages; name the pool otherwise"
            )
        ],
    ),
    "policies that differ": (
        "message_router:\n  routing: {load_balancing: random}\n  load_balancing: {algorithm: round_robin}\n",
        [
            (
                "router.yaml:3:31: message_router.load_balancing.algorithm: 'round_robin' contradicts "
                "routing.load_balancing: 'random'; give one of them, or both the same"
            )
        ],
    ),
    "failover that contradicts itself": (
        (
            "message_router:\n  routing: {failover: off}\n  failover: {automatic: true}\n"
            "  quality: {failover_support: true}\n"
        ),
        [
            "router.yaml:3:25: message_router.failover.automatic: true contradicts routing.failover: off",
            "router.yaml:4:31: message_router.quality.failover_support: true contradicts routing.failover: off",
        ],
    ),
    "problems of shape and reference together": (
        "message_router:\n  retries: {max_atempts: 1}\n  default: q\n" + POOL,
        [
            "router.yaml:2:13: message_router.retries.max_atempts: unknown key; did you mean 'max_attempts'?",
            "router.yaml:3:12: message_router.default: unknown pool 'q'; known: p, dead_letter",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), (SHAPE | REFERENCES).values(), ids=SHAPE | REFERENCES)
def test_a_problem_is_named_with_its_place(text: str, expected: list[str]) -> None:
    assert said(text) == expected
