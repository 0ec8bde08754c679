"""``callable:NAME``: a Python function receives the message.

An ``async`` function is awaited on the event loop. Any other runs in a thread, so that it cannot stop the loop; each
name has threads of its own, so that a function that hangs holds up no other.

A thread cannot be stopped: a plain function that is still running when the message's time is up goes on to its end,
and may take effect after the attempt has been counted as failed. Its thread stays taken until then, and Python waits
for it at exit; give such functions a time limit of their own, such as what is left until their ``deadline``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ..errors import ConfigError, DeliveryError
from .batching import Batches

Function = Callable[..., Any]
"""What ``router.transport`` takes: ``fn(message, destination)``, ``destination`` being the id. Sync or async. One with
a parameter ``deadline`` is given that too, by name: when the attempt's time is up, in Unix seconds.

With ``batch`` it takes at once what is sent while its last call is under way, ``fn(messages, destination)``, and
answers None, or a list with one answer a message, in order; an exception among them is the failure of its message, and
one that it raises, of all. The deadline is the latest of theirs."""

DEFAULT_THREADS: Final = 32
"""Threads of one plain function: enough to overlap blocking I/O, few enough not to matter in memory."""


class Registered:
    """A function under its name, and the threads it runs in if it is not ``async``."""

    __slots__ = ("_executor", "batch", "function", "is_async", "name", "threads", "wants_deadline")

    def __init__(self, name: str, function: Function, threads: int = DEFAULT_THREADS, batch: int | None = None) -> None:
        """``batch``: messages that it takes at once, at most; None: one by one."""
        given: object = function  # whatever it is said to be
        if not callable(given):
            kind = type(given).__name__
            raise ConfigError(f"transport {name!r}: {kind} is not callable; give a function fn(message, destination)")
        if threads < 1:
            raise ConfigError(f"transport {name!r}: threads is {threads}; at least 1 is needed")
        if batch is not None and batch < 1:
            raise ConfigError(f"transport {name!r}: batch is {batch}; at least 1 is needed, or None")
        self.batch = batch
        self.name = name
        self.function = function
        self.threads = threads
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object's own async __call__
        )
        self.wants_deadline = _has_parameter(function, "deadline")
        self._executor: ThreadPoolExecutor | None = None

    async def call(self, message: object, destination: str, deadline: float | None) -> object:
        """What the function answers."""
        named = {"deadline": deadline} if self.wants_deadline else {}
        if self.is_async:
            return await self.function(message, destination, **named)
        return await self._in_thread(message, destination, named)

    async def _in_thread(self, message: object, destination: str, named: Mapping[str, object]) -> object:
        """Calls the function in one of its threads, in the caller's context; awaits on the loop what it returns."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix=f"turnout-{self.name}")
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._executor, context.run, self._contained, message, destination, named)
        # Such as `lambda message, destination: client.send(message)` with an async `send`.
        return await result if inspect.isawaitable(result) else result

    def _contained(self, message: object, destination: str, named: Mapping[str, object]) -> object:
        try:
            return self.function(message, destination, **named)
        except StopIteration as error:  # a future cannot carry it: the attempt would never end
            raise DeliveryError("StopIteration", f"raised by transport {self.name!r}") from error
        except Exception:
            raise
        except BaseException as error:  # SystemExit in a worker thread is the function's failure, not the process's end
            raise DeliveryError(type(error).__name__, f"raised by transport {self.name!r}: {error}") from error

    def close(self) -> None:
        """Lets go of the threads; calls that have not begun are dropped, those that have go on to their end."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


class CallableTransport:
    """Hands messages to the function registered under one name. The function is looked up at each attempt.

    With ``batch`` a call at a time is under way for a destination, so that groups fill and keep the order of messages.
    """

    __slots__ = ("_batches", "_functions", "_grouped", "_name")

    def __init__(self, functions: Mapping[str, Registered], name: str) -> None:
        """``functions`` is shared with the registry, so that a function may also be given later, or exchanged."""
        self._functions = functions
        self._name = name
        self._grouped: Registered | None = None
        self._batches: Batches[tuple[object, str, float | None]] | None = None

    def open(self) -> None:
        """See :meth:`Transport.open`."""
        if self._name not in self._functions:
            raise ConfigError(self._unknown())

    async def send(
        self,
        message: object,
        destination: str,
        *,
        message_id: str,
        attempt: int,
        deadline: float | None = None,
        expires: float | None = None,
    ) -> object:
        """See :meth:`Transport.send`; returns what the function returned."""
        registered = self._functions.get(self._name)
        if registered is None:
            raise DeliveryError("no_transport", self._unknown(), retryable=False)
        if registered.batch is None:
            if registered.is_async and not registered.wants_deadline:  # the usual case, without a frame more
                return await registered.function(message, destination)
            return await registered.call(message, destination, deadline)
        if registered is not self._grouped or self._batches is None:
            write = functools.partial(_call_with_all, registered)
            self._grouped, self._batches = registered, Batches(write, limit=registered.batch, abandon=True)
        return await self._batches.add((message, destination, deadline))

    async def close(self) -> None:
        """Ends what was begun with groups. The registry owns the functions and their threads."""
        if self._batches is not None:
            await self._batches.close()

    def _unknown(self) -> str:
        known = ", ".join(sorted(self._functions)) or "none"
        return (
            f"no function is registered as {self._name!r} (registered: {known}); "
            f"call router.transport({self._name!r}, fn) before the router starts"
        )


async def _call_with_all(registered: Registered, group: list[tuple[object, str, float | None]]) -> Sequence[object]:
    """One answer a message of the group."""
    deadlines = [deadline for _, _, deadline in group if deadline is not None]
    latest = max(deadlines) if len(deadlines) == len(group) else None
    answers = await registered.call([message for message, _, _ in group], group[0][1], latest)
    if answers is None:
        return [None] * len(group)
    if not isinstance(answers, (list, tuple)) or len(answers) != len(group):
        kind = f"{len(answers)} answers" if isinstance(answers, (list, tuple)) else type(answers).__name__
        said = (
            f"transport {registered.name!r} answered {len(group)} messages by {kind}; return None, or one answer each"
        )
        raise DeliveryError("bad_answer", said)
    return answers


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    """Whether it can be given an argument of this name; ``**kwargs`` do not count, nor what cannot be inspected."""
    try:
        parameter = inspect.signature(function).parameters.get(name)
    except (TypeError, ValueError):  # such as a builtin
        return False
    return parameter is not None and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
