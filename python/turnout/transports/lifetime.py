"""How long a transport lives: until a reload has replaced it, and the last attempt on it has ended.

A configuration may be reloaded again and again, and each changed url or secret makes another transport; without this
its connections and files would stay open until the router closes. A destination that comes back to a target that still
lives finds the transport it had: two could not share a spool's file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

from .base import Target, Transport

_log = logging.getLogger(__name__)


class Slot:
    """A transport, and who uses it."""

    __slots__ = ("closing", "replaced", "target", "transport", "users")

    def __init__(self, target: Target, transport: Transport) -> None:
        self.target = target
        self.transport = transport
        self.users = 0
        """Attempts under way on it."""
        self.replaced = False
        """Whether the configuration has another for its destination, or none."""
        self.closing: asyncio.Task[None] | None = None


class Slots:
    """The transports of all destinations. Used from one event loop, but for :meth:`replace`."""

    def __init__(self) -> None:
        self._slots: dict[str, list[Slot]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __iter__(self) -> Iterator[Slot]:
        return iter([slot for slots in self._slots.values() for slot in slots])

    def find(self, destination: str, target: Target, make: Callable[[], Transport]) -> Slot:
        """The slot of a destination for this target; a new one if it has none."""
        slots = self._slots.setdefault(destination, [])
        for slot in slots:
            if slot.target == target:
                slot.replaced = False
                return slot
        slot = Slot(target, make())
        slots.append(slot)
        return slot

    def use_loop(self) -> None:
        """Notes the running event loop, if there is one, as that which attempts are made on."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return

    def give_back(self, slot: Slot) -> None:
        """An attempt has ended that was counted among the slot's users."""
        slot.users -= 1
        if slot.replaced and not slot.users:
            self._close_unused()

    def replace(self, targets: Mapping[str, Target | None]) -> None:
        """Closes, now or when their last attempts have ended, those that are for other targets. From any thread."""
        replaced = False
        for destination, slots in tuple(self._slots.items()):
            for slot in tuple(slots):
                slot.replaced = slot.target != targets.get(destination)
                replaced |= slot.replaced
        if replaced and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._close_unused)
            except RuntimeError:
                return  # the loop has ended: there is nothing to close them on before the next one

    async def close(self) -> None:
        """Closes all, those in use too. What is used again is opened again.

        Raises:
            Exception: the last one that a transport raised; the others are closed all the same.
        """
        slots = list(self)
        self._slots.clear()
        failed = None
        for slot in slots:
            try:
                if slot.closing is None:
                    await slot.transport.close()
                else:
                    await asyncio.wait([slot.closing])
            except Exception as error:  # noqa: BLE001 - the others are closed all the same
                failed = error
        if failed is not None:
            raise failed

    def _close_unused(self) -> None:
        for destination, slots in self._slots.items():
            for slot in slots:
                if slot.replaced and not slot.users and slot.closing is None:
                    slot.closing = asyncio.get_running_loop().create_task(self._close(destination, slot))

    async def _close(self, destination: str, slot: Slot) -> None:
        try:
            await slot.transport.close()
        except Exception as error:  # noqa: BLE001 - of a transport that nobody uses any more; its text may hold secrets
            _log.warning("destination %s: closing its former transport failed: %s", destination, type(error).__name__)
        slot.closing = None
        if slot.replaced and not slot.users:  # else it came back meanwhile, and opens again with its next attempt
            slots = self._slots.get(destination, [])
            if slot in slots:
                slots.remove(slot)
            if not slots:
                self._slots.pop(destination, None)
