"""Stops as events, read back by what the log's own stops say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.creative.lifetime.stop_events import apply_stops, held_back, stop_events
from adwright.creative.lifetime.stop_list import record_hash
from adwright.data.schema import validate_events
from adwright.data.sources.log import open_log, save_log
from adwright.data.sources.tables import write_events
from adwright.data.stops import Stops, stopped
from tests.support.data.small_life_log import small_life_log
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
    stops, undone = stop_events(PLAN, "anna", NOW), stop_events(PLAN, "rule", LATER, undo=True)
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
    ids = {*first["event_id"], *stop_events(PLAN, "anna", NOW, undo=True)["event_id"]}
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


LOG = small_life_log(30)
PLAN_APPLY_STOPS = small_stop_list(
    [("u1", "shoe", "c1", "stop"), ("u2", "hat", None, "stop"), ("u3", "bag", None, "keep")],
    record_hash=record_hash(LOG),
)
OLD = validate_events(
    pl.DataFrame(
        {
            "event_id": ["e1", "e2"],
            "time": [NOW - timedelta(days=1)] * 2,
            "request_id": ["r", "r"],
            "user_id": ["u", "v"],
            "kind": ["impression", "click"],
            "item_id": ["hat", "bag"],
            "context": ['{"store": 3}', None],
        }
    )
)


def read(path: Path) -> pl.DataFrame:
    return open_log(path, tell=False).events.collect()


def stops(path: Path) -> Stops:
    return stopped(read(path), None, LATER)


@pytest.mark.parametrize("name", ["events.parquet", "events.jsonl"])
@pytest.mark.parametrize("old", [True, False])
def test_a_file_keeps_what_it_holds(tmp_path: Path, name: str, *, old: bool) -> None:
    path = tmp_path / name
    if old and path.suffix == ".parquet":
        write_events(path, OLD.drop("propensity", "policy_id"))
    elif old:
        path.write_text(OLD.select(pl.exclude("value")).write_ndjson().rstrip("\n"))
    before = path.read_bytes() if old else None
    dry = apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=LOG, dry_run=True)
    assert (dry.new, dry.dry_run, dry.where) == (2, True, str(path))
    assert (path.read_bytes() if path.exists() else None) == before
    done = apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=LOG)
    assert (done.new, len(done.events), len(done.held_back)) == (2, 2, 0)
    assert stops(path).items == {"hat"}
    assert stops(path).creatives == {"c1"}
    ids = read(path)["event_id"].to_list()
    assert ids == [*(["e1", "e2"] if old else []), *done.events["event_id"]]
    # Twice is once.
    again = apply_stops(PLAN_APPLY_STOPS, path, "ben", LATER, log=LOG)
    assert again.new == 0
    assert "there already: 2 events" in again.text()
    assert read(path)["event_id"].to_list() == ids
    # And back.
    back = apply_stops(PLAN_APPLY_STOPS, str(path), "anna", LATER, log=None, undo=True)
    assert (back.new, back.undo) == (2, True)
    assert stops(path).table.is_empty()
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")] == [name]


def test_lines_with_objects_get_objects(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    row = {"event_id": "e1", "time": "2024-05-01T00:00:00Z", "user_id": "u", "kind": "click"}
    path.write_text(json.dumps({**row, "item_id": "hat", "context": {"store": 3}}) + "\n")
    apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=None)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["context"] == {"store": 3}
    assert lines[1]["context"]["list"] == PLAN_APPLY_STOPS.id
    assert lines[1]["time"].startswith("2024-06-01T12:00:00")


def test_a_saved_log_gets_them_among_its_events(tmp_path: Path) -> None:
    log = open_log(OLD, tell=False)
    save_log(tmp_path / "log", log)
    with pytest.raises(ValueInvalidError, match="not in the items table"):
        apply_stops(PLAN_APPLY_STOPS, tmp_path / "log", "anna", NOW, log=LOG)
    assert len(read(tmp_path / "log")) == 2
    done = apply_stops(PLAN_APPLY_STOPS, tmp_path / "log", "anna", NOW, log=LOG, leave_out=["u1"])
    assert done.new == 1
    assert stops(tmp_path / "log").items == {"hat"}
    save_log(tmp_path / "csv", log, format="csv")
    with pytest.raises(SchemaError, match="are CSV"):
        apply_stops(PLAN_APPLY_STOPS, tmp_path / "csv", "anna", NOW, log=LOG)


def test_a_folder_of_parts_gets_a_part(tmp_path: Path) -> None:
    write_events(tmp_path / "part-1.parquet", OLD)
    assert apply_stops(PLAN_APPLY_STOPS, tmp_path, "anna", NOW, log=LOG, dry_run=True).new == 2
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    for new in (2, 0):
        assert apply_stops(PLAN_APPLY_STOPS, tmp_path, "anna", NOW, log=LOG).new == new
    apply_stops(PLAN_APPLY_STOPS, tmp_path, "anna", LATER, log=LOG, undo=True)
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    assert len(read(tmp_path)) == 6
    assert stops(tmp_path).table.is_empty()
    other = tmp_path / "other"
    other.mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(other / "a.parquet")
    with pytest.raises(SchemaError, match="other columns than events"):
        apply_stops(PLAN_APPLY_STOPS, other, "anna", NOW, log=LOG)


def test_what_is_no_file_of_events_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="Parquet or to JSON lines"):
        apply_stops(PLAN_APPLY_STOPS, tmp_path / "events.csv", "anna", NOW, log=LOG)
    path = tmp_path / "numbers.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(path)
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="no file of events"):
        apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=LOG)
    pl.DataFrame({"event_id": ["a"], "x": [1]}).write_parquet(path)
    with pytest.raises(SchemaError):
        apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=LOG)
    pl.read_parquet(path)
    assert before != path.read_bytes()


def test_a_writer_is_given_them_and_says_how_many_were_new() -> None:
    given: list[pl.DataFrame] = []

    def write(events: pl.DataFrame) -> int:
        given.append(events)
        return 1

    dry = apply_stops(PLAN_APPLY_STOPS, write, "anna", NOW, log=LOG, dry_run=True)
    assert (given, dry.new) == ([], None)
    assert dry.text() == "would be stopped: 2 units, in the log behind the writer\n"
    done = apply_stops(PLAN_APPLY_STOPS, write, "anna", NOW, log=LOG)
    assert done.new == 1
    assert given[0].equals(done.events)
    apply_stops(PLAN_APPLY_STOPS, write, "anna", NOW, log=LOG, leave_out=["u1", "u2"])
    assert len(given) == 1


def test_a_list_that_is_out_of_date_stops_nothing_but_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = replace(LOG, closed=LOG.closed + 1)
    with pytest.raises(ConfigError, match="the record has changed"):
        apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=newer)
    assert list(tmp_path.iterdir()) == []
    assert apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=newer, undo=True).new == 2
    assert apply_stops(PLAN_APPLY_STOPS, path, "anna", NOW, log=None).new == 2


def test_what_is_held_back_is_told(tmp_path: Path) -> None:
    plan = small_stop_list([("s1", "soap", None, "stop"), ("s2", "soap", None, "keep")])
    done = apply_stops(plan, tmp_path / "e.parquet", "anna", NOW, log=None)
    assert (done.new, done.held_back["unit_id"].to_list()) == (0, ["s1"])
    assert "held back: 1 units of 1 items" in done.text()
    assert not (tmp_path / "e.parquet").exists()
