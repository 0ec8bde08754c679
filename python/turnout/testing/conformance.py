"""What every transport must do, as checks that run against one and the real or faked other end it sends to.

Describe your transport as a :class:`TransportCase`, then run every check on a fresh case. With pytest::

    @pytest.mark.parametrize("check", checks_for(MyCase), ids=str)
    async def test_my_transport(check, tmp_path):
        await check(MyCase(tmp_path))

A check raises :class:`NonConformingError` with what is wrong. Checks of a class of failure that the case cannot bring
about (``faults``) are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

from ..errors import DeliveryError
from ..transports import Transport

Fault = Literal["retryable", "overloaded", "permanent", "hanging"]
"""What the other end is made to do: fail, refuse for now and say for how long, refuse this message for good, be
silent."""

PATIENCE: Final = 20.0
"""Seconds that only end a check that would hang."""
MANY: Final = 300
_BIG: Final = 512 * 1024
_ODD_IDS: Final = ("plain", "50%", "with space", "a.b:c/d", "Grüße-日本", "x" * 200, "50%25")
_DESTINATION: Final = "destination-1"


class NonConformingError(AssertionError):
    """The transport does not do what one must."""


class Received(NamedTuple):
    """One message as it arrived at the other end."""

    id: str
    """The message id as the channel carries it."""
    body: bytes


class TransportCase:
    """A transport and its other end; subclass it. Opened by ``async with``."""

    faults: ClassVar[frozenset[Fault]] = frozenset()
    """What :meth:`fail` can bring about."""
    keeps_ids: ClassVar[bool] = True
    """Whether the channel carries message ids."""

    async def __aenter__(self) -> TransportCase:
        """Starts the other end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops it."""

    def transport(self) -> Transport:
        """A new transport to it."""
        raise TypeError(f"{type(self).__name__} says not how its transport is made; define transport()")

    async def received(self) -> list[Received]:
        """Everything that has arrived, in any order, repetitions included."""
        raise TypeError(f"{type(self).__name__} says not what has arrived; define received()")

    async def fail(self, fault: Fault) -> None:
        """Makes the other end fail from now on."""
        raise TypeError(f"{type(self).__name__} names {fault!r} in `faults`; define fail()")

    async def recover(self) -> None:
        """Ends the fault. What the transport needs to come back, such as a new connection, is its own matter."""

    def message(self, number: int, size: int = 0) -> dict[str, Any]:
        """A message that the channel can carry, about ``size`` bytes long."""
        return {"id": f"m-{number}", "number": number, "content": {"text": "x" * size}}

    def header(self, message_id: str) -> str:
        """``message_id`` as :attr:`Received.id` shows it."""
        return message_id


class Check:
    """One thing that every transport must do. ``str()`` names it."""

    def __init__(self, run: Callable[[TransportCase, Transport], Awaitable[None]], fault: Fault | None = None) -> None:
        self._run, self.fault = run, fault
        self.needs_ids = run.__name__ in ("ids_are_passed_on", "every_attempt_has_the_same_id")

    def __str__(self) -> str:
        return self._run.__name__

    async def __call__(self, case: TransportCase) -> None:
        """Runs it on a case that nothing has been sent to.

        Raises:
            NonConformingError: the transport does not pass.
        """
        try:
            async with case, asyncio.timeout(PATIENCE):
                transport = case.transport()
                transport.open()
                try:
                    await self._run(case, transport)
                finally:
                    await case.recover()
                    await transport.close()
        except TimeoutError:
            raise NonConformingError(f"{self}: not done within {PATIENCE:g} s") from None


def checks_for(case: type[TransportCase]) -> list[Check]:
    """The checks that apply to a case."""
    return [
        check
        for check in CHECKS
        if (check.fault is None or check.fault in case.faults) and (case.keeps_ids or not check.needs_ids)
    ]


async def a_message_arrives_once(case: TransportCase, transport: Transport) -> None:
    """What was sent has arrived, with its text, when ``send`` returns."""
    await _send(transport, case.message(1, 7))
    found = await case.received()
    _must(len(found) == 1, f"1 message was sent, {len(found)} arrived")
    _must(b"xxxxxxx" in found[0].body, "the text of the message did not arrive")


async def many_at_once_all_arrive(case: TransportCase, transport: Transport) -> None:
    """Sends that are under way together do not hinder each other."""
    await asyncio.gather(*(_send(transport, case.message(number)) for number in range(MANY)))
    await _have_arrived(case, range(MANY))


async def a_big_message_arrives_whole(case: TransportCase, transport: Transport) -> None:
    """Half a megabyte."""
    await _send(transport, case.message(1, _BIG))
    found = (await case.received())[0].body
    _must(found.count(b"x") >= _BIG, "the message did not arrive whole")


async def what_cannot_be_encoded_is_refused_for_good(case: TransportCase, transport: Transport) -> None:
    """It leaves no trace, and the next message is sent."""
    try:
        await _send(transport, {**case.message(1), "content": {"what": object()}})
    except DeliveryError as error:
        _must(not error.retryable, f"{error.kind} is retryable: it would be tried again, and fail again")
    else:
        raise NonConformingError("an object was taken for a message")
    await _send(transport, case.message(2))
    _must(len(await case.received()) == 1, "the message refused left a trace")


async def ids_are_passed_on(case: TransportCase, transport: Transport) -> None:
    """Different ids arrive as different ids, whatever they are made of."""
    for name in _ODD_IDS:
        await transport.send(case.message(1), _DESTINATION, message_id=name, attempt=1)
    found = {one.id for one in await case.received()}
    expected = {case.header(name) for name in _ODD_IDS}
    _must(found == expected, f"ids {sorted(expected)} were sent, {sorted(found)} arrived")


async def every_attempt_has_the_same_id(case: TransportCase, transport: Transport) -> None:
    """A receiver can tell by it that a message came twice. A channel may leave out the repetition itself."""
    for attempt in (1, 2):
        await transport.send(case.message(1), _DESTINATION, message_id="the-id", attempt=attempt)
    found = [one.id for one in await case.received()]
    _must(found in ([case.header("the-id")], [case.header("the-id")] * 2), f"two attempts arrived as {found}")


async def what_is_in_time_arrives(case: TransportCase, transport: Transport) -> None:
    """A deadline and a message's own end, both in Unix seconds, do no harm to what is sent long before."""
    soon = time.time() + 60
    await transport.send(case.message(1), _DESTINATION, message_id="m-1", attempt=1, deadline=soon, expires=soon)
    await asyncio.sleep(0.1)
    await _have_arrived(case, [1])


async def a_failure_may_be_tried_again(case: TransportCase, transport: Transport) -> None:
    """While the other end fails sends raise what says so; afterwards they work again, on the same transport."""
    await _send(transport, case.message(0))
    await case.fail("retryable")
    error = await _failure(transport, case.message(1))
    _must(not isinstance(error, DeliveryError) or error.retryable, f"{error} is not retryable")
    await case.recover()
    await _send_until_taken(transport, case.message(2))
    await _have_arrived(case, (0, 2))


async def overload_says_how_long_to_wait(case: TransportCase, transport: Transport) -> None:
    """A positive number of seconds, an hour at most."""
    await case.fail("overloaded")
    error = await _failure(transport, case.message(1))
    _must(isinstance(error, DeliveryError) and error.retryable, f"{error!r} is no retryable DeliveryError")
    after = getattr(error, "retry_after", None)
    _must(after is not None and 0 < after <= 3600, f"retry_after is {after}")
    await case.recover()
    await _send_until_taken(transport, case.message(2))


async def what_is_refused_for_good_is_not_tried_again(case: TransportCase, transport: Transport) -> None:
    """The message is at fault; the next one is sent."""
    await case.fail("permanent")
    error = await _failure(transport, case.message(1))
    _must(isinstance(error, DeliveryError) and not error.retryable, f"{error!r} would be tried again")
    await case.recover()
    await _send_until_taken(transport, case.message(2))


async def a_silent_other_end_holds_nobody_past_the_time_limit(case: TransportCase, transport: Transport) -> None:
    """Cancelling a send ends it at once; afterwards sends work again."""
    await _send(transport, case.message(0))
    await case.fail("hanging")
    sends = [asyncio.create_task(_send(transport, case.message(number))) for number in range(1, 4)]
    done, _ = await asyncio.wait(sends, timeout=0.2)
    _must(
        all(task.exception() is not None for task in done if not task.cancelled()),
        "a send returned though the other end is silent",
    )
    for task in sends:
        task.cancel()
    await asyncio.wait(sends, timeout=5)
    _must(all(task.done() for task in sends), "a cancelled send did not end within 5 s")
    await case.recover()
    await _send_until_taken(transport, case.message(4))


async def a_cancelled_send_takes_no_other_with_it(case: TransportCase, transport: Transport) -> None:
    """Every third of many is cancelled at some moment; the others arrive."""
    sends = {number: asyncio.create_task(_send(transport, case.message(number))) for number in range(60)}
    for number in range(0, 60, 3):
        await asyncio.sleep(0)
        sends[number].cancel()
    await asyncio.wait(sends.values())
    kept = [number for number in sends if number % 3]
    for number in kept:
        _must(not sends[number].cancelled(), f"message {number} was cancelled together with another")
        if (error := sends[number].exception()) is not None:
            raise NonConformingError(f"message {number} failed together with another: {error!r}")
    await _have_arrived(case, kept)


async def closing_ends_what_was_begun(case: TransportCase, transport: Transport) -> None:
    """Every send under way has ended soon after ``close`` returned; what returned has arrived."""
    sends = {number: asyncio.create_task(_send(transport, case.message(number))) for number in range(40)}
    await asyncio.sleep(0.001)
    await transport.close()
    await asyncio.wait(sends.values(), timeout=5)
    _must(all(task.done() for task in sends.values()), "a send hangs after the transport was closed")
    taken = [number for number, task in sends.items() if not task.cancelled() and task.exception() is None]
    await _have_arrived(case, taken)


async def it_can_be_opened_again(case: TransportCase, transport: Transport) -> None:
    """Opening and closing twice do no harm."""
    transport.open()
    await _send(transport, case.message(1))
    await transport.close()
    await transport.close()
    transport.open()
    await _send(transport, case.message(2))
    await _have_arrived(case, (1, 2))


CHECKS: Final[Sequence[Check]] = (
    Check(a_message_arrives_once),
    Check(many_at_once_all_arrive),
    Check(a_big_message_arrives_whole),
    Check(what_cannot_be_encoded_is_refused_for_good),
    Check(ids_are_passed_on),
    Check(every_attempt_has_the_same_id),
    Check(what_is_in_time_arrives),
    Check(a_failure_may_be_tried_again, "retryable"),
    Check(overload_says_how_long_to_wait, "overloaded"),
    Check(what_is_refused_for_good_is_not_tried_again, "permanent"),
    Check(a_silent_other_end_holds_nobody_past_the_time_limit, "hanging"),
    Check(a_cancelled_send_takes_no_other_with_it),
    Check(closing_ends_what_was_begun),
    Check(it_can_be_opened_again),
)
"""All checks."""


async def _send(transport: Transport, message: dict[str, Any]) -> object:
    deadline = time.time() + PATIENCE
    return await transport.send(message, _DESTINATION, message_id=message["id"], attempt=1, deadline=deadline)


async def _failure(transport: Transport, message: dict[str, Any]) -> Exception:
    try:
        await _send(transport, message)
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        return error
    raise NonConformingError("a send returned though the other end fails")


async def _send_until_taken(transport: Transport, message: dict[str, Any]) -> None:
    """The first sends after a fault may still find the old connection."""
    for _ in range(200):
        try:
            await _send(transport, message)
        except DeliveryError as error:
            _must(error.retryable, f"refused for good after the fault ended: {error}")
        else:
            return
        await asyncio.sleep(0.05)
    raise NonConformingError("sends fail though the fault has ended")


async def _have_arrived(case: TransportCase, numbers: Sequence[int]) -> None:
    """Each at least once; where the channel carries no ids, as many."""
    found = await case.received()
    if not case.keeps_ids:
        _must(len(found) >= len(numbers), f"{len(numbers)} messages were taken, {len(found)} arrived")
        return
    missing = {case.header(f"m-{number}") for number in numbers} - {one.id for one in found}
    _must(not missing, f"taken, and not arrived: {sorted(missing)[:5]} and {max(0, len(missing) - 5)} more")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise NonConformingError(otherwise)
