from __future__ import annotations

import json
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
) -> tuple[set[str], set[str], set[str]]:
    """Items, creatives and the events of stops that stand, word for word."""
    standing: list[Row] = []
    for row in sorted(rows, key=lambda row: row["time"]):
        if row["kind"] != "stop" or row["time"] > moment:
            continue
        if row["value"] is None or row["value"] != 0:
            standing.append(row)
            continue
        said = json.loads(row["context"] or "{}")
        for one in list(standing):
            same = all(one[name] == row[name] for name in ("item_id", "creative_id"))
            whose = one["user_id"] == row["user_id"]
            if "list" in said:
                whose = json.loads(one["context"] or "{}").get("list") == said["list"]
            if "undoes" in said:
                whose = one["event_id"] in said["undoes"]
            if same and whose:
                standing.remove(one)
    pairs = {(row["item_id"], row["creative_id"]) for row in standing}
    items = {item for item, creative in pairs if creative is None}
    for item, own in creatives.items():
        if own and all((item, one) in pairs for one in own):
            items.add(item)
    made = {creative for _, creative in pairs if creative is not None}
    return items, made, {row["event_id"] for row in standing}


def test_an_item_is_stopped_and_the_undoing_takes_it_back() -> None:
    rows = [stop("b", hour=1), stop("b", hour=3, event_id="e2", value=0.0)]
    assert [sorted(at(hour, rows).items) for hour in range(4)] == [[], ["b"], ["b"], []]
    again = [*rows, stop("b", hour=5, event_id="e3", value=1.0)]
    assert at(5, again).items == stopped(table(again), CREATIVES).items == {"b"}


@pytest.mark.parametrize(
    ("user_id", "context", "left"),
    [
        ("anna", None, ["court", "plan"]),  # its own alone
        ("someone", None, ["anna", "court", "plan"]),
        ("anna", {"list": "p1"}, ["anna", "court"]),  # a list's, whoever takes it back
        ("anna", {"undoes": ["court"]}, ["anna", "plan"]),
        ("anna", {"undoes": ["plan", "anna"], "list": "p2"}, ["court"]),
        ("anna", {"undoes": ["other"]}, ["anna", "court", "plan"]),  # of another item
        ("anna", {"undoes": 7}, ["anna", "court", "plan"]),
    ],
)
def test_an_item_stays_stopped_while_a_stop_stands(
    user_id: str, context: Row | None, left: Sequence[str]
) -> None:
    rows = [
        stop("b", event_id="anna"),
        stop("b", event_id="court", user_id="legal", context='{"reason": "court order"}'),
        stop("b", event_id="plan", user_id="retire", context='{"list": "p1"}'),
        stop("a", event_id="other"),
    ]
    said = None if context is None else json.dumps(context)
    rows.append(stop("b", hour=1, event_id="u", user_id=user_id, value=0.0, context=said))
    found = at(1, rows)
    assert found.table.filter(item_id="b")["event_id"].sort().to_list() == left
    assert "b" in found.items


def test_at_one_instant_the_order_is_that_of_the_rows_and_an_event_id_counts_once() -> None:
    rows = [stop("b", event_id="e2"), stop("b", event_id="e10", value=0.0)]
    assert at(0, rows).items == frozenset()
    assert at(0, rows[::-1]).items == {"b"}
    again = table([*rows, stop("b", event_id="e3")]).with_columns(
        event_id=pl.col("event_id").replace("e3", "e2")
    )
    assert stopped(again, None).items == frozenset()


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
        assert (found.items, found.creatives) == (frozenset(), frozenset())
        assert found.table.is_empty()


_rows = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([None, "a1", "a2", "b1"]),
        st.integers(0, 4),
        st.sampled_from([None, 0.0, 1.0, -0.0, 2.5]),
        st.sampled_from(["stop", "stop", "stop", "click"]),
        st.sampled_from(["anna", "ben"]),
        st.sampled_from([None, '{"list": "p"}', '{"undoes": ["e0", "e2"]}', "{}"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(rows=_rows, hour=st.integers(-1, 5))
def test_it_is_what_a_literal_loop_finds(rows: list[Any], hour: int) -> None:
    names = ("hour", "value", "kind", "user_id", "context")
    events = [
        stop(item, creative, event_id=f"e{n}", **dict(zip(names, rest, strict=True)))
        for n, (item, creative, *rest) in enumerate(rows)
    ]
    found = at(hour, events)
    moment = START + timedelta(hours=hour)
    items, creatives, counting = literal(events, {"a": ["a1", "a2"], "b": ["b1"]}, moment)
    assert (found.items, found.creatives) == (items, creatives)
    assert set(found.table["event_id"]) == counting
