"""What must fit together across a configuration: names that name something, tiers without gaps, switches that agree.

Works on raw mappings as well as on models and skips whatever has not the right shape, so that these problems are
reported together with those of shape. Cost: linear in rules and pool members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from .model import Finding
from .names import suggestion
from .sections import KEYED, POLICIES

DEAD_LETTER = "dead_letter"
"""What `default` may name instead of a pool."""
DEFAULT_POOL = "default"
"""The pool that holds all destinations where `pools` is absent."""

MODES = ("automatic", "manual", "off")
# Each switch that speaks about failover, and the modes that its true and its false leave open.
_FAILOVER_SWITCHES: tuple[tuple[tuple[str, str], tuple[str, ...], tuple[str, ...]], ...] = (
    (("failover", "automatic"), ("automatic",), ("manual", "off")),
    (("load_balancing", "failover"), ("automatic", "manual"), ("off",)),
    (("quality", "failover_support"), ("automatic", "manual"), ("off",)),
)


def get(holder: object, key: str) -> Any:
    """The value of ``key`` in a mapping or model; None where there is none."""
    if isinstance(holder, Mapping):
        return holder.get(key)
    return getattr(holder, key, None) if isinstance(holder, BaseModel) else None


def find_problems(config: object) -> list[Finding]:
    """Everything that does not fit together in ``config``: a router's mapping or model."""
    found = [*_policies(config), *failover_modes(config)[1]]
    pools, destinations = get(config, "pools"), get(config, "destinations")
    if not _is_map(pools) or not _is_map(destinations):
        return [*found, *_rules(config, None)]
    shorthand = not pools and bool(destinations)
    known = [DEFAULT_POOL] if shorthand else list(filter(_is_text, pools or ()))
    found += _routes(config, known)
    found += _rules(config, known)
    if not shorthand:
        found += _pools(pools or {}, destinations or {})
        found += _keyed(config, pools or {})
    else:
        found += _gap(("destinations",), [((str(name),), _tier(item)) for name, item in destinations.items()])
    return found


def failover_modes(config: object) -> tuple[tuple[str, ...], list[Finding]]:
    """The failover modes that all given switches leave open, the first of which holds; and contradictions."""
    open_modes: tuple[str, ...] = MODES
    found: list[Finding] = []
    because = ""
    mode = get(get(config, "routing"), "failover")
    mode = "off" if mode is False else mode
    if mode in MODES:
        open_modes, because = (mode,), f"routing.failover: {mode}"
    for (section, key), if_true, if_false in _FAILOVER_SWITCHES:
        value = get(get(config, section), key)
        if not isinstance(value, bool):
            continue
        left = tuple(mode for mode in open_modes if mode in (if_true if value else if_false))
        if left:
            open_modes, because = left, because or f"{section}.{key}: {str(value).lower()}"
        else:
            found.append(Finding((section, key), f"{str(value).lower()} contradicts {because}"))
    return open_modes, found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_map(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def _policies(config: object) -> Iterator[Finding]:
    general, own = get(get(config, "routing"), "load_balancing"), get(get(config, "load_balancing"), "algorithm")
    if isinstance(general, str) and isinstance(own, str) and general != own:
        message = f"{own!r} contradicts routing.load_balancing: {general!r}; give one of them, or both the same"
        yield Finding(("load_balancing", "algorithm"), message)


def _unknown_pool(name: str, known: list[str]) -> str:
    return f"unknown pool {name!r}" + (suggestion(name, known, "known") if known else "; no pool is defined")


def _routes(config: object, known: list[str]) -> Iterator[Finding]:
    default = get(config, "default")
    if isinstance(default, str) and default != DEAD_LETTER and default not in known:
        yield Finding(("default",), _unknown_pool(default, [*known, DEAD_LETTER] if known else known))
    yield from _targets(get(get(config, "urgent"), "to"), ("urgent", "to"), set(known), known)


def _targets(to: object, path: tuple[str | int, ...], known: set[str] | None, listed: list[str]) -> Iterator[Finding]:
    """Problems of a route's pools; ``known`` is None where nothing is known of them."""
    single = isinstance(to, str)
    names = [to] if single else to if isinstance(to, (list, tuple)) else []
    for number, name in enumerate(names):
        if not isinstance(name, str):
            continue
        place = path if single else (*path, number)
        if name in names[:number]:
            yield Finding(place, f"{name!r} is listed twice")
        elif known is not None and name not in known:
            yield Finding(place, _unknown_pool(name, listed))


def _rules(config: object, known: list[str] | None) -> Iterator[Finding]:
    rules = get(config, "rules")
    if not isinstance(rules, (list, tuple)):
        return
    pools = None if known is None else set(known)
    first: dict[str, int] = {}
    for number, rule in enumerate(rules):
        if not isinstance(rule, (Mapping, BaseModel)):
            continue
        path: tuple[str | int, ...] = ("rules", number)
        name = get(rule, "id")
        if isinstance(name, str) and first.setdefault(name, number) != number:
            yield Finding((*path, "id"), f"duplicate rule id {name!r}; first used by rules[{first[name]}]")
        if get(rule, "when") is None and get(rule, "match") is None:
            yield Finding(path, "a rule needs a condition: `when` (CEL) or `match` (an event pattern)")
        to = get(rule, "to")
        yield from _targets(to, (*path, "to"), pools, known or [])
        yield from _partial(rule, to, (*path, "on_partial_failure"))


def _partial(rule: object, to: object, path: tuple[str | int, ...]) -> Iterator[Finding]:
    how = get(rule, "on_partial_failure")
    quorum = get(how, "quorum")
    if (how == "any" or quorum is not None) and get(rule, "mode") in (None, "first"):
        yield Finding(path, "has no meaning with mode: first; write mode: all", key=True)
        return
    count = 1 if isinstance(to, str) else len(to) if isinstance(to, (list, tuple)) else None
    if isinstance(quorum, int) and count is not None and quorum > count:
        pools = "1 pool" if count == 1 else f"{count} pools"
        yield Finding((*path, "quorum"), f"a quorum of {quorum}, but the rule names {pools}")


def _tier(destination: object) -> int | None:
    """A destination's own tier; None if it is not a number."""
    tier = get(destination, "tier")
    if tier is None:
        return 0
    return tier if isinstance(tier, int) and not isinstance(tier, bool) else None


def _gap(path: tuple[str | int, ...], tiers: list[tuple[tuple[str | int, ...], int | None]]) -> Iterator[Finding]:
    """The first tier with nobody in it below one with somebody; reported at the first member above the gap."""
    used = {tier for _, tier in tiers}
    if None in used or not used:
        return
    numbers = sorted(tier for tier in used if tier is not None)
    for expected, tier in enumerate(numbers):
        if tier != expected:
            place = next(place for place, own in tiers if own == tier)
            message = f"tier {tier}, but no destination has tier {expected}; tiers are 0, 1, 2, ..."
            yield Finding((*path, *place), message)
            return


def _pools(pools: Mapping[str, object], destinations: Mapping[str, object]) -> Iterator[Finding]:
    used: set[str] = set()
    complete = True
    for name, pool in pools.items():
        if name == DEAD_LETTER:
            message = f"{DEAD_LETTER!r} is what `default` names to keep messages; name the pool otherwise"
            yield Finding(("pools", name), message, key=True)
        members = get(pool, "destinations")
        if not isinstance(members, (list, tuple)):
            complete = False
            continue
        yield from _members(("pools", name, "destinations"), members, destinations, used)
        complete = complete and all(isinstance(_member_id(member), str) for member in members)
    if complete:  # else a destination that seems unused may be meant by what could not be read
        for name in destinations:
            if name not in used:
                yield Finding(("destinations", name), "no pool uses this destination", key=True)


def _keyed(config: object, pools: Mapping[str, object]) -> Iterator[Finding]:
    """What only policies by key heed, in pools under another one."""
    general = get(get(config, "routing"), "load_balancing") or get(get(config, "load_balancing"), "algorithm")
    for name, pool in pools.items():
        policy = get(pool, "policy") or general or "round_robin"
        if policy in (*KEYED, "auto") or policy not in POLICIES:
            continue
        for key in ("key", "bounded_load"):
            if get(pool, key) is not None:
                yield Finding(("pools", name, key), f"is for {', '.join(KEYED)} and auto, not for {policy}", key=True)


def _member_id(member: object) -> object:
    return member if isinstance(member, str) else get(member, "id")


def _members(
    path: tuple[str | int, ...],
    members: list[object] | tuple[object, ...],
    destinations: Mapping[str, object],
    used: set[str],
) -> Iterator[Finding]:
    tiers: list[tuple[tuple[str | int, ...], int | None]] = []
    own: set[str] = set()
    for number, member in enumerate(members):
        name = _member_id(member)
        if not isinstance(name, str):
            return
        place = (number,) if isinstance(member, str) else (number, "id")
        if name in own:
            yield Finding((*path, *place), f"{name!r} is in this pool already")
        elif name not in destinations:
            known = filter(_is_text, destinations)
            hint = suggestion(name, known, "known") if destinations else "; no destination is defined"
            yield Finding((*path, *place), f"unknown destination {name!r}{hint}")
        own.add(name)
        tier = get(member, "tier")
        tiers.append(((number,), _tier(member) if tier is not None else _tier(destinations.get(name))))
    used |= own
    yield from _gap(path, tiers)
