"""Lists carried out: into files, folders and through a writer; twice, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.creative.lifetime.retirement.listing.apply_stops import apply_stops
from adwright.creative.lifetime.retirement.listing.stop_list import record_hash
from adwright.data.schema import validate_events
from adwright.data.sources.log import open_log, save_log
from adwright.data.sources.tables import write_events
from adwright.data.stops import Stops, stopped
from tests.support.data.small_life_log import small_life_log
from tests.support.data.small_stop_list import small_stop_list

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LOG = small_life_log(30)
PLAN = small_stop_list(
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
    dry = apply_stops(PLAN, path, "anna", NOW, log=LOG, dry_run=True)
    assert (dry.new, dry.dry_run, dry.where) == (2, True, str(path))
    assert (path.read_bytes() if path.exists() else None) == before
    done = apply_stops(PLAN, path, "anna", NOW, log=LOG)
    assert (done.new, len(done.events), len(done.held_back)) == (2, 2, 0)
    assert stops(path).items == {"hat"}
    assert stops(path).creatives == {"c1"}
    ids = read(path)["event_id"].to_list()
    assert ids == [*(["e1", "e2"] if old else []), *done.events["event_id"]]
    # Twice is once.
    again = apply_stops(PLAN, path, "ben", LATER, log=LOG)
    assert again.new == 0
    assert "there already: 2 events" in again.text()
    assert read(path)["event_id"].to_list() == ids
    # And back.
    back = apply_stops(PLAN, str(path), "anna", LATER, log=None, undo=True)
    assert (back.new, back.undo) == (2, True)
    assert stops(path).table.is_empty()
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")] == [name]


def test_lines_with_objects_get_objects(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    row = {"event_id": "e1", "time": "2024-05-01T00:00:00Z", "user_id": "u", "kind": "click"}
    path.write_text(json.dumps({**row, "item_id": "hat", "context": {"store": 3}}) + "\n")
    apply_stops(PLAN, path, "anna", NOW, log=None)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["context"] == {"store": 3}
    assert lines[1]["context"]["list"] == PLAN.id
    assert lines[1]["time"].startswith("2024-06-01T12:00:00")


def test_a_saved_log_gets_them_among_its_events(tmp_path: Path) -> None:
    log = open_log(OLD, tell=False)
    save_log(tmp_path / "log", log)
    with pytest.raises(ValueInvalidError, match="not in the items table"):
        apply_stops(PLAN, tmp_path / "log", "anna", NOW, log=LOG)
    assert len(read(tmp_path / "log")) == 2
    done = apply_stops(PLAN, tmp_path / "log", "anna", NOW, log=LOG, leave_out=["u1"])
    assert done.new == 1
    assert stops(tmp_path / "log").items == {"hat"}
    save_log(tmp_path / "csv", log, format="csv")
    with pytest.raises(SchemaError, match="are CSV"):
        apply_stops(PLAN, tmp_path / "csv", "anna", NOW, log=LOG)


def test_a_folder_of_parts_gets_a_part(tmp_path: Path) -> None:
    write_events(tmp_path / "part-1.parquet", OLD)
    assert apply_stops(PLAN, tmp_path, "anna", NOW, log=LOG, dry_run=True).new == 2
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    for new in (2, 0):
        assert apply_stops(PLAN, tmp_path, "anna", NOW, log=LOG).new == new
    apply_stops(PLAN, tmp_path, "anna", LATER, log=LOG, undo=True)
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    assert len(read(tmp_path)) == 6
    assert stops(tmp_path).table.is_empty()
    other = tmp_path / "other"
    other.mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(other / "a.parquet")
    with pytest.raises(SchemaError, match="other columns than events"):
        apply_stops(PLAN, other, "anna", NOW, log=LOG)


def test_what_is_no_file_of_events_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="Parquet or to JSON lines"):
        apply_stops(PLAN, tmp_path / "events.csv", "anna", NOW, log=LOG)
    path = tmp_path / "numbers.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(path)
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="no file of events"):
        apply_stops(PLAN, path, "anna", NOW, log=LOG)
    pl.DataFrame({"event_id": ["a"], "x": [1]}).write_parquet(path)
    with pytest.raises(SchemaError):
        apply_stops(PLAN, path, "anna", NOW, log=LOG)
    pl.read_parquet(path)
    assert before != path.read_bytes()


def test_a_writer_is_given_them_and_says_how_many_were_new() -> None:
    given: list[pl.DataFrame] = []

    def write(events: pl.DataFrame) -> int:
        given.append(events)
        return 1

    dry = apply_stops(PLAN, write, "anna", NOW, log=LOG, dry_run=True)
    assert (given, dry.new) == ([], None)
    assert dry.text() == "would be stopped: 2 units, in the log behind the writer\n"
    done = apply_stops(PLAN, write, "anna", NOW, log=LOG)
    assert done.new == 1
    assert given[0].equals(done.events)
    apply_stops(PLAN, write, "anna", NOW, log=LOG, leave_out=["u1", "u2"])
    assert len(given) == 1


def test_a_list_that_is_out_of_date_stops_nothing_but_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = replace(LOG, closed=LOG.closed + 1)
    with pytest.raises(ConfigError, match="the record has changed"):
        apply_stops(PLAN, path, "anna", NOW, log=newer)
    with pytest.raises(ConfigError, match="another model"):
        apply_stops(PLAN, path, "anna", NOW, log=LOG, model_id="n")
    assert list(tmp_path.iterdir()) == []
    assert apply_stops(PLAN, path, "anna", NOW, log=newer, undo=True).new == 2
    assert apply_stops(PLAN, path, "anna", NOW, log=None).new == 2


def test_what_is_held_back_is_told(tmp_path: Path) -> None:
    plan = small_stop_list([("s1", "soap", None, "stop"), ("s2", "soap", None, "keep")])
    done = apply_stops(plan, tmp_path / "e.parquet", "anna", NOW, log=None)
    assert (done.new, done.held_back["unit_id"].to_list()) == (0, ["s1"])
    assert "held back: 1 units of 1 items" in done.text()
    assert not (tmp_path / "e.parquet").exists()
