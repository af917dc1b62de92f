from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.data.schema import validate_creatives, validate_events
from adwright.data.stops import Stops, stopped

START = datetime(2026, 5, 1, tzinfo=UTC)
CREATIVES = validate_creatives(
    pl.DataFrame({"creative_id": ["a1", "a2", "b1"], "item_id": ["a", "a", "b"]})
)
Row = dict[str, Any]


def stop(
    item: str, creative: str | None = None, *, hour: int = 0, event_id: str = "e1", **more: Any
) -> Row:
    row = {"event_id": event_id, "time": START + timedelta(hours=hour), "request_id": "r"}
    ids = {"user_id": "anna", "kind": "stop", "item_id": item, "creative_id": creative}
    return {**row, **ids, "value": None, "context": None, **more}


def table(rows: Sequence[Row]) -> pl.DataFrame:
    types = {"creative_id": pl.String, "value": pl.Float64, "context": pl.String}
    frame = validate_events(pl.DataFrame(list(rows) or [stop("x")], schema_overrides=types))
    return frame if rows else frame.clear()


def at(hour: int, rows: Sequence[Row], creatives: pl.DataFrame | None = CREATIVES) -> Stops:
    return stopped(table(rows), creatives, START + timedelta(hours=hour))


def literal(
    rows: Sequence[Row], creatives: Mapping[str, Sequence[str]], moment: datetime
) -> tuple[set[str], set[str], dict[tuple[str, str | None], str]]:
    """Items, creatives and the counting event of each pair, word for word."""
    latest: dict[tuple[str, str | None], Row] = {}
    for row in rows:
        if row["kind"] != "stop" or row["time"] > moment:
            continue
        pair = (row["item_id"], row["creative_id"])
        before = latest.get(pair)
        if before is None or (before["time"], before["event_id"]) < (row["time"], row["event_id"]):
            latest[pair] = row
    counting = {
        pair: row["event_id"]
        for pair, row in latest.items()
        if row["value"] is None or row["value"] != 0
    }
    items = {item for item, creative in counting if creative is None}
    for item, own in creatives.items():
        if own and all((item, one) in counting for one in own):
            items.add(item)
    return items, {creative for _, creative in counting if creative is not None}, counting


def test_an_item_is_stopped_and_the_undoing_takes_it_back() -> None:
    rows = [stop("b", hour=1), stop("b", hour=3, event_id="e2", value=0.0)]
    assert [sorted(at(hour, rows).items) for hour in range(4)] == [[], ["b"], ["b"], []]
    again = [*rows, stop("b", hour=5, event_id="e3", value=1.0)]
    assert at(5, again).items == {"b"}


def test_a_stop_ahead_does_not_count_yet_and_its_moment_is_told() -> None:
    rows = [stop("b", hour=2), stop("a", hour=4, event_id="e2")]
    first, second, third = at(0, rows), at(2, rows), at(4, rows)
    assert (first.items, first.changes) == (frozenset(), START + timedelta(hours=2))
    assert (second.items, second.changes) == ({"b"}, START + timedelta(hours=4))
    assert (third.items, third.changes) == ({"a", "b"}, None)


def test_at_one_instant_the_last_event_id_counts_in_whatever_order_they_come() -> None:
    rows = [stop("b", event_id="e2", value=0.0), stop("b", event_id="e10")]
    assert at(0, rows).items == at(0, rows[::-1]).items == frozenset()


def test_an_item_falls_with_the_last_of_its_creatives_and_no_sooner() -> None:
    one, two = stop("a", "a1"), stop("a", "a2", hour=1, event_id="e2")
    assert (at(0, [one, two]).items, at(0, [one, two]).creatives) == (frozenset(), {"a1"})
    assert (at(1, [one, two]).items, at(1, [one, two]).creatives) == ({"a"}, {"a1", "a2"})
    undone = [one, two, stop("a", "a1", hour=2, event_id="e3", value=0.0)]
    assert (at(2, undone).items, at(2, undone).creatives) == (frozenset(), {"a2"})
    # Without a catalogue nobody knows which creatives an item has left.
    assert at(1, [one, two], None).items == frozenset()
    # A creative of another item, or one that the catalogue lacks, brings no item down.
    assert at(0, [stop("b", "a1"), stop("c", "c1", event_id="e2")]).items == frozenset()


def test_the_stop_of_an_item_and_that_of_a_creative_are_taken_back_apart() -> None:
    rows = [stop("b"), stop("b", "b1", event_id="e2"), stop("b", hour=1, event_id="e3", value=0.0)]
    found = at(1, rows)
    assert (found.items, found.creatives) == ({"b"}, {"b1"})
    both = [*rows, stop("b", "b1", hour=2, event_id="e4", value=0.0)]
    assert (at(2, both).items, at(2, both).creatives) == (frozenset(), frozenset())


def test_the_table_says_who_when_and_why() -> None:
    why = '{"reason": "wear-out", "days_left": 2}'
    rows = [
        stop("b", "b1", event_id="e2", user_id="rule:wear-out", context=why),
        stop("b", hour=1, event_id="e1"),
        stop("b", kind="click", event_id="e3"),
    ]
    assert at(1, rows).table.rows() == [
        ("b", None, START + timedelta(hours=1), "anna", "e1", None),
        ("b", "b1", START, "rule:wear-out", "e2", why),
    ]


@pytest.mark.parametrize("creatives", [CREATIVES, None])
def test_a_log_without_stops_stops_nothing(creatives: pl.DataFrame | None) -> None:
    for rows in ([], [stop("a", kind="click")]):
        found = at(5, rows, creatives)
        assert (found.items, found.creatives, found.changes) == (frozenset(), frozenset(), None)
        assert found.table.is_empty()


_rows = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([None, "a1", "a2", "b1"]),
        st.integers(0, 4),
        st.sampled_from([None, 0.0, 1.0, -0.0, 2.5]),
        st.sampled_from(["stop", "stop", "stop", "click"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(rows=_rows, hour=st.integers(-1, 5))
def test_it_is_what_a_literal_loop_finds(rows: list[Any], hour: int) -> None:
    events = [
        stop(item, creative, hour=when, value=value, kind=kind, event_id=f"e{number}")
        for number, (item, creative, when, value, kind) in enumerate(rows)
    ]
    found = at(hour, events)
    moment = START + timedelta(hours=hour)
    items, creatives, counting = literal(events, {"a": ["a1", "a2"], "b": ["b1"]}, moment)
    assert (found.items, found.creatives) == (items, creatives)
    shown = found.table.select("item_id", "creative_id", "event_id").rows()
    assert {(item, creative): event for item, creative, event in shown} == counting
    ahead = [row["time"] for row in events if row["kind"] == "stop" and row["time"] > moment]
    assert found.changes == min(ahead, default=None)
