"""What the answer to a webhook means: delivered and how loaded the receiver is, or what becomes of the message.

Classes of answers:

- 2xx: delivered.
- 400, 405, 406, 409, 411, 413, 414, 415, 422, 431: the message is at fault; it is not tried again.
- 410, and any failure with the header ``webhook-delivery: abort-message`` (Svix): the receiver wants no further attempt
  at this message; it is not tried again either, here or elsewhere.
- 429, and 503 that says when to come back: overloaded, until then, an hour at most; 429 alone: for a second.
- Everything else (redirects, 401, 403, 404, 5xx, no answer): this destination failed; another may take it.

The header ``endpoint-load-metrics`` (ORCA, in its forms TEXT and JSON) of a delivered message tells the utilisation:
``application_utilization``, or else ``cpu_utilization``, as gRPC's A58 takes them; 0 there is a value that is not set.
"""

from __future__ import annotations

import email.utils
import json
import sys
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from ..errors import DeliveryError

_AT_FAULT: Final = frozenset({400, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431})
_LONGEST_PAUSE: Final = 3600.0
"""Seconds a destination may ask to be left alone: quotas are told by the hour; one that says a year is tried again."""
_PAUSE: Final = 1.0
"""Seconds a destination is left alone that says it is overloaded and not for how long."""
_ERROR_TEXT: Final = 200
"""Bytes of an answer that are kept in an error."""


class WebhookAnswer(NamedTuple):
    """What came back: ``Delivery.value``."""

    status: int
    body: bytes
    """Its first ``max_response`` bytes."""
    utilisation: float | None = None
    """How loaded the receiver says it is, above 0; 1 is all it can do. None: it does not say."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> DeliveryError:
    """The failure that an answer other than 2xx means. ``headers``: by name in any case."""
    asked = pause(headers.get("Retry-After"), time.time())
    stop = headers.get("webhook-delivery", "").strip().lower() == "abort-message"
    said = f"answered {status}" + (", and wants no further attempt" if stop else "")
    text = body[:_ERROR_TEXT].decode("utf-8", "replace")
    said += f": {text}" if text.isprintable() and text else ""
    if stop or status in _AT_FAULT:
        return DeliveryError(f"status_{status}", said, retryable=False)
    if status == 429 or (status == 503 and asked is not None):
        return DeliveryError(f"status_{status}", said, retry_after=_PAUSE if asked is None else asked)
    return DeliveryError(f"status_{status}", said)


def pause(retry_after: str | None, now: float) -> float | None:
    """Seconds that a ``Retry-After`` asks for, given as such or as a date (RFC 9110, 10.2.3); None if it says nothing.

    ``now``: Unix seconds. At least 0, at most an hour.
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:12])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def utilisation(metrics: str | None) -> float | None:
    """The utilisation that ``endpoint-load-metrics`` tells, above 0; None where it tells none, or cannot be read."""
    if metrics is None:
        return None
    form, _, report = metrics.partition(" ")
    told: Mapping[str, object]
    if form == "TEXT":
        pairs = (pair.partition("=") for pair in report.split(","))
        told = {name.strip(): value for name, _, value in pairs}
    elif form == "JSON":
        try:
            read = json.loads(report)
        except (ValueError, RecursionError):
            return None
        told = read if isinstance(read, dict) else {}
    else:
        return None
    return _load(told.get("application_utilization")) or _load(told.get("cpu_utilization"))


def _load(value: object) -> float | None:
    """A load above 0; None for all else."""
    if not isinstance(value, (str, int, float)):
        return None
    try:
        load = float(value)
    except (ValueError, OverflowError):
        return None
    return load if 0.0 < load <= sys.float_info.max else None
