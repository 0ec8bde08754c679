"""What is read of a message before it is accepted: that it is one, its id, its priority, its deadline.

Costs about 0.5 µs for a dict. The rest of a message is not looked at here: rules read the fields they name, and a
transport refuses what it cannot send; either way the message is accounted for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ..errors import MessageError
from ..message import DEFAULT_PRIORITY, MAX_PRIORITY, Message, json_object, new_id, priority_error

_EXPECTED: Final = (
    "give a mapping with text keys, a turnout.Message, a dataclass, a pydantic model, or a JSON object as bytes"
)


def read_envelope(message: object, *, strict: bool, default: str | None = None) -> tuple[str, int, float | None]:
    """The id, the priority, and the deadline (Unix seconds) of a message.

    Only a :class:`Message` has a deadline: elsewhere a field of that name is the message's own business.

    Args:
        message: as given by the user.
        default: the id of a message that has none; None: a new one.
        strict: raise for what is wrong, rather than going on with a new id and the default priority.

    Raises:
        MessageError: not a message, or ``priority`` is no integer from 0 to 9; names the field and the remedy.
    """
    if isinstance(message, Message):
        return message.id, message.priority, None if message.deadline is None else message.deadline.timestamp()
    try:
        name, priority = _id_and_priority(message)
    except MessageError:
        if strict:
            raise
        return default or new_id(), DEFAULT_PRIORITY, None
    if priority is None:
        priority = DEFAULT_PRIORITY
    elif type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
        if strict:
            raise priority_error(priority)
        priority = DEFAULT_PRIORITY
    return name if isinstance(name, str) and name else default or new_id(), priority, None


def _id_and_priority(message: object) -> tuple[Any, Any]:
    if isinstance(message, dict):
        fields: Mapping[Any, Any] = message
    elif isinstance(message, (bytes, bytearray, memoryview)):
        fields = json_object(message, "message")
    elif isinstance(message, Mapping):
        fields = message
    elif not isinstance(message, type) and (
        dataclasses.is_dataclass(message) or hasattr(type(message), "__pydantic_fields__")
    ):
        return getattr(message, "id", None), getattr(message, "priority", None)
    else:
        raise MessageError("message", f"is of type {type(message).__name__}; {_EXPECTED}")
    for key in fields:
        if not isinstance(key, str):
            raise MessageError("message", f"has the key {str(key)[:100]!r} of type {type(key).__name__}; {_EXPECTED}")
    return fields.get("id"), fields.get("priority")
