"""Who is asked to choose a destination. All have the same destinations, with the weights 1, 2, 3, 1, 2, 3 and so on."""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from turnout import Pool

Choose = Callable[[], str]
DRAWS = 20_000
FLOOR = "a name read at random: the floor"
POLICIES = (
    "round_robin",
    "weighted_round_robin",
    "random",
    "weighted_random",
    "least_connections",
    "weighted_least_connections",
    "response_time",
    "prequal",
    "health_based",
    "maglev",
    "rendezvous",
    "adaptive",
)
WEIGHTLESS = frozenset({"round_robin", "random", "least_connections"})
BY_KEY = frozenset({"maglev", "rendezvous"})
# What few of 20,000 draws may differ by: 5 standard deviations of the smallest share of ten, 1/19.
TOLERANCE = 0.15


class WrongSharesError(Exception):
    """A contender does not choose by weight, so its time says nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to choose. `build` makes the selection of so many destinations, and what chooses for `check`."""

    name: str
    build: Callable[[int], tuple[Choose, Choose]]
    most: int = 100_000
    """The most destinations it is asked to choose from, so that the benchmark ends."""
    weighted: bool = True
    draws: int = DRAWS
    """How often it chooses to be checked; fewer among many, where `slow`, else whole turns of a rotation by weight."""
    slow: bool = False


def ids(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def weights(count: int) -> list[int]:
    return [1 + number % 3 for number in range(count)]


def pool_of(policy: str, count: int) -> Pool:
    destinations = zip(ids(count), weights(count), strict=True)
    return Pool([{"id": name, "weight": weight} for name, weight in destinations], policy=policy)


def cycle_of_keys() -> Callable[[], str]:
    """Many keys in turn: of one alone the table's place and the destination would always be in the cache. They cost a
    policy by key some 30 ns, which a real message brings along."""
    return itertools.cycle([f"user-{number}" for number in range(200_000)]).__next__


def selection(pool: Pool, policy: str) -> Choose:
    """A selection as a caller makes it."""
    if policy not in BY_KEY:
        return pool.select
    key = cycle_of_keys()
    return lambda: pool.select(key=key())


def holding(pool: Pool, policy: str) -> Choose:
    """Holds what it chooses, which is what policies that look at load go by."""
    leases, keys = [], itertools.count()

    def choose() -> str:
        lease = pool.acquire(key=next(keys)) if policy in BY_KEY else pool.acquire()
        leases.append(lease)
        return lease.destination

    return choose


def turnout(policy: str) -> Contender:
    def build(count: int) -> tuple[Choose, Choose]:
        return selection(pool_of(policy, count), policy), holding(pool_of(policy, count), policy)

    most = 10_000 if policy == "rendezvous" else 100_000
    slow = policy == "rendezvous"
    draws = 2_000 if slow else DRAWS
    return Contender(policy, build, most=most, weighted=policy not in WEIGHTLESS, draws=draws, slow=slow)


def floor(count: int) -> tuple[Choose, Choose]:
    """Names read at random from a list in memory, which whoever chooses one and returns it does at least."""
    names, rng = ids(count), random.Random(1)
    places = [rng.randrange(count) for _ in range(1 << 18)]
    choose = map(names.__getitem__, itertools.cycle(places)).__next__
    return choose, choose


def random_choices(count: int) -> tuple[Choose, Choose]:
    names, shares = ids(count), weights(count)

    def choose() -> str:
        return random.choices(names, shares)[0]

    return choose, choose


def cumulative_choices(count: int) -> tuple[Choose, Choose]:
    names, sums = ids(count), list(itertools.accumulate(weights(count)))

    def choose() -> str:
        return random.choices(names, cum_weights=sums)[0]

    return choose, choose


def litellm(strategy: str) -> Callable[[int], tuple[Choose, Choose]]:
    def build(count: int) -> tuple[Choose, Choose]:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the network for prices
        from litellm import Router

        shared = {"api_key": "none"}
        models = [
            {
                "model_name": "model",
                "litellm_params": {"model": f"openai/{name}", "weight": weight, **shared},
                "model_info": {"id": name},
            }
            for name, weight in zip(ids(count), weights(count), strict=True)
        ]
        router = Router(model_list=models, routing_strategy=strategy)
        messages = [{"role": "user", "content": "hello"}]

        def choose() -> str:
            found = router.get_available_deployment(model="model", messages=messages, request_kwargs={})
            return str(found["model_info"]["id"])

        return choose, choose

    return build


OURS = tuple(turnout(policy) for policy in POLICIES)
PEERS = (
    Contender(FLOOR, floor, weighted=False),
    Contender("random.choices", random_choices, draws=2_000, slow=True),
    Contender("random.choices, cum_weights", cumulative_choices),
    Contender("litellm, simple-shuffle", litellm("simple-shuffle"), most=10_000, draws=2_000, slow=True),
    Contender(
        "litellm, latency-based-routing",
        litellm("latency-based-routing"),
        most=1_000,
        weighted=False,
        draws=400,
        slow=True,
    ),
)


def check(contender: Contender, count: int, choose: Choose) -> None:
    """Raises `WrongSharesError` unless what is chosen follows the weights: of each destination where they are ten, of
    all of one weight where they are more."""
    total = sum(weights(count)) if contender.weighted else count
    whole = total * -(-contender.draws // total)
    draws = min(contender.draws, 200_000_000 // count**2 + 200) if contender.slow else whole
    group = (lambda name: name) if count <= 10 else (lambda name: str(int(name[1:]) % 3))
    seen = Counter(group(choose()) for _ in range(draws))
    expected = shares(contender, count, group)
    for name, share in expected.items():
        # Five standard deviations, what a hash may be off by, or half a message a destination: who holds one or two for
        # its weight has no nearer choice.
        rounding = 0.5 * (share if not contender.weighted else 1 / len(expected)) * count / draws
        slack = max(TOLERANCE * share, 5 * (share * (1 - share) / draws) ** 0.5, rounding if count > 10 else 0.0)
        if abs(seen[name] / draws - share) > slack:
            raise WrongSharesError(f"{contender.name} of {count}: {name} has {seen[name] / draws:.4f}, not {share:.4f}")


def shares(contender: Contender, count: int, group: Callable[[str], str]) -> Mapping[str, float]:
    """The share of each group that is due."""
    due: Counter[str] = Counter()
    for name, weight in zip(ids(count), weights(count), strict=True):
        due[group(name)] += weight if contender.weighted else 1
    total = due.total()
    return {name: one / total for name, one in due.items()}
