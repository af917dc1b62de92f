"""Stops as events, read back by what the log's own stops say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.retirement.listing.stop_events import (
    held_back,
    stop_events,
    undo_events,
)
from adwright.data.schema import validate_events
from adwright.data.stops import stopped
from tests.support.data.small_stop_list import small_stop_list

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PLAN = small_stop_list(
    [
        ("u1", "shoe", "c1", "stop"),
        ("u2", "hat", None, "stop"),
        ("u3", "shoe", "c2", "keep"),
        ("u4", "bag", "c4", "refresh"),
    ]
)


def test_each_unit_to_stop_is_an_event() -> None:
    events = stop_events(PLAN, "anna", NOW)
    assert validate_events(events).equals(events)
    assert events.select("item_id", "creative_id", "kind", "user_id", "value").rows() == [
        ("shoe", "c1", "stop", "anna", 1.0),
        ("hat", None, "stop", "anna", 1.0),
    ]
    assert events["time"].to_list() == [NOW, NOW]
    assert [json.loads(text) for text in events["context"]] == [
        {
            "action": "stop",
            "cause": "wear-out",
            "ending": None,
            "days_left": days,
            "saving": saving,
            "saving_in": "spend",
            "list": PLAN.id,
        }
        for days, saving in ((14, 10.5), (None, 9.5))
    ]


def test_the_log_obeys_them_and_forgets_them() -> None:
    creatives = pl.DataFrame({"creative_id": ["c1", "c2"], "item_id": ["shoe", "shoe"]})
    stops, undone = stop_events(PLAN, "anna", NOW), undo_events(PLAN, "rule", LATER)
    now = stopped(stops, creatives, LATER)
    assert (set(now.items), set(now.creatives)) == ({"hat"}, {"c1"})
    after = stopped(pl.concat([stops, undone]), creatives, LATER)
    assert (after.items, after.creatives) == (frozenset(), frozenset())
    court = stops.with_columns(user_id=pl.lit("legal"), event_id=pl.lit("court")).tail(1)
    assert stopped(pl.concat([stops, court, undone]), creatives).items == {"hat"}
    assert undone["value"].to_list() == [0, 0]
    assert json.loads(undone["context"][0])["action"] == "undo"


def test_ids_follow_from_the_list() -> None:
    first, again = stop_events(PLAN, "anna", NOW), stop_events(PLAN, "ben", LATER)
    assert first["event_id"].to_list() == again["event_id"].to_list()
    other = small_stop_list([("u1", "shoe", "c1", "stop")], record_hash="other")
    ids = {*first["event_id"], *undo_events(PLAN, "anna", NOW)["event_id"]}
    ids |= set(stop_events(other, "anna", NOW)["event_id"])
    assert len(ids) == 5


def test_times_are_those_of_utc() -> None:
    summer = NOW.astimezone(timezone(timedelta(hours=2)))
    assert stop_events(PLAN, "anna", summer)["time"].to_list() == [NOW, NOW]
    with pytest.raises(ConfigError, match="no time zone"):
        stop_events(PLAN, "anna", NOW.replace(tzinfo=None))
    with pytest.raises(ConfigError, match="somebody behind it"):
        stop_events(PLAN, "", NOW)


def test_what_a_stop_would_take_down_as_well_holds_it_back() -> None:
    plan = small_stop_list(
        [
            ("s1", "soap", None, "stop"),  # of one product, two stores stop and one goes on
            ("s2", "soap", None, "stop"),
            ("s3", "soap", None, "keep"),
            ("t1", "tea", None, "stop"),  # all go
            ("t2", "tea", None, "stop"),
            ("v1", "veil", "c1", "stop"),  # two campaigns show the creative, one stops
            ("v2", "veil", "c1", "refresh"),
            ("v3", "veil", "c2", "stop"),  # another creative of the item goes on
            ("w1", "wig", None, "stop"),  # the item would take its creative down
            ("w2", "wig", "c9", "keep"),
        ]
    )
    assert stop_events(plan, "anna", NOW)["item_id"].to_list() == ["tea", "tea", "veil"]
    held = held_back(plan)
    assert held.rows() == [
        ("s1", "ad s1", "soap", None, 1),
        ("s2", "ad s2", "soap", None, 1),
        ("v1", "ad v1", "veil", "c1", 1),
        ("w1", "ad w1", "wig", None, 1),
    ]
    # What is left out goes on too.
    events = stop_events(plan, "anna", NOW, leave_out=["t2"])
    assert events["item_id"].to_list() == ["veil"]
    assert "t1" in held_back(plan, leave_out=["t2"])["unit_id"]


def test_units_without_an_item_are_named() -> None:
    rows = [(f"u{n}", None, f"c{n}", "stop") for n in range(7)]
    plan = small_stop_list([*rows, ("k", None, None, "keep")])
    with pytest.raises(DataError, match=r"7 units to stop have no item_id") as raised:
        stop_events(plan, "anna", NOW)
    assert "ad u0 (u0), ad u1 (u1)" in str(raised.value)
    assert "a catalogue of creatives" in raised.value.hint
    left = [f"u{n}" for n in range(7)]
    assert len(stop_events(plan, "anna", NOW, leave_out=left)) == 0
    with pytest.raises(ConfigError, match="no unit 'u9' on the list"):
        stop_events(plan, "anna", NOW, leave_out=["u9"])
