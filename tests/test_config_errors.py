"""The exceptions themselves: how they read, and that they can be passed between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from turnout import errors

EXCEPTIONS = [
    (errors.ConfigError([errors.Problem(("a", 0, "b c"), "no", "f", 1, 2)]), 'f:1:2: a[0]."b c": no'),
    (errors.ConfigError("no"), "no"),
    (errors.RuleError("r", "no", 1, 5), "rule 'r': no (line 1, column 5)"),
    (errors.RuleError("r", "no", path=("a", "0")), "rule 'r': no (at match.a.0)"),
    (errors.MessageError("message.x", "no"), "field 'message.x': no"),
    (errors.NoRouteError("no"), "no"),
    (errors.NoDestinationError("p", "no", 12.5), "pool 'p': no"),
    (errors.AccessDeniedError("no"), "no"),
    (errors.DeliveryError("timeout", "no", retryable=False, retry_after=2.0), "timeout: no"),
    (errors.DeliveryError("timeout"), "timeout"),
    (errors.LoadBalancingError("no"), "no"),
    (errors.FailoverError("no"), "no"),
    (errors.OptimizationError("no"), "no"),
]


@pytest.mark.parametrize(("error", "text"), EXCEPTIONS, ids=lambda value: type(value).__name__)
def test_an_exception_survives_pickling_and_copying(error: errors.TurnoutError, text: str) -> None:
    assert str(error) == text
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301 - its own
        assert type(other) is type(error)
        assert str(other) == text
        assert vars(other) == vars(error)


def test_a_problem_leaves_out_what_is_not_known() -> None:
    assert str(errors.Problem((), "no", "f")) == "f: no"
    assert str(errors.Problem((), "no", "f", 3)) == "f:3: no"
    assert str(errors.Problem(("a",), "no")) == "a: no"
