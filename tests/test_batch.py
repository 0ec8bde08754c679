"""Batches: the answers of one-by-one, in order, whatever the number of threads; errors in their places; columns."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.strategies import Rule, as_json, messages, profile, rule_sets
from turnout import ConfigError, MessageError, NoRouteError, Router, RuleSet, TurnoutError

THREADS = (None, 1, 2, 7)
MANY = 1_000  # several chunks, so that several threads take part


def rule(id: str, when: str, priority: int = 0) -> dict[str, Any]:
    return {"id": id, "when": when, "priority": priority}


def said(answer: object) -> object:
    """An answer in a form that can be compared; a decision without what chance decided."""
    return (type(answer).__name__, str(answer)) if isinstance(answer, Exception) else answer


def ndjson(batch: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in batch)


NUMBERS = RuleSet([rule(f"n{number}", f"message.n % 10 == {number}", number % 3) for number in range(7)])
BATCH = [{"n": number, "text": "x" * (number % 50)} for number in range(MANY)]
EXPECTED = [f"n{number % 10}" if number % 10 < 7 else None for number in range(MANY)]


# Raw JSON


@profile
@given(rules=rule_sets(), batch=st.lists(messages, max_size=6), threads=st.sampled_from(THREADS))
def test_raw_batches_answer_as_their_messages_do(
    rules: list[Rule], batch: list[dict[str, Any]], threads: int | None
) -> None:
    engine = RuleSet(rules)
    raws = [raw for raw in map(as_json, batch) if raw is not None]
    expected = [engine.first_json(raw) for raw in raws]
    assert engine.first_many(raws, threads=threads) == expected
    assert engine.first_ndjson(b"\n".join(raws), threads=threads) == expected


@pytest.mark.parametrize("threads", THREADS)
def test_order_is_kept_on_any_number_of_threads(threads: int | None) -> None:
    assert NUMBERS.first_ndjson(ndjson(BATCH), threads=threads) == EXPECTED
    assert NUMBERS.first_many([json.dumps(message).encode() for message in BATCH], threads=threads) == EXPECTED
    assert NUMBERS.first_many(BATCH, threads=threads) == EXPECTED
    assert NUMBERS.first_many(iter(BATCH), threads=threads) == EXPECTED


@pytest.mark.parametrize("kind", ["ndjson", "bytes", "objects and bytes"])
def test_bad_messages_are_errors_in_their_places(kind: str) -> None:
    raws = [json.dumps(message).encode() for message in BATCH]
    bad = {0: b"{", 1: b"[1]", 129: b'{"n": 99999999999999999999}', 500: b'{"n": "\xff"}', MANY - 1: b"null"}
    for place, raw in bad.items():
        raws[place] = raw
    if kind == "ndjson":
        found = NUMBERS.first_ndjson(b"\n".join(raws))
    else:
        found = NUMBERS.first_many(raws if kind == "bytes" else [*raws[:-1], 7])  # type: ignore[list-item]
    assert len(found) == MANY
    for place, (answer, expected) in enumerate(zip(found, EXPECTED, strict=True)):
        if place in bad:
            assert isinstance(answer, MessageError), place
        else:
            assert answer == expected
    errors = [found[place] for place in sorted(bad)]
    assert [error.field for error in errors] == ["message", "message", "message.n", "message", "message"]  # type: ignore[union-attr]


def test_an_error_in_a_batch_is_the_one_that_the_message_alone_raises() -> None:
    for raw in (b"[1]", b'{"n": 99999999999999999999}', b'{"n": ', b'"\xff"'):
        with pytest.raises(MessageError) as caught:
            NUMBERS.first_json(raw)
        assert [said(answer) for answer in NUMBERS.first_ndjson(raw)] == [said(caught.value)]
        assert [said(answer) for answer in NUMBERS.first_many([raw])] == [said(caught.value)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"\n \t\r\n\n", []),
        (b'{"n":1}', ["n1"]),
        (b'{"n":1}\n', ["n1"]),
        (b'\n\n{"n":1}\r\n  \r\n{"n":2}\r\n\n', ["n1", "n2"]),
        (b'  {"n":3}  \n\n{"n":9}', ["n3", None]),
    ],
)
def test_blank_lines_have_no_answer(raw: bytes, expected: list[str | None]) -> None:
    assert NUMBERS.first_ndjson(raw) == expected


def test_an_error_of_ndjson_names_the_line_in_the_whole() -> None:
    (_, error) = NUMBERS.first_ndjson(b'{"n":1}\n\n\n{"n":}\n')
    assert "line 4, column 6" in str(error)


def test_an_empty_batch_has_no_answers() -> None:
    assert NUMBERS.first_many([]) == NUMBERS.first_ndjson(b"") == []
    router = router_of()
    assert router.route_many([]) == router.route_ndjson(b"") == []


def test_a_set_without_rules_matches_nothing_and_still_reads_the_messages() -> None:
    nothing, bad = RuleSet().first_ndjson(b"{}\n{")
    assert nothing is None
    assert isinstance(bad, MessageError)


@pytest.mark.parametrize("raw", ["{}", bytearray(b"{}"), None])
def test_ndjson_is_bytes(raw: Any) -> None:
    with pytest.raises(TypeError):
        NUMBERS.first_ndjson(raw)


def test_no_thread_at_all_is_refused() -> None:
    for call in (
        lambda: NUMBERS.first_ndjson(b"", threads=0),
        lambda: NUMBERS.first_many([], threads=0),
        lambda: NUMBERS.first_arrays({}, threads=0),
        lambda: router_of().route_many([], threads=0),
        lambda: router_of().route_ndjson(b"", threads=0),
    ):
        with pytest.raises(ConfigError, match="threads is 0"):
            call()


def test_an_exception_that_is_not_ours_ends_the_batch() -> None:
    def failing() -> Any:
        yield {"n": 1}
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        NUMBERS.first_many(failing())


def test_a_batch_is_answered_by_one_state_of_the_rules_while_they_change() -> None:
    rules = RuleSet([rule("base", "true")])
    raw, raws = ndjson(BATCH), [b'{"n": 1}'] * MANY
    stop = threading.Event()
    wrong: list[object] = []

    def read(batch: Any, argument: Any) -> None:
        while not stop.is_set():
            found = batch(argument, threads=2)
            if len(found) != MANY or set(found) not in ({"base"}, {"extra"}):
                wrong.append(set(found))

    readers = [
        threading.Thread(target=read, args=args)
        for args in ((rules.first_ndjson, raw), (rules.first_many, raws), (rules.first_many, BATCH))
    ]
    for reader in readers:
        reader.start()
    for _ in range(100):
        rules.add(rule("extra", "message.n >= 0", 5))
        rules.remove("extra")
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_other_threads_run_while_a_batch_is_matched() -> None:
    """The one thread that is left makes progress only if the batch gave up the GIL."""
    rules = RuleSet([rule(f"r{number}", f'message.text.matches("^{number}(a|b)*$")') for number in range(50)])
    raw = ndjson([{"text": "x" * 100}]) * 100_000
    started, ended = threading.Event(), threading.Event()
    seen = 0

    def match() -> None:
        started.set()
        rules.first_ndjson(raw, threads=1)
        ended.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # nobody is made to give up the GIL
    try:
        thread = threading.Thread(target=match)
        thread.start()
        started.wait()
        while not ended.wait(0.0005):
            seen += 1
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert seen > 0


# Routers


CONFIG: dict[str, Any] = {
    "destinations": {name: {} for name in ("a1", "a2", "a3", "b1", "b2")},
    "pools": {
        "a": {"policy": "random", "destinations": ["a1", "a2", "a3"]},
        "b": {"policy": "weighted_round_robin", "destinations": ["b1", "b2"]},
    },
}


def router_of(**more: Any) -> Router:
    return Router(
        {**CONFIG, **more.pop("config", {})},
        rules=[
            {"id": "a", "when": "message.n % 3 == 0", "to": "a"},
            {"id": "both", "when": "message.n % 3 == 1", "to": ["a", "b"], "mode": "all"},
        ],
        seed=more.pop("seed", 11),
        **more,
    )


def fate(answer: Any) -> object:
    return said(answer) if isinstance(answer, Exception) else answer.as_dict()


def one_by_one(router: Router, batch: list[Any]) -> list[object]:
    found: list[object] = []
    for message in batch:
        try:
            found.append(fate(router.route(message)))
        except TurnoutError as error:
            found.append(fate(error))
    return found


@pytest.mark.parametrize("threads", THREADS)
def test_with_a_seed_a_batch_is_routed_as_its_messages_are_one_by_one(threads: int | None) -> None:
    raws = [json.dumps(message).encode() for message in BATCH]
    raws[3], raws[700] = b"[]", b'{"n": 3, "classification": "odd"}'
    expected = one_by_one(router_of(), raws)
    many, lines = router_of(), router_of()
    assert [fate(answer) for answer in many.route_many(raws, threads=threads)] == expected
    assert [fate(answer) for answer in lines.route_ndjson(b"\n".join(raws), threads=threads)] == expected
    kinds = {answer[0] for answer in expected if isinstance(answer, tuple)}
    assert kinds == {"MessageError", "NoRouteError"}
    assert router_of().route_many(BATCH)[2].__class__ is NoRouteError
    routed = sum(isinstance(answer, dict) for answer in expected)
    for router in (many, lines):
        stats = router._stats()
        assert (stats["decisions"], sum(stats["by_rule"].values())) == (routed, routed)
        assert stats["no_route"] == sum(
            isinstance(answer, tuple) and answer[0] == "NoRouteError" for answer in expected
        )


STAGES = {
    "config": {"routing": {"routing_rules": ["content_based", "custom_rules", "destination_based"]}, "default": "b"}
}


def test_custom_rules_are_asked_in_order_where_the_stage_is_reached() -> None:
    batch = [{"n": number, "destination": "b2" if number % 2 else None} for number in range(400)]
    asked: list[int] = []

    def custom(message: Any) -> str | None:
        asked.append(message["n"])
        return "a2" if message["n"] % 4 == 0 else None

    def routed(call: Any) -> list[object]:
        asked.clear()
        router = router_of(**json.loads(json.dumps(STAGES)))
        router.custom_rule("fours", custom)
        answers = [fate(answer) for answer in call(router)]
        assert asked == [number for number in range(400) if number % 3 == 2]
        return answers

    raws = [json.dumps(message).encode() for message in batch]
    expected = routed(lambda router: router.route_many(batch))
    assert {answer["stage"] for answer in expected if isinstance(answer, dict)} == {
        "content_based",
        "custom_rules",
        "destination_based",
        "default",
    }
    assert routed(lambda router: router.route_many(raws)) == expected
    assert routed(lambda router: router.route_ndjson(b"\n".join(raws))) == expected


def test_a_batch_under_way_finishes_on_the_configuration_it_began_with() -> None:
    router = router_of(default="b")
    raw = ndjson(BATCH)
    generations: list[set[int]] = []

    def route() -> None:
        batches = (router.route_ndjson(raw) for _ in range(20))
        generations.extend({decision.generation for decision in batch} for batch in batches)  # type: ignore[union-attr]

    thread = threading.Thread(target=route)
    thread.start()
    while thread.is_alive():
        router.reload(CONFIG)
    thread.join()
    assert all(len(seen) == 1 for seen in generations)


# Columns


def by_rows(rules: RuleSet, columns: dict[str, Any], rows: int) -> list[int]:
    """The same by one message a row, each column's value at its path."""
    found = []
    for row in range(rows):
        message: dict[str, Any] = {}
        for path, column in columns.items():
            *above, last = path.split(".")
            inner = message
            for key in above:
                inner = inner.setdefault(key, {})
            inner[last] = column[row]
        first = rules.first(message)
        found.append(-1 if first is None else rules.ids.index(first))
    return found


COLUMN_RULES = RuleSet(
    [
        rule("dear", "message.order.total > 100.0", 9),
        rule("flagged", "message.flag && message.n != 3", 8),
        rule("unset", "message.note == null", 7),
        rule("big", "message.u > 9223372036854775807", 6),
        rule("int", "type(message.u) == int && message.u == 4", 5),
        {"id": "text", "match": {"channel": [{"prefix": "s"}]}, "priority": 4},
        rule("whole", "message.order.size() == 2 && message.order.kind == 'x'", 3),
        rule("absent", "has(message.missing)", 2),
        rule("nan", "message.order.total != message.order.total", 1),
    ]
)


@pytest.mark.parametrize("threads", THREADS)
def test_columns_answer_as_rows_do(threads: int | None) -> None:
    dice = np.random.default_rng(5)
    rows = MANY
    total = dice.choice([1.5, 100.0, 100.5, np.nan], rows)
    columns: dict[str, Any] = {
        "order.total": total,
        "order.kind": dice.choice(["x", "y"], rows).tolist(),
        "flag": dice.random(rows) < 0.3,
        "n": dice.integers(0, 5, rows).astype("int16"),
        "u": dice.choice(np.array([4, 5, 2**63], dtype="uint64"), rows),
        "note": dice.choice(np.array([None, "", "none"], dtype=object), rows, p=[0.1, 0.4, 0.5]),
        "channel": dice.choice(["sms", "fax"], rows, p=[0.2, 0.8]),
    }
    plain = {name: column if isinstance(column, list) else column.tolist() for name, column in columns.items()}
    expected = by_rows(COLUMN_RULES, plain, rows)
    assert {-1, 0, 1, 2, 3, 4, 5, 6, 8} == set(expected)
    found = COLUMN_RULES.first_arrays(columns, threads=threads)
    assert found.dtype == np.int32
    assert found.flags.writeable
    assert found.tolist() == expected
    assert COLUMN_RULES.first_arrays(plain, threads=threads).tolist() == expected


@profile
@given(rules=rule_sets(), batch=st.lists(messages, min_size=1, max_size=5))
def test_columns_of_any_values_answer_as_messages_do(rules: list[Rule], batch: list[dict[str, Any]]) -> None:
    """Rows that have the same keys: the messages of the batch, cut to the keys they have in common."""
    keys = [key for key in batch[0] if "." not in key and key and all(key in message for message in batch)]
    rows = [{key: message[key] for key in keys} for message in batch]
    engine = RuleSet(rules)
    columns = {key: [row[key] for row in rows] for key in keys}
    expected = [-1 if found is None else engine.ids.index(found) for found in map(engine.first, rows)]
    assert engine.first_arrays(columns).tolist() == (expected if keys else [])


@pytest.mark.parametrize(
    "column",
    [
        *(
            np.array([0, 1, 7, 1], dtype=dtype)
            for dtype in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">u8")
        ),
        *(np.array([0, 1, 7, 1], dtype=dtype) for dtype in ("f2", "f4", "f8", ">f8", object)),
        np.array([0, 9, 1, 9, 7, 9, 1, 9])[::2],
        np.array([1, 7, 1, 0])[::-1],
        [0, 1, 7, 1],
        (0, 1.0, 7, 1),
    ],
    ids=lambda column: f"{getattr(column, 'dtype', type(column).__name__)}",
)
def test_numbers_are_read_whatever_their_dtype_and_stride(column: Any) -> None:
    assert RuleSet([rule("one", "message.x == 1")]).first_arrays({"x": column}).tolist() == [-1, 0, -1, 0]


def test_a_list_of_mixed_types_keeps_them() -> None:
    rules = RuleSet(
        [rule("number", "message.x == 1"), rule("text", "message.x == '1'"), rule("bool", "message.x == true")]
    )
    assert rules.first_arrays({"x": [1, "1", True, 2**63]}).tolist() == [0, 1, 2, -1]


@pytest.mark.parametrize("values", [[1, 5], [1.0, 5.0], [True, False], ["a", "b"], np.array([1, "x"], dtype=object)])
def test_what_a_masked_array_masks_is_null(values: Any) -> None:
    masked = np.ma.MaskedArray(np.asarray(values), mask=[False, True])
    assert RuleSet([rule("null", "message.x == null")]).first_arrays({"x": masked}).tolist() == [-1, 0]


def test_columns_that_no_rule_names_are_not_read() -> None:
    rules = RuleSet([rule("one", "message.x == 1")])
    assert rules.first_arrays({"x": [1], "y": [object()], "z": np.zeros(1, "datetime64[s]")}).tolist() == [0]


def test_no_columns_or_no_rows_are_no_answers() -> None:
    for columns in ({}, {"n": []}, {"n": np.empty(0)}):
        found = COLUMN_RULES.first_arrays(columns)
        assert (found.dtype, found.shape) == (np.int32, (0,))


@pytest.mark.parametrize(
    ("columns", "field", "problem"),
    [
        ({"n": [1, 2], "flag": [True]}, "message.flag", 'has 1 rows, and "n" has 2'),
        ({"n": np.zeros((2, 2))}, "message.n", "has 2 dimensions"),
        ({"n": np.zeros(2, "datetime64[s]")}, "message.n", "dtype datetime64"),
        ({"n": np.zeros(2, complex)}, "message.n", "dtype complex128"),
        ({"n": 7}, "message.n", "a int is no column"),
        ({"n": [1, 2**64]}, "message.n", "row 1: holds an integer beyond 64 bits"),
        ({"note": np.array(["a", object()], dtype=object)}, "message.note", "row 1: holds a object"),
        ({"order.total": [1], "order": [1]}, "message.order", "another column"),
        ({"order..total": [1]}, "message.order..total", "empty key"),
        ({7: [1]}, "message", "named by a int"),
    ],
)
def test_columns_that_are_wrong_are_named(columns: Any, field: str, problem: str) -> None:
    with pytest.raises(MessageError, match=problem) as caught:
        COLUMN_RULES.first_arrays(columns)
    assert caught.value.field == field


def test_without_numpy_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "import turnout\n"
        "rules = turnout.RuleSet()\n"
        "assert rules.first_ndjson(b'{}') == [None]\n"
        "try:\n    rules.first_arrays({})\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "turnout[arrays]" in ran.stdout


def test_columns_give_places_among_the_rules_there_are_after_rules_came_and_went() -> None:
    rules = RuleSet([rule(f"r{number}", f"message.n == {number}") for number in range(50)])
    rules.remove("r0")
    rules.remove("r7")
    rules.add(rule("top", "message.n == 49", 5))
    found = rules.first_arrays({"n": np.arange(51)})
    assert [rules.ids[place] if place >= 0 else None for place in found] == [
        rules.first({"n": number}) for number in range(51)
    ]
