"""The ledger balances at every instant, whatever happens to whom."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_core import FakeCore, answer, assert_settled, deliverer
from outbox_support import with_outbox
from turnout.delivery import Deliverer
from turnout.delivery.clock import clock
from turnout.errors import DeliveryError

MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"n": st.integers(0, 99)},
        optional={
            "id": st.sampled_from("abcd"),
            "priority": st.integers(0, 9),
            "ordering_key": st.sampled_from("kl"),
            "delay": st.floats(0.0, 0.05),
            "life": st.floats(0.0, 0.05),
        },
    ),
    max_size=25,
)


async def watched(deliveries: Deliverer, core: FakeCore, messages: list[dict[str, Any]], seed: int) -> None:
    """Brings the messages in every way there is, cancels some, closes; the ledger is looked at all the while."""
    rng = random.Random(seed)
    await deliveries.start()
    looking = True

    async def look() -> None:
        while looking:
            ledger = deliveries.ledger
            assert ledger.balanced, ledger
            assert ledger.delayed <= ledger.waiting
            await asyncio.sleep(0)

    looker = asyncio.create_task(look())
    tasks: list[asyncio.Task[Any]] = []
    for message in messages:
        now = clock.now()
        fields = {name: message[name] for name in ("n", "id", "priority", "ordering_key") if name in message}
        if "delay" in message:
            fields["not_before"] = now + message["delay"]
        if "life" in message:
            fields["expires_at"] = now + message["life"]
        call = rng.choice([deliveries.accept, deliveries.dispatch, lambda one: deliveries.dispatch_many([one, one])])
        tasks.append(asyncio.create_task(call(fields)))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.004)
        if rng.random() < 0.2:
            rng.choice(tasks).cancel()
    if rng.random() < 0.5:
        await asyncio.wait(tasks) if tasks else None
        await deliveries.join()
    await deliveries.close(rng.choice([0.0, 0.01, 1.0]))
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, DeliveryError):
            await task
    looking = False
    await looker
    assert_settled(deliveries, core)
    assert deliveries.ledger.delayed == 0


async def test_a_repeat_that_becomes_the_first_while_the_router_closes_is_refused(tmp_path: Path) -> None:
    core = FakeCore()
    deliveries = with_outbox(core, answer, tmp_path / "o.db")
    await deliveries.start()
    message = {"id": "a", "not_before": clock.now() + 60}
    first = asyncio.create_task(deliveries.dispatch(message))
    repeat = asyncio.create_task(deliveries.accept(message))
    await asyncio.sleep(0)
    first.cancel()
    await deliveries.close(0)
    with pytest.raises(DeliveryError, match="closed"):
        await repeat
    assert_settled(deliveries, core)
    again = with_outbox(core, answer, tmp_path / "o.db")
    await again.start()
    assert again.ledger.waiting == 0
    await again.close()


@pytest.mark.parametrize("outbox", [False, True])
@given(messages=MESSAGES, seed=st.integers(0, 2**32), mode=st.sampled_from(["first", "all"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_balances_at_every_instant(outbox: bool, messages: list[dict[str, Any]], seed: int, mode: str) -> None:
    rng = random.Random(seed)

    async def serve(_message: Any, _destination: str) -> None:
        if rng.random() < 0.7:
            await asyncio.sleep(rng.random() * 0.003)
        if rng.random() < 0.3:
            raise rng.choice([ConnectionError("down"), DeliveryError("bad", "no", retryable=False)])

    core = FakeCore(pools={"p": ["a"], "q": ["b", "c"]}, mode=mode, quorum=1)
    more = {"concurrency": 3, "max_waiting": 4, "max_attempts": 2, "schedule": (0.01,), "timeout": 0.5}
    with tempfile.TemporaryDirectory() as directory:
        deliveries = (
            with_outbox(core, serve, Path(directory) / "o.db", **more) if outbox else deliverer(core, serve, **more)
        )
        asyncio.run(asyncio.wait_for(watched(deliveries, core, messages, seed), 30))
