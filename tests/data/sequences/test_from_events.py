"""A file of events becomes sequences, whatever its form and order."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.sequences.from_events import read_event_file

EVENTS = pl.DataFrame(
    {
        "user_id": ["b", "a", "a", "a", "b", "b", "a"],
        "item_id": ["x", "y", "x", "z", "x", "z", "y"],
        "time": [30, 10, 20, 20, 10, 20, 40],
        "price": [1.0] * 7,
    }
)


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
        (EVENTS.with_columns(time=pl.lit("soon")), ValueInvalidError, "cannot be read as a time"),
        (EVENTS.with_columns(time=pl.lit("03/04/2024")), ValueInvalidError, "which is the day"),
        (EVENTS.with_columns(time=pl.lit([1])), SchemaError, "List"),
        (EVENTS.with_columns(item_id=pl.lit(None, pl.String)), ValueInvalidError, "item_id must"),
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


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_was_shown_is_no_history(form: str, tmp_path: Path) -> None:
    log = EVENTS.with_columns(
        kind=pl.Series(["impression", "click", "stop", "redemption", "purchase", "rating", "view"])
    )
    path = tmp_path / f"events.{form}"
    log.write_csv(path) if form == "csv" else log.write_parquet(path)
    found = read_event_file(path)
    assert found.offsets.tolist() == [0, 2, 4]
    assert found.time is not None
    assert found.time.tolist() == [10, 40, 10, 20]
    # The folder of a log stands for its events.
    assert np.array_equal(read_event_file(tmp_path).item, found.item)


def test_a_log_of_ones_own_is_found_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "shop.csv.gz").write_bytes(
        gzip.compress(b"customer;sku;date;event\nb;x;1970-01-01;order\nb;y;1970-01-02;shown\n")
    )
    found = read_event_file(tmp_path / "shop.csv.gz")
    assert (found.name, found.users, found.ids) == ("shop", ("b",), ("x",))


def test_parts_and_the_whole_are_one_log(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    EVENTS[:3].write_parquet(tmp_path / "parts" / "a.parquet")
    EVENTS[3:].write_parquet(tmp_path / "parts" / "b.parquet")
    EVENTS.write_parquet(tmp_path / "parts.parquet")
    one, other = read_event_file(tmp_path / "parts"), read_event_file(tmp_path / "parts.parquet")
    assert np.array_equal(one.item, other.item)
    assert one.data_hash != other.data_hash


def test_a_log_of_impressions_alone_is_refused(tmp_path: Path) -> None:
    EVENTS.with_columns(kind=pl.lit("impression")).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(ValueInvalidError, match=r"click.*purchase.*e\.parquet.*impression"):
        read_event_file(tmp_path / "e.parquet")
