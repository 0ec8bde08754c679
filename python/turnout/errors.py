"""Every exception of the package: one tree under :class:`TurnoutError`.

All of them survive pickling and copying: positional arguments rebuild the exception, attributes travel with it.
Messages name the rule, field, pool or key, and what to write instead. None holds a secret's value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_PLAIN_KEY = re.compile(r"[\w-]+")


class TurnoutError(Exception):
    """Everything this package raises on purpose; catch it to catch all of them."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration, and where it stands."""

    path: tuple[str | int, ...]
    """Keys and list positions (from 0) from the top; empty for the file as a whole."""
    message: str
    """What is wrong and what to write instead."""
    file: str | None = None
    """The file's name as it was given; None if the configuration came from code."""
    line: int | None = None
    """Line of the key or value, from 1; None if unknown."""
    column: int | None = None
    """Column in characters, from 1; None if unknown."""

    def __str__(self) -> str:
        """``router.yaml:12:5: message_router.pools.sms.polcy: unknown key; did you mean 'policy'?``"""
        place = self.file or ""
        if self.line is not None:
            place = f"{place or 'line'}:{self.line}" + (f":{self.column}" if self.column is not None else "")
        return ": ".join(part for part in (place, render_path(self.path), self.message) if part)


def render_path(path: tuple[str | int, ...]) -> str:
    """A path as people write it: ``message_router.rules[2].to``; odd keys are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _PLAIN_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


class ConfigError(TurnoutError, ValueError):
    """A configuration that cannot go live: raised when one is loaded, built, or reloaded.

    Lists every problem found, in the order of the file; ``str()`` gives one a line.
    """

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        """``problems``: at least one; a text stands for one problem without a place."""
        self.problems = (Problem((), problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class RuleError(TurnoutError, ValueError):
    """A rule whose ``when`` or ``match`` cannot be compiled: raised when rules are added, loaded or reloaded."""

    others: tuple[RuleError, ...] = ()
    """The errors of further rules, where several were compiled at once."""

    def __init__(
        self,
        rule: str,
        problem: str,
        line: int | None = None,
        column: int | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        """``line`` and ``column`` (from 1) stand in the ``when`` text; ``path`` is the keys inside ``match``."""
        self.rule, self.problem, self.line, self.column, self.path = rule, problem, line, column, tuple(path)
        super().__init__(rule, problem, line, column, self.path)

    def __str__(self) -> str:
        place = ""
        if self.line is not None:
            place = f" (line {self.line}, column {self.column})"
        elif self.path:
            place = f" (at match.{'.'.join(self.path)})"
        return f"rule {self.rule!r}: {self.problem}{place}"


class MessageError(TurnoutError, ValueError):
    """A message that cannot be read: not a mapping, or a field a rule names holds no value of the message model.

    A field that is missing, or of another type than the rule expects, is no error but no match.
    """

    def __init__(self, field: str, problem: str) -> None:
        """``field``: the path of the field, such as ``message.order.total``; ``message`` for the whole."""
        self.field, self.problem = field, problem
        super().__init__(field, problem)

    def __str__(self) -> str:
        return f"field {self.field!r}: {self.problem}"


class NoRouteError(TurnoutError):
    """No stage gave the message a route and there is no default: raised by ``route`` and ``acquire``.

    A message that was accepted becomes a dead letter instead (``no_route``).
    """


class NoDestinationError(TurnoutError):
    """A route was found, but no destination of its pools may receive the message now.

    Raised by ``route``, ``acquire``, and by ``Pool.select`` and ``Pool.acquire``.
    """

    def __init__(
        self,
        pool: str,
        reason: str = "no destination may receive the message now",
        retry_at: float | None = None,
        full: bool = False,
        moved: bool = False,
        overloaded: bool = False,
    ) -> None:
        """What there is to wait for.

        - ``retry_at``: when the earliest ejection or pause ends, or a rate limit allows another message, in Unix
          seconds; None if waiting for that will not help.
        - ``full``: some destinations are fit and at their in-flight cap or rate limit, so there may be room soon.
        - ``moved``: some that were asked for are not where the pool's messages go: an operator failed them over, or
          they are backups that are not used.
        - ``overloaded``: some work and take no more for now: they asked for a pause, or are at their rate limit.
        """
        self.pool, self.reason, self.retry_at, self.full, self.moved = pool, reason, retry_at, full, moved
        self.overloaded = overloaded
        super().__init__(pool, reason, retry_at, full, moved, overloaded)

    def __str__(self) -> str:
        return f"pool {self.pool!r}: {self.reason}"


class AccessDeniedError(TurnoutError):
    """The message's principal or classification is not allowed what was asked."""


class DeliveryError(TurnoutError):
    """One attempt to deliver failed: raised by transports. ``dispatch`` and ``accept`` raise it if they accept nothing.

    A transport raises it to say how the failure is to be taken; any other exception counts as retryable.
    """

    def __init__(
        self, kind: str, message: str = "", *, retryable: bool = True, retry_after: float | None = None
    ) -> None:
        """How an attempt failed.

        - ``kind``: a short stable word for metrics, such as ``timeout``, ``refused``, ``rejected``.
        - ``retryable``: whether another attempt may succeed, here or elsewhere.
        - ``retry_after``: seconds the destination asked to be left alone; marks it overloaded, not broken.
        """
        self.kind, self.retryable, self.retry_after = kind, retryable, retry_after
        super().__init__(kind, message)

    def __str__(self) -> str:
        kind, message = self.args
        return f"{kind}: {message}" if message else str(kind)


class LoadBalancingError(TurnoutError):
    """``balance_load`` cannot work: no destinations, or a policy that cannot serve them."""


class FailoverError(TurnoutError):
    """Nobody to fail over to: ``manage_failover`` without destinations or a pool that has all of them; ``fail_over``
    without another destination that may serve."""


class OptimizationError(TurnoutError):
    """``optimize_route`` cannot work: no objective asked for, or costs or outcomes that cannot be computed with."""
