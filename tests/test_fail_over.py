"""Manual failover through a router: by pool and destination, in routes and deliveries, with every failover mode."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from turnout import ConfigError, FailoverError, NoDestinationError, Router, manage_failover

MODES = ["automatic", "manual", "off"]
POOLS: dict[str, Any] = {
    "default": "p",
    "pools": {"p": {"destinations": ["a", "b", {"id": "c", "tier": 1}]}, "q": {"destinations": ["a", "x"]}},
    "destinations": {name: {} for name in "abcx"},
}


def routed(router: Router, times: int = 12) -> set[str | None]:
    return {router.route({}).destination for _ in range(times)}


@pytest.mark.parametrize("mode", MODES)
def test_a_pool_fails_over_to_its_next_tier_and_back(mode: str) -> None:
    router = Router({**POOLS, "routing": {"failover": mode}, "failover": {"slow_start": 0}})
    assert router.fail_over("p") == ["a", "b"]
    assert routed(router) == {"c"}
    assert router.route({"destination": "q"}).destination == "x", "in every pool that has it"
    assert router.fail_back("p") == ["a", "b"]
    assert router.fail_back("p") == []
    assert routed(router) == {"a", "b"}
    told = [(event.destination, event.kind, event.reason) for event in router.event_log()]
    assert told == [(name, kind, "operator") for kind in ("failed_over", "failed_back") for name in "ab"]


@pytest.mark.parametrize("mode", MODES)
def test_a_destination_fails_over_to_the_one_that_is_named(mode: str) -> None:
    router = Router({**POOLS, "routing": {"failover": mode}})
    assert router.fail_over("a", to="c") == ["a"]
    assert routed(router) == {"c"}
    assert router.route({}).reason == "operator"
    assert router.route({"destination": "q"}).destination == "x"
    with pytest.raises(NoDestinationError) as caught:
        router.route({"destination": "a"})
    assert caught.value.moved


async def test_manage_failover_tells_who_stands_in_since_when_and_why() -> None:
    router = Router(POOLS)
    router.fail_over("a", to="c")
    for _ in range(4):
        router.acquire({}).success()
    assert router.stats().destinations["c"].failovers == 4
    result = await manage_failover(["a", "b", "c"], router=router)
    states = {one.id: one for one in (result.primary_destination, *result.backup_destinations)}
    assert {name: (one.state, one.reason) for name, one in states.items()} == {
        "a": ("failed_over", "operator"),
        "b": ("healthy", None),
        "c": ("healthy", None),
    }
    (event,) = router.event_log()
    assert (states["a"].since, states["b"].since) == (event.at, None)
    assert result.failover_status.since == event.at
    assert result.recovery_metrics.failed_over == 4


async def test_reports_count_nothing_and_move_no_decision() -> None:
    async def chosen(reports: int) -> tuple[list[str | None], Any]:
        router = Router({**POOLS, "routing": {"load_balancing": "random"}}, seed=7)
        router.fail_over("a", to="c")
        router.set_health("b", "unhealthy")
        destinations = []
        for turn in range(20):
            for _ in range(reports):
                await manage_failover(["a", "b", "c"], router=router)
                await manage_failover(["a", "b"], router=router)
            if turn == 10:
                router.fail_back("a", ramp=False)
            destinations.append(router.route({}).destination)
        return destinations, router.stats()

    alone, expected = await chosen(0)
    beside, found = await chosen(3)
    assert beside == alone
    assert found.decisions == expected.decisions == 20
    for name, one in found.destinations.items():
        other = expected.destinations[name]
        assert (one.picks, one.failovers) == (other.picks, other.failovers)
    assert found.destinations["c"].failovers >= 10


async def test_since_is_when_the_pool_was_failed_over_whatever_happened_after() -> None:
    router = Router(POOLS)
    assert (await manage_failover(["a", "b", "c"], router=router)).failover_status.since is None
    router.fail_over("p")
    began = router.event_log()[-1].at
    for turn in range(1_100):
        router.set_health("x", "degraded" if turn % 2 else "healthy")
        router.set_health("c", "healthy" if turn % 2 else "degraded")
    router.reload({**POOLS, "failover": {"slow_start": 0}})
    assert began not in {event.at for event in router.event_log()}
    status = (await manage_failover(["a", "b", "c"], router=router)).failover_status
    assert (status.state, status.since) == ("failed_over", began)
    router.fail_back("p")
    ended = router.event_log()[-1].at
    status = (await manage_failover(["a", "b", "c"], router=router)).failover_status
    assert (status.state, status.since) == ("primary", ended)


def test_a_pool_may_fail_over_within_its_first_tier() -> None:
    router = Router(POOLS)
    assert router.fail_over("p", to="b") == ["a"]
    assert routed(router) == {"b"}


def test_it_is_shown_and_survives_a_reload() -> None:
    router = Router(POOLS)
    router.fail_over("a", to="c", hold=60)
    router.reload(POOLS)
    one = router.stats().destinations["a"]
    assert (one.state, one.failed_over, one.failed_over_to) == ("failed_over", True, "c")
    assert one.failed_over_for is not None
    assert 0 < one.failed_over_for <= 60
    assert routed(router) == {"c"}
    other = router.stats().destinations["b"]
    assert (other.failed_over, other.failed_over_for, other.failed_over_to) == (False, None, None)


async def test_a_hold_ends_by_itself() -> None:
    router = Router({**POOLS, "failover": {"slow_start": 0}})
    router.fail_over("p", hold=0.02)
    assert routed(router) == {"c"}
    async with asyncio.timeout(10):
        while routed(router) != {"a", "b"}:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
    assert [event.reason for event in router.event_log()] == ["operator"] * 2 + ["the hold is over"] * 2


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ({"name": "zzz"}, ConfigError, "no pool and no destination"),
        ({"name": "a", "to": "zzz"}, FailoverError, "cannot take over"),
        ({"name": "a", "to": "a"}, FailoverError, "cannot take over"),
        ({"name": "x", "to": "c"}, FailoverError, "cannot take over"),
        ({"name": "p", "to": "x"}, FailoverError, "cannot take over"),
        ({"name": "only"}, FailoverError, "without a destination"),
        ({"name": "a", "hold": 0}, ConfigError, "hold"),
        ({"name": "a", "hold": float("nan")}, ConfigError, "hold"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(call: dict[str, Any], error: type[Exception], text: str) -> None:
    pools = {**POOLS["pools"], "only": {"destinations": ["y"]}}
    router = Router({**POOLS, "pools": pools, "destinations": {**POOLS["destinations"], "y": {}}})
    with pytest.raises(error, match=text):
        router.fail_over(**call)
    assert router.event_log() == []


def test_nobody_takes_over_who_was_taken_out() -> None:
    router = Router(POOLS)
    router.drain("c")
    with pytest.raises(FailoverError, match="cannot take over"):
        router.fail_over("a", to="c")
    with pytest.raises(FailoverError, match='pool "p" would be left'):
        router.fail_over("p")
    router.fail_over("a")
    with pytest.raises(FailoverError, match="cannot take over"):
        router.fail_over("b", to="a")


@pytest.mark.parametrize("mode", MODES)
async def test_messages_under_way_follow(mode: str) -> None:
    router = Router(
        {
            "pools": {"p": {"destinations": ["a", {"id": "b", "tier": 1}]}},
            "default": "p",
            "destinations": {name: {"url": "callable:send"} for name in "ab"},
            "routing": {"failover": mode},
            "retries": {"base_delay": "1ms", "max_delay": "1ms"},
        }
    )
    tried: list[str] = []

    async def send(message: Any, destination: str) -> None:
        tried.append(destination)
        if destination == "a":
            router.fail_over("p")
            raise ConnectionError

    router.transport("send", send)
    async with router:
        delivery = await router.dispatch({})
        assert delivery.destination == "b"
        assert tried == ["a", "b"]


@pytest.mark.parametrize("mode", MODES)
async def test_manage_failover_shows_it(mode: str) -> None:
    router = Router({**POOLS, "routing": {"failover": mode}})
    router.fail_over("p", hold=60)
    result = await manage_failover(["a", "b", "c"], router=router)
    assert result.failover_status.state == "failed_over"
    assert "a is failed_over, b is failed_over" in result.failover_status.reason
    assert result.active_destination is not None
    assert result.active_destination.id == "c"
    router.fail_back("p")
    router.fail_over("a", to="c")
    result = await manage_failover(["a", "b", "c"], router=router)
    assert (result.failover_status.state, result.primary_destination.id) == ("failed_over", "b")
    assert result.active_destination is not None
    assert result.active_destination.id == "c"
