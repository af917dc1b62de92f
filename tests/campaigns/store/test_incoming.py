from __future__ import annotations

import json
import math
import string
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.campaigns.store import events as incoming
from adwright.campaigns.store.events import check_storable, event_rows, frame_of
from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.data.schema import CAMPAIGN_SCHEMA, EVENT_SCHEMA, KINDS
from tests.support.store.events import START, event, events

EAST = timezone(timedelta(hours=5, minutes=30))
ODD_TEXTS = [
    "",
    " ",
    "\t",
    "\x1c",
    "\u3000",
    "nan",
    "NaN",
    "None",
    "<NA>",
    "null",
    " x",
    "a\nb",
    "ä–ß",
    "🛒",
    "a\0b",
    "\ud800",
]
ODD_JSON = [
    "",
    "{}",
    " {}",
    "{} ",
    "{}x",
    "[]",
    "null",
    '{"a": NaN}',
    '{"a": -Infinity}',
    '{"a": 1e999}',
    '{"a": ' + "9" * 400 + "}",
    '{"a": 01}',
    '{"a": "\\ud800"}',
    '{"a": "\\u0041"}',
    '{"a": "\\x"}',
    '{"a": "\n"}',
    '{"a": 1, "a": 2}',
    '{"a": ' + "[" * 300 + "]" * 300 + "}",
    '{"a":' + " " * 20_000 + "1}",
    "{'a': 1}",
    '{"a": 1,}',
]
TEXTS = st.one_of(st.text(string.printable, max_size=4), st.sampled_from(ODD_TEXTS))
ODD: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("event_id", "request_id", "user_id", "item_id", "creative_id", "campaign_id", "policy_id"),
        st.one_of(TEXTS, st.none(), st.integers(0, 3), st.floats(0, 1)),
    ),
    "kind": st.sampled_from([*KINDS, "klick", None, 3]),
    "time": st.sampled_from(
        [
            START,
            START.replace(tzinfo=None),
            START.astimezone(EAST),
            datetime.max.replace(tzinfo=UTC),
            datetime.min.replace(tzinfo=EAST),
            date(2024, 5, 1),
            "2024-05-01",
            None,
            7,
        ]
    ),
    "position": st.one_of(
        st.none(), st.sampled_from([True, 1.5, np.int64(3), 2**31]), st.integers(-2, 2**31)
    ),
    "propensity": st.one_of(
        st.none(), st.sampled_from([0, 1, 2, True, np.float64(0.5)]), st.floats()
    ),
    "value": st.one_of(
        st.none(), st.floats(), st.integers(), st.sampled_from([True, "1", Decimal("1.5")])
    ),
    "context": st.one_of(
        st.none(),
        st.sampled_from(ODD_JSON),
        st.dictionaries(st.text(max_size=3), st.floats() | st.text(max_size=3), max_size=2).map(
            json.dumps
        ),
    ),
}


@st.composite
def odd_events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One or two events with one or two odd cells."""
    rows = events(draw(st.integers(1, 2)))
    for _ in range(draw(st.integers(1, 2))):
        column = draw(st.sampled_from(sorted(ODD)))
        draw(st.sampled_from(rows))[column] = draw(ODD[column])
    return rows


def outcome(rows: Any) -> object:
    try:
        return event_rows(rows)
    except DataError as error:
        return type(error)


def outcome_of_table(rows: Any) -> object:
    try:
        return outcome(frame_of(rows, EVENT_SCHEMA))
    except DataError as error:
        return type(error)


@given(odd_events())
@settings(max_examples=100)
def test_the_first_look_is_no_laxer_than_the_checks(rows: list[dict[str, Any]]) -> None:
    assert outcome(rows) == outcome_of_table(rows)


@pytest.mark.parametrize("context", ODD_JSON)
def test_contexts_are_judged_by_one_rule(context: str) -> None:
    rows = [event(0, context=context)]
    assert outcome(rows) == outcome_of_table(rows)


def test_plain_events_are_not_made_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*events(20), event(20, value=3, time=START.astimezone(EAST), creative_id="c")]
    expected = event_rows(frame_of(rows, EVENT_SCHEMA))
    monkeypatch.setattr(incoming, "validate_events", None)
    assert event_rows(rows) == expected
    assert event_rows([]) == []
    assert expected[-1][-2] == 3.0
    assert expected[0][1] == int(START.timestamp() * 1e6)


def test_an_optional_column_may_be_left_out() -> None:
    needed = {name: event(0)[name] for name in ("event_id", "time", "request_id", "user_id")}
    row = {**needed, "kind": "click", "item_id": "i"}
    assert event_rows([row, event(1)])[0][6:] == (None,) * 7
    mixed = [row, event(1, value=2.5), event(2, value=1), event(3, time=datetime(2024, 5, 1))]
    assert [one[-2] for one in event_rows(mixed)] == [None, 2.5, 1.0, None]


def test_numpy_scalars_are_numbers() -> None:
    rows = [event(0, position=np.int32(3), propensity=np.float64(0.5), value=np.float32(2))]
    assert event_rows(rows)[0][8:10] == (3, 0.5)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"kind": "klick"}, ValueInvalidError, "row 1, column kind, value 'klick'"),
        ({"user_id": ""}, ValueInvalidError, "row 1, column user_id"),
        ({"item_id": "a\0b"}, ValueInvalidError, r"character NUL.*row 1, column item_id"),
        ({"user_id": "\ud800"}, ValueInvalidError, r"surrogate.*row 1, column user_id"),
        ({"value": math.inf}, ValueInvalidError, "row 1, column value"),
        ({"user_id": 5}, SchemaError, r"user_id holds .*int, str.*column user_id"),
        ({"colour": "red"}, SchemaError, "unknown columns: colour"),
        ({"time": datetime.min.replace(tzinfo=EAST)}, ValueInvalidError, r"years 1 to 9999.*row 1"),
        ({"time": "noon"}, SchemaError, "column time"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        event_rows([event(0), event(1, **changes), event(2)])


def test_rows_are_mappings() -> None:
    with pytest.raises(SchemaError, match=r"must be a mapping, not list.*row 1"):
        event_rows([event(0), [1, 2]])  # type: ignore[list-item]
    with pytest.raises(SchemaError, match="missing"):
        event_rows([{}])


def test_tables_are_taken_too() -> None:
    table = frame_of(events(5), EVENT_SCHEMA)
    assert event_rows(table) == event_rows(events(5))
    with pytest.raises(ValueInvalidError, match="NUL"):
        event_rows(table.with_columns(user_id=pl.lit("\0")))
    late = table.with_columns(pl.col("time").dt.offset_by("9000y"))
    with pytest.raises(ValueInvalidError, match="years 1 to 9999"):
        event_rows(late)


def test_other_schemas() -> None:
    table = frame_of([{"campaign_id": "a", "start": START, "end": None}], CAMPAIGN_SCHEMA)
    assert table.schema["start"] == pl.Datetime("us", "UTC")


def test_long_texts_are_refused_where_asked() -> None:
    table = pl.DataFrame({"a": ["x" * 5], "b": ["x" * 6]})
    check_storable(table, longest={"a": 5})
    with pytest.raises(ValueInvalidError, match="b must have at most 5 characters"):
        check_storable(table, longest={"b": 5})
