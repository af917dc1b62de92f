"""What a run file may say, and the sequences that come of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.training.sequence_runfile import (
    HSTURun,
    SASRecRun,
    SequenceDataConfig,
    Sizes,
    changed,
    open_sequences,
    read_event_file,
)

EVENTS = pl.DataFrame(
    {
        "user_id": ["b", "a", "a", "a", "b", "b", "a"],
        "item_id": ["x", "y", "x", "z", "x", "z", "y"],
        "time": [30, 10, 20, 20, 10, 20, 40],
        "price": [1.0] * 7,
    }
)


@pytest.mark.parametrize("kind", [HSTURun, SASRecRun])
def test_a_run_file_says_any_part(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'seed = 4\nout = "there"\n[data]\nkind = "events"\npath = "e.csv"\nagain = true\n'
        '[model]\nblocks = 3\n[fit]\nepochs = 7\nwhole = false\n[model.loss]\nkind = "exact"\n'
    )
    config = load_toml(path, kind)
    assert (config.seed, config.out, config.model.blocks) == (4, Path("there"), 3)
    assert (config.fit.epochs, config.fit.whole, config.model.loss.kind) == (7, False, "exact")
    assert config.data == SequenceDataConfig("events", Path("e.csv"), again=True)
    assert from_jsonable(kind, to_jsonable(config)) == config
    path.write_text("[model]\nlayers = 3\n")
    with pytest.raises(ConfigError, match="unknown key"):
        load_toml(path, kind)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigError, match="names its path"):
        SequenceDataConfig("events")
    with pytest.raises(ConfigError, match="names its path"):
        SequenceDataConfig(path=Path("e.csv"))
    with pytest.raises(ConfigError, match="share"):
        SequenceDataConfig(households=0)
    good = HSTURun()
    for wrong, about in (
        ({"draws": 0}, "draws"),
        ({"threads": -1}, "threads"),
        ({"fit": replace(good.fit, seed=1)}, "seed"),
        ({"fit": replace(good.fit, unseen=False)}, "said of the data"),
    ):
        with pytest.raises(ConfigError, match=about):
            replace(good, **wrong)


@pytest.mark.parametrize("run", [HSTURun(), SASRecRun()], ids=["hstu", "sasrec"])
def test_what_is_given_is_changed_and_nothing_else(run: Any, tmp_path: Path) -> None:
    assert changed(run) == run
    assert changed(run, sizes=Sizes(blocks=3)) == replace(run, model=replace(run.model, blocks=3))
    longer = changed(run, sizes=Sizes(max_length=9, width=8))
    assert (longer.model.max_length, longer.model.width) == (9, 8)
    if isinstance(run, HSTURun):
        assert isinstance(longer, HSTURun)
        assert (longer.model.qk_width, longer.model.v_width) == (2, 2)
        wider = replace(run, model=replace(run.model, qk_width=5))
        assert changed(wider, sizes=Sizes(blocks=3)).model.qk_width == 5  # type: ignore[union-attr]
    found = changed(run, households=0.1, epochs=2, seed=3, out=tmp_path)
    assert (found.data.households, found.fit.epochs) == (0.1, 2)
    assert (found.seed, found.out) == (3, tmp_path)
    assert changed(run, events=tmp_path).data == SequenceDataConfig("items", tmp_path)
    assert changed(run, events=tmp_path / "e").data == SequenceDataConfig("events", tmp_path / "e")


@pytest.mark.parametrize("form", ["parquet", "csv", "dates", "datetimes", "csv of datetimes"])
def test_events_of_a_file_become_sequences(form: str, tmp_path: Path) -> None:
    table = EVENTS
    if form == "dates":
        table = table.with_columns(time=pl.col("time").cast(pl.Int32).cast(pl.Date))
    elif "datetimes" in form:
        moments = [datetime.fromtimestamp(t, UTC) for t in EVENTS["time"]]
        table = table.with_columns(time=pl.Series(moments))
    path = tmp_path / ("shop.csv" if "csv" in form else "shop.parquet")
    table.write_csv(path) if "csv" in form else table.write_parquet(path)
    found = read_event_file(path)
    day = 86_400 if form == "dates" else 1
    assert (found.name, found.users, found.ids) == ("shop", ("a", "b"), ("x", "y", "z"))
    assert found.offsets.tolist() == [0, 4, 7]
    assert found.time is not None
    assert found.time.tolist() == [d * day for d in (10, 20, 20, 40, 10, 20, 30)]
    assert found.item[[0, 3]].tolist() == [2, 2]
    assert sorted(found.item[1:3]) == [1, 3]
    assert found.item[4:].tolist() == [1, 3, 1]
    # Two events of one second: neither is in the other's history.
    assert found.moment is not None
    assert found.moment.tolist() == [0, 1, 1, 3, 4, 5, 6]
    assert not found.by_moment


def test_the_order_of_the_file_means_nothing(tmp_path: Path) -> None:
    for name, table in (("a", EVENTS), ("b", EVENTS.reverse())):
        (tmp_path / name).mkdir()
        table.write_parquet(tmp_path / name / "shop.parquet")
    one, other = (read_event_file(tmp_path / n / "shop.parquet") for n in ("a", "b"))
    assert np.array_equal(one.item, other.item)
    assert one.data_hash != other.data_hash


def test_numbers_may_be_ids(tmp_path: Path) -> None:
    EVENTS.with_columns(user_id=pl.int_range(7) // 4, item_id=pl.lit(5)).write_csv(
        tmp_path / "e.csv"
    )
    found = read_event_file(tmp_path / "e.csv")
    assert (found.users, found.ids) == (("0", "1"), ("5",))


@pytest.mark.parametrize(
    ("table", "error", "about"),
    [
        (EVENTS.drop("time"), SchemaError, "time"),
        (EVENTS.with_columns(time=pl.lit("soon")), SchemaError, "timestamps"),
        (EVENTS.with_columns(time=pl.lit(0.5)), SchemaError, "Float64"),
        (EVENTS.with_columns(item_id=pl.lit(None, pl.String)), ValueInvalidError, "missing"),
        (EVENTS.head(0), ValueInvalidError, "no event"),
    ],
)
def test_events_that_say_nothing_are_refused(
    table: pl.DataFrame, error: Any, about: str, tmp_path: Path
) -> None:
    path = tmp_path / "e.parquet"
    table.write_parquet(path)
    with pytest.raises(error, match=about) as found:
        read_event_file(path)
    assert str(path) in str(found.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.parquet").write_text("nothing")
    (tmp_path / "e.csv").write_bytes(b"user_id,item_id,time\n\xff\xfe,b,1\n")
    for name in ("e.parquet", "nowhere.csv", "e.csv"):
        with pytest.raises(FileUnreadableError):
            read_event_file(tmp_path / name)


def test_whether_people_take_items_again_is_read_off_the_training_events(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    rows = [(f"u{n}", f"i{(n + k) % 9}", k) for n in range(9) for k in range(6)]
    once = pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")
    once.write_parquet(path)
    asked = SequenceDataConfig("events", path)
    data = open_sequences(asked)
    assert (data.task, data.again) == (None, False)
    assert open_sequences(replace(asked, again=True)).again
    # The last two events of a person are no training events.
    late = once.with_columns(
        item_id=pl.when(pl.col("time") > 3).then(pl.lit("i0")).otherwise("item_id")
    )
    late.write_parquet(path)
    assert not open_sequences(asked).again
    early = once.with_columns(
        item_id=pl.when(pl.col("time") < 2).then(pl.lit("i0")).otherwise("item_id")
    )
    early.write_parquet(path)
    assert open_sequences(asked).again


def test_a_folder_of_items_has_no_times(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("1 5 6 7 8\n2 6 7 8 5\n3 7 8 5 6\n")
    (tmp_path / "item_attributes.json").write_text('{"5": [1], "6": [1], "7": [2], "8": [2]}')
    data = open_sequences(SequenceDataConfig("items", tmp_path))
    assert (data.sequences.items, len(data.sequences)) == (4, 3)
    assert (data.sequences.time, data.task, data.again) == (None, None, False)


def test_complete_journey_is_asked_by_visits() -> None:
    data = open_sequences(SequenceDataConfig(households=0.01, seed=1))
    assert data.task is not None
    assert data.again
    assert data.sequences.by_moment
    assert data.sequences.users == data.task.users
    assert "1% share" in data.sequences.protocol
