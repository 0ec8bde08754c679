"""The envelope, CloudEvents, and what is read of a message before it is accepted."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from turnout.delivery.admission import read_envelope
from turnout.errors import MessageError
from turnout.message import Message, new_id


def test_a_message_has_an_id_and_the_middle_priority() -> None:
    message = Message({"text": "hi"})
    assert message.priority == 4
    assert message.id
    assert message.id != Message().id
    assert message.headers == {}


def test_a_message_is_a_value() -> None:
    message = Message({"a": 1}, id="m", deadline=datetime(2030, 1, 1, tzinfo=UTC))
    assert copy.deepcopy(message) == pickle.loads(pickle.dumps(message)) == message  # noqa: S301
    with pytest.raises(AttributeError):
        message.id = "n"  # type: ignore[misc]


def test_ids_are_unique() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({"priority": 10}, "message.priority", "0 (least urgent) to 9"),
        ({"ordering_key": ""}, "message.ordering_key", "an empty text"),
        ({"not_before": 5.0}, "message.not_before", "time zone"),
        ({"priority": True}, "message.priority", "is a bool"),
        ({"priority": "5"}, "message.priority", "is a str"),
        ({"id": ""}, "message.id", "an empty text"),
        ({"id": 5}, "message.id", "an int"),
        ({"channel": 5}, "message.channel", "give a text or None"),
        ({"key": b"k"}, "message.key", "is a bytes"),
        ({"headers": [("a", "b")]}, "message.headers", "is a list"),
        ({"headers": {"a": 1}}, "message.headers", "'a' is an int"),
        ({"headers": {1: "a"}}, "message.headers", "both its name and its value are text"),
        ({"deadline": 12.0}, "message.deadline", "time zone"),
        ({"deadline": datetime(2030, 1, 1)}, "message.deadline", "time zone"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(fields: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(MessageError) as caught:
        Message(**fields)
    assert caught.value.field == field
    assert remedy in str(caught.value)


EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/shop",
    "type": "com.example.order.paid",
    "datacontenttype": "application/json",
    "data": {"total": 12},
    "partitionkey": "customer-7",
    "expirytime": "2030-01-01T00:00:00Z",
    "dataclassification": "confidential",
    "priority": 8,
    "sampled": True,
}


@pytest.mark.parametrize("form", ["mapping", "text", "bytes"])
def test_a_cloudevent_becomes_a_message(form: str) -> None:
    event: Any = {"mapping": EVENT, "text": json.dumps(EVENT), "bytes": json.dumps(EVENT).encode()}[form]
    message = Message.from_cloudevent(event)
    assert (message.id, message.channel, message.content) == ("e-1", "com.example.order.paid", {"total": 12})
    assert (message.key, message.classification, message.priority) == ("customer-7", "confidential", 8)
    assert message.deadline == datetime(2030, 1, 1, tzinfo=UTC)
    assert message.headers["ce-source"] == "/shop"
    assert message.headers["ce-sampled"] == "true"
    assert "ce-data" not in message.headers


def test_a_cloudevent_may_carry_bytes() -> None:
    event = {**EVENT, "data_base64": base64.b64encode(b"\x00\xff").decode()}
    assert Message.from_cloudevent(event).content == b"\x00\xff"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "event.id"),
        ({"source": ""}, "event.source"),
        ({"type": 5}, "event.type"),
        ({"specversion": "0.3"}, "event.specversion"),
        ({"data_base64": "not base64!"}, "event.data_base64"),
        ({"data_base64": 5}, "event.data_base64"),
        ({"expirytime": "soon"}, "event.expirytime"),
        ({"expirytime": 5}, "message.deadline"),
        ({"priority": "high"}, "message.priority"),
    ],
)
def test_what_is_no_cloudevent_is_refused_by_attribute(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MessageError) as caught:
        Message.from_cloudevent({**EVENT, **changes})
    assert caught.value.field == field


@pytest.mark.parametrize("event", ["{", b"\xff", "[]", 5])
def test_what_is_no_event_at_all_is_refused(event: Any) -> None:
    with pytest.raises(MessageError, match="event"):
        Message.from_cloudevent(event)


@dataclass
class Order:
    total: int
    id: str = "o-1"
    priority: int = 7


class Model(BaseModel):
    id: str = "m-1"
    priority: int | None = None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"id": "x", "priority": 9}, ("x", 9)),
        (MappingProxyType({"id": "x"}), ("x", 4)),
        ({"id": "x", "priority": None}, ("x", 4)),
        (Order(5), ("o-1", 7)),
        (Model(), ("m-1", 4)),
        (Message(id="y", priority=0), ("y", 0)),
        (b'{"id": "z", "priority": 1}', ("z", 1)),
        (bytearray(b'{"id": "z"}'), ("z", 4)),
    ],
)
def test_id_and_priority_are_read_from_any_kind_of_message(message: Any, expected: tuple[str, int]) -> None:
    assert read_envelope(message, strict=True)[:2] == expected


@pytest.mark.parametrize("message", [{}, {"id": 5}, {"id": ""}, {"id": None}, b"{}"])
def test_a_message_without_an_id_gets_one(message: Any) -> None:
    assert len(read_envelope(message, strict=True)[0]) > 8


def test_only_the_envelope_has_a_deadline() -> None:
    assert read_envelope({"deadline": "tomorrow"}, strict=True).expires is None
    assert read_envelope(Message(deadline=datetime.fromtimestamp(5.0, UTC)), strict=True).expires == 5.0


@pytest.mark.parametrize(
    "time", [datetime.fromtimestamp(1e9, UTC), "2001-09-09T01:46:40Z", "2001-09-09T03:46:40+02:00", 10**9, 1e9]
)
def test_times_and_the_ordering_key_are_read_of_every_kind_of_message(time: Any) -> None:
    @dataclass
    class Timed:
        not_before: Any
        expires_at: Any
        ordering_key: str = "k"

    class Model(BaseModel):
        not_before: Any
        expires_at: Any
        ordering_key: str = "k"

    fields = {"not_before": time, "expires_at": time, "ordering_key": "k"}
    messages: list[Any] = [fields, Timed(time, time), Model(not_before=time, expires_at=time)]
    if not isinstance(time, datetime):
        messages.append(json.dumps(fields).encode())
    for message in messages:
        assert read_envelope(message, strict=True)[2:] == (1e9, 1e9, "k")
    when = datetime.fromtimestamp(1e9, UTC)
    assert read_envelope(Message(not_before=when, ordering_key="k"), strict=True)[2:] == (1e9, None, "k")


def test_an_expiry_of_0_is_one() -> None:
    assert read_envelope({"expires_at": 0}, strict=True).expires == 0.0


BAD = [
    (None, "message", "NoneType"),
    (5, "message", "int"),
    ("text", "message", "str"),
    ([{"a": 1}], "message", "list"),
    (Order, "message", "type"),
    ({1: "a"}, "message", "the key '1' of type int"),
    ({"a": 1, None: 2}, "message", "keys"),
    ({"priority": 10}, "message.priority", "0 (least urgent) to 9"),
    ({"priority": -1}, "message.priority", "is -1"),
    ({"priority": 4.0}, "message.priority", "a float"),
    ({"not_before": "tomorrow"}, "message.not_before", "RFC 3339 text such as 2030-01-31T08:00:00Z"),
    ({"not_before": "2030-01-31"}, "message.not_before", "a str"),
    ({"not_before": datetime.fromtimestamp(5.0)}, "message.not_before", "with a time zone"),
    ({"expires_at": 1_700_000_000_000}, "message.expires_at", "Unix seconds"),
    ({"expires_at": True}, "message.expires_at", "is True"),
    ({"expires_at": float("nan")}, "message.expires_at", "is nan"),
    ({"expires_at": -1}, "message.expires_at", "is -1"),
    ({"ordering_key": ""}, "message.ordering_key", "an empty text"),
    ({"ordering_key": 5}, "message.ordering_key", "1 to 1,024 characters"),
    ({"ordering_key": "k" * 1025}, "message.ordering_key", "a text of 1025 characters"),
    ({"priority": True}, "message.priority", "a bool"),
    ({"priority": 10**30}, "message.priority", "an int"),
    ({"priority": float("nan")}, "message.priority", "a float"),
    (b"", "message", "not JSON"),
    (b"\xff\xfe", "message", "not UTF-8 text at byte 0"),
    (b'{"a": 1', "message", "line 1, column 8"),
    (b"[1]", "message", "a message is a JSON object"),
    (b'{"a": NaN}', "message", "NaN is not a JSON value"),
    (b'{"a": -Infinity}', "message", "Infinity"),
    (b'{"a": "' + b"\x00" + b'"}', "message", "control character"),
    (b'{"a": ' + b"9" * 5000 + b"}", "message", "not JSON"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "message", "nested too deeply"),
]


@pytest.mark.parametrize(("message", "field", "words"), BAD, ids=range(len(BAD)))
def test_what_is_no_message_is_refused_by_field_and_in_words(message: Any, field: str, words: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_envelope(message, strict=True)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("message", "field", "words"), BAD, ids=range(len(BAD)))
def test_without_validation_a_new_id_and_the_middle_priority_do(message: Any, field: str, words: str) -> None:
    name, *others = read_envelope(message, strict=False)
    assert name
    assert others == [4, None, None, None]
