"""What a message says to a person: subject, text and HTML, for channels that people read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from ..message import json_object
from .encoding import body_of, content_of


class Wording(NamedTuple):
    """Of one message."""

    subject: str
    text: str
    html: str | None = None


def wording_of(message: object, subject: str, part: str = "message") -> Wording:
    """Content that is a text is the text; a mapping may give ``subject``, ``text`` and ``html``; anything else is JSON.

    - ``subject``: of a message whose content has none.
    - ``part``: ``content`` takes the content as it is for the text.

    Raises:
        DeliveryError: kind ``unencodable``, not retryable.
    """
    if part == "content":
        return Wording(subject, body_of(message, "content").decode("utf-8", "replace"))
    content = content_of(message)
    if isinstance(content, str):
        return Wording(subject, content)
    if isinstance(content, Mapping) and isinstance(content.get("text"), str):
        own, html = content.get("subject"), content.get("html")
        return Wording(
            own if isinstance(own, str) else subject, content["text"], html if isinstance(html, str) else None
        )
    return Wording(subject, json.dumps(json_object(body_of(message), "message"), ensure_ascii=False, indent=1))
