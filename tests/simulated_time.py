"""An event loop whose time passes only when nothing is left to do, and then at once: minutes take milliseconds, and
every run is the same."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.SelectSelector):
    """Waits for nothing, and adds the time it should have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module. Not for threads or sockets: it does not wait for them."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


def simulated(main: Coroutine[Any, Any, T]) -> T:
    """Runs ``main`` to its end in simulated time; nothing may be left over."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:

        async def checked() -> T:
            result = await main
            await asyncio.sleep(0.001)  # those at their last step end
            assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks are left over"
            return result

        return runner.run(checked())
