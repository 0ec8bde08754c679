"""Who is asked to choose a destination. All have the same destinations, with the weights 1, 2, 3, 1, 2, 3 and so on."""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from turnout import Pool
from turnout.config import KEYED, POLICIES

from .measure import Loop, repeated

Choose = Callable[[], str]
DRAWS = 20_000
FLOOR = "a name read at random: the floor"
WEIGHTLESS = frozenset({"round_robin", "random", "least_connections"})
# What few of 20,000 draws may differ by: 5 standard deviations of the smallest share of ten, 1/19.
TOLERANCE = 0.15


class WrongSharesError(Exception):
    """A contender does not choose by weight, so its time says nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to choose."""

    name: str
    build: Callable[[int], Choose] | None
    """Makes the selection of so many destinations; None: a policy of ours."""
    most: int = 100_000
    """The most destinations it is asked to choose from, so that the benchmark ends."""
    weighted: bool = True
    draws: int = DRAWS
    """How often it chooses to be checked; fewer among many, where `slow`, else whole turns of a rotation by weight."""
    slow: bool = False
    threads: bool = True
    """Whether several threads may choose at once."""


def ids(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def weights(count: int) -> list[int]:
    return [1 + number % 3 for number in range(count)]


def pool_of(policy: str, count: int) -> Pool:
    destinations = zip(ids(count), weights(count), strict=True)
    return Pool([{"id": name, "weight": weight} for name, weight in destinations], policy=policy)


def cycle_of_keys() -> Iterator[str]:
    """Many keys in turn: of one alone the table's place and the destination would always be in the cache."""
    return itertools.cycle([f"user-{number}" for number in range(200_000)])


def selections(pool: Pool, policy: str) -> Loop:
    """Selections as a caller makes them."""
    if policy not in KEYED:
        return repeated(pool.select)
    keys, select = cycle_of_keys(), pool.select

    def loop(steps: int) -> None:
        for key in itertools.islice(keys, steps):
            select(key=key)

    return loop


def leases(pool: Pool, policy: str) -> Loop:
    """Leases taken and ended in success."""
    keys, acquire = cycle_of_keys(), pool.acquire

    def loop(steps: int) -> None:
        for _ in itertools.repeat(None, steps):
            acquire().success()

    def loop_by_key(steps: int) -> None:
        for key in itertools.islice(keys, steps):
            acquire(key=key).success()

    return loop_by_key if policy in KEYED else loop


def holding(pool: Pool, policy: str) -> Choose:
    """Holds what it chooses, which is what policies that look at load go by, until this is forgotten."""
    held, keys = [], itertools.count()

    def choose() -> str:
        lease = pool.acquire(key=next(keys)) if policy in KEYED else pool.acquire()
        held.append(lease)
        return lease.destination

    return choose


def turnout(policy: str) -> Contender:
    most = 10_000 if policy == "rendezvous" else 100_000
    slow = policy == "rendezvous"
    draws = 2_000 if slow else DRAWS
    return Contender(policy, None, most=most, weighted=policy not in WEIGHTLESS, draws=draws, slow=slow)


def floor(count: int) -> Choose:
    """Names read at random from a list in memory, which whoever chooses one and returns it does at least."""
    names, rng = ids(count), random.Random(1)
    places = [rng.randrange(count) for _ in range(1 << 18)]
    return map(names.__getitem__, itertools.cycle(places)).__next__


def random_choices(count: int) -> Choose:
    names, shares = ids(count), weights(count)
    return lambda: random.choices(names, shares)[0]


def cumulative_choices(count: int) -> Choose:
    names, sums = ids(count), list(itertools.accumulate(weights(count)))
    return lambda: random.choices(names, cum_weights=sums)[0]


def litellm(strategy: str) -> Callable[[int], Choose]:
    def build(count: int) -> Choose:
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

        return choose

    return build


OURS = tuple(turnout(policy) for policy in POLICIES)
PEERS = (
    Contender(FLOOR, floor, weighted=False, threads=False),
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
