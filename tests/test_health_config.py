"""The key `health_check` of a destination: what it takes, and what it says of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from turnout.config import HealthCheckConfig, load_dict
from turnout.errors import ConfigError


def check(**keys: Any) -> HealthCheckConfig:
    found = load_dict({"destinations": {"a": {"health_check": keys}}}).destinations["a"].health_check
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"http": "https://host:8443/healthz"}, "http"),
        ({"http": "http://[::1]/", "status": [200, "300-302"], "body": "ok", "method": "GET"}, "http"),
        ({"tcp": "host:1"}, "tcp"),
        ({"tls": "[::1]:443", "server_name": "x"}, "tls"),
        ({"callable": "f"}, "callable"),
        ({"heartbeat": "10s"}, "heartbeat"),
    ],
)
def test_a_check_has_one_kind(keys: dict[str, Any], kind: str) -> None:
    assert check(**keys).kind == kind


@pytest.mark.parametrize(
    ("written", "codes"),
    [(204, ((204, 204),)), ("200-299", ((200, 299),)), ([200, "400-404"], ((200, 200), (400, 404)))],
)
def test_status_is_a_code_a_range_or_a_list(written: object, codes: object) -> None:
    assert check(http="http://h/", status=written).status == codes


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "give one of http, tcp, tls, callable, heartbeat"),
        ({"interval": "1s"}, "give one of"),
        ({"tcp": "h:1", "http": "http://h/"}, "one kind"),
        ({"http": "ftp://h/"}, "expected a url"),
        ({"http": "http://h:x/"}, "expected a url"),
        ({"http": "//h/"}, "expected a url"),
        ({"tcp": "h"}, "host:port"),
        ({"tcp": "h:0"}, "host:port"),
        ({"tcp": "h:99999"}, "host:port"),
        ({"tcp": "u@h:1/x"}, "host:port"),
        ({"tcp": "h:1", "body": "x"}, "is for http"),
        ({"tcp": "h:1", "ca_file": "x"}, "is for tls and https"),
        ({"http": "http://h/", "server_name": "x"}, "is for tls and https"),
        ({"heartbeat": "1s", "fall": 2}, "is for checks that ask"),
        ({"http": "http://h/", "status": 99}, "between 100 and 599"),
        ({"http": "http://h/", "status": "299-200"}, "lower one"),
        ({"http": "http://h/", "status": "ok"}, "a status such as"),
        ({"http": "http://h/", "status": []}, "must not be empty"),
        ({"tcp": "h:1", "fall": 0}, "at least 1"),
        ({"tcp": "h:1", "timeout": "0s"}, "longer than 0"),
        ({"tcp": "h:1", "intervall": "1s"}, "interval"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        check(**keys)
    assert "destinations.a.health_check" in str(caught.value)
