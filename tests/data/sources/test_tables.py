"""A user's files: round trips through Parquet and CSV, and every unreadable file by name."""

from __future__ import annotations

import os
import resource
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adwright.core.errors import (
    AdwrightError,
    DataError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.schema import KINDS, validate_events
from adwright.data.sources.bounds import ReadBounds
from adwright.data.sources.tables import (
    item_ids,
    read_campaigns,
    read_creatives,
    read_events,
    read_items,
    with_missing_items,
    write_events,
    write_table,
)

START = datetime(2024, 5, 1, tzinfo=UTC)


def _log(rows: int = 4, first: int = 0) -> pl.DataFrame:
    numbers = range(first, first + rows)
    return validate_events(
        pl.DataFrame(
            {
                "event_id": [f"e{i}" for i in numbers],
                "time": [START + timedelta(microseconds=1_000_001 * i) for i in numbers],
                "request_id": ["r"] * rows,
                "user_id": ["u"] * rows,
                "kind": ["click"] * rows,
                "item_id": ["i"] * rows,
                "propensity": [0.1] * rows,
                "context": ['{"a": "x, \\"y\\""}'] * rows,
            }
        )
    )


@pytest.mark.parametrize("name", ["log.parquet", "log.pq", "log.csv", "LOG.CSV"])
def test_written_events_are_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new folder" / name
    for frame in (_log(), _log().lazy()):
        write_events(path, frame)
        assert read_events(path).collect().equals(_log())
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_text = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=6)
_ids = _text.filter(lambda text: text.strip() and text not in ("nan", "NaN", "None", "<NA>"))
_rows = st.fixed_dictionaries(
    {
        "time": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
        "kind": st.sampled_from(KINDS),
        "item_id": _ids,
        "campaign_id": st.one_of(st.none(), _ids),
        "position": st.one_of(st.none(), st.integers(0, 2**31 - 1)),
        "value": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    }
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_rows, max_size=4), ending=st.sampled_from([".csv", ".parquet"]))
def test_any_valid_log_survives(tmp_path: Path, rows: list[dict[str, object]], ending: str) -> None:
    full = [
        {"event_id": f"e{i}", "request_id": "r", "user_id": "u", **r} for i, r in enumerate(rows)
    ]
    empty = _log(0)
    events = pl.DataFrame(full, schema=empty.schema) if full else empty
    write_events(tmp_path / f"log{ending}", events)
    assert read_events(tmp_path / f"log{ending}").collect().equals(events)


def test_a_folder_of_parts_reads_in_name_order(tmp_path: Path) -> None:
    write_events(tmp_path / "b.parquet", _log(2, first=3))
    write_events(tmp_path / "a.parquet", _log(3))
    write_events(tmp_path / "day=2" / "c.parquet", _log(1, first=5))
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "_old.parquet").touch()
    (tmp_path / ".a.parquet.tmp").touch()
    assert read_events(tmp_path, strict_time_order=True).collect().equals(_log(6))


def test_a_bad_row_is_located_in_its_part(tmp_path: Path) -> None:
    write_events(tmp_path / "a.parquet", _log(3))
    bad = _log(3, first=3).with_columns(propensity=pl.Series([0.5, 0.5, 2.0]))
    bad.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(
        ValueInvalidError, match=r"b\.parquet, row 2, column propensity, value 2\.0"
    ):
        read_events(tmp_path)
    write_events(tmp_path / "b.parquet", _log(1))
    with pytest.raises(ValueInvalidError, match=r"unique.*b\.parquet, row 0, column event_id"):
        read_events(tmp_path)


def test_a_folder_by_days_reads_as_one_log(tmp_path: Path) -> None:
    for part, name in enumerate(("01/part-1", "01/part-2", "02/part-3")):
        write_events(tmp_path / f"date=2024-05-{name}.parquet", _log(2, first=2 * part))
    (tmp_path / ".compaction.lock").touch()
    # The day in the folder's name becomes no column.
    assert read_events(tmp_path, strict_time_order=True).collect().equals(_log(6))


def test_parts_must_agree(tmp_path: Path) -> None:
    _log(1).write_parquet(tmp_path / "a.parquet")
    _log(1, first=1).with_columns(pl.col("position").cast(pl.Int64)).write_parquet(
        tmp_path / "b.parquet"
    )
    with pytest.raises(
        SchemaError,
        match=r"differ: Int64, which is Int32 in a\.parquet .*b\.parquet, column position",
    ):
        read_events(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"")
    with pytest.raises(FileUnreadableError, match=r"file is empty .*b\.parquet"):
        read_events(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.parquet", b"", "the file is empty"),
        ("log.csv", b"", "the file is empty"),
        ("log.parquet", b"event_id,time\n", "not a Parquet file"),
        ("log.parquet", b"PA", "not a Parquet file"),
        ("log.parquet", b"PAR1", "the file is damaged"),
        ("log.parquet", b"PAR1" + bytes(40) + b"PAR1", "the file is damaged"),
        ("log.csv", b"\x93NUMPY\x01\x00", "not UTF-8"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_events, read_items, read_creatives, read_campaigns):
        with pytest.raises(FileUnreadableError, match=words) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert caught.value.hint


def test_absent_files_empty_folders_and_other_endings(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such file or folder"):
        read_events(tmp_path / "absent.csv")
    with pytest.raises(FileUnreadableError, match="the folder holds no Parquet files"):
        read_events(tmp_path)
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    with pytest.raises(SchemaError, match=r"spreadsheet .*save the sheet as CSV"):
        read_events(tmp_path / "log.xlsx")
    with pytest.raises(SchemaError, match=r"written as .parquet, .pq or .csv, not as nothing"):
        write_events(tmp_path / "log", _log())
    with pytest.raises(SchemaError, match=r"not as \.xlsx"):
        write_events(tmp_path / "log.xlsx", _log())


def test_truncation_at_any_length_is_refused(tmp_path: Path) -> None:
    write_events(tmp_path / "good.parquet", _log(100))
    content = (tmp_path / "good.parquet").read_bytes()
    cut = tmp_path / "cut.parquet"
    for length in range(1, len(content), len(content) // 23):
        cut.write_bytes(content[:length])
        with pytest.raises(FileUnreadableError, match=r"truncated|not a Parquet|damaged"):
            read_events(cut)


def test_a_damaged_page_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write_events(path, _log(1000))
    content = bytearray(path.read_bytes())
    content[20:200] = bytes(180)
    path.write_bytes(content)
    with pytest.raises(AdwrightError, match=r"damaged.*log\.parquet"):
        read_events(path)


def test_csv_errors_name_line_or_row(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    header = "event_id,time,request_id,user_id,kind,item_id,propensity\n"
    good = "1,2024-05-01,r,u,click,i,0.5\n"
    path.write_text(header + good + "2,2024-05-01,r,u,click,i\n")
    with pytest.raises(FileUnreadableError, match="line 3 has 6 fields where the header has 7"):
        read_events(path)
    path.write_text(good)
    with pytest.raises(SchemaError, match="the header is missing"):
        read_events(path)
    path.write_text(header.replace("user_id", "userid") + good)
    with pytest.raises(SchemaError, match=r"missing: user_id .*log\.csv.*rename 'userid'"):
        read_events(path)
    path.write_text(header + good + good.replace("1,2024-05-01", "2,yesterday"))
    with pytest.raises(ValueInvalidError, match=r"log\.csv, row 1, column time, value 'yesterday'"):
        read_events(path)
    path.write_text(header + good + "\n" + good)
    with pytest.raises(ValueInvalidError, match=r"event_id must be unique.*row 1"):
        read_events(path)
    path.write_text(header + good)
    assert read_events(path).collect().item(0, "propensity") == 0.5


def test_items_creatives_and_campaigns_from_csv(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,price,brand\n007,2,x\n8,,\n")
    items = read_items(tmp_path / "items.csv")
    assert items.rows() == [("007", 2, "x"), ("8", None, None)]
    (tmp_path / "creatives.csv").write_text("creative_id,item_id,text\nc1,007,Buy\n")
    assert read_creatives(tmp_path / "creatives.csv")["text"].to_list() == ["Buy"]
    (tmp_path / "campaigns.csv").write_text("campaign_id,start,end\nk,2024-05-01,2024-06-01\n")
    campaigns = read_campaigns(tmp_path / "campaigns.csv")
    assert campaigns["start"].to_list() == [START]
    (tmp_path / "campaigns.csv").write_text("campaign_id,start,end\nk,2024-05-01,2024-04-01\n")
    with pytest.raises(ValueInvalidError, match=r"before start.*campaigns\.csv, row 0"):
        read_campaigns(tmp_path / "campaigns.csv")


def test_items_from_parquet_keep_lists(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["a"], "tags": [["x", "y"]]})
    write_table(tmp_path / "items.parquet", items)
    assert read_items(tmp_path / "items.parquet").equals(items)
    with pytest.raises(SchemaError, match=r"CSV cannot hold lists .*column tags"):
        write_table(tmp_path / "items.csv", items)


def test_an_invalid_log_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write_events(path, _log(1))
    with pytest.raises(ValueInvalidError):
        write_events(path, _log(1).with_columns(kind=pl.lit("odd")))
    assert read_events(path).collect().equals(_log(1))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"log{ending}"
    write_events(path, _log(1))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"larger than allowed .*log"):
            write_events(path, _log(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert read_events(path).collect().equals(_log(1))


@pytest.mark.parametrize(
    ("unit", "number", "reads"),
    [
        ("us", -62135596800000000, True),
        ("us", -62135596800000001, False),
        ("us", 253402300799999999, True),
        ("us", 253402300800000000, False),
        ("ms", -62135596800001, False),
        ("ms", 2**62, False),
        ("ns", -(2**63) + 1, True),
    ],
)
def test_times_outside_of_the_calendar_are_named_by_row_and_number(
    tmp_path: Path, unit: str, number: int, *, reads: bool
) -> None:
    """They ended in a panic of the library when the log was described."""
    times = pa.array([0, number], pa.timestamp(unit))
    table = _log(2).to_arrow().drop_columns("time").append_column("time", times)
    pq.write_table(table, tmp_path / "log.parquet")
    if reads:
        assert read_events(tmp_path / "log.parquet").select("time").collect().height == 2
        return
    words = rf"years 1 to 9999 .*log\.parquet, row 1, column time, value {number}\]"
    with pytest.raises(ValueInvalidError, match=words):
        read_events(tmp_path / "log.parquet")


def test_bounds_are_settable(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "x": [1, 2], "y": ["z" * 50, "z"]})
    for ending, cell in (
        ("csv", "a field has more than 40"),
        ("parquet", "a text has more than 40"),
    ):
        path = tmp_path / f"items.{ending}"
        write_table(path, items)
        assert read_items(path, bounds=ReadBounds(columns=3, cell_bytes=50, memory=500)).height == 2
        with pytest.raises(SchemaError, match="3 columns, the bound is 2"):
            read_items(path, bounds=ReadBounds(columns=2))
        with pytest.raises(DataError, match=cell):
            read_items(path, bounds=ReadBounds(cell_bytes=40))
        with pytest.raises(FileUnreadableError, match="GB of memory or more"):
            read_items(path, bounds=ReadBounds(memory=50))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(FileUnreadableError, match="neither a file nor a folder"):
        read_events(tmp_path / "log.csv")


def test_parts_in_another_order_are_told(tmp_path: Path) -> None:
    _log(1).write_parquet(tmp_path / "a.parquet")
    _log(1, first=1).select(sorted(_log(1).columns)).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match=r"another order in a\.parquet"):
        read_events(tmp_path)
    _log(1, first=1).drop("position").write_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match=r"absent, which is Int32 in a\.parquet .*position"):
        read_events(tmp_path)


def test_items_that_a_log_shows_beside_its_catalogue() -> None:
    log = _log(4).with_columns(
        item_id=pl.Series(["b", "a", "x", "coupon"]),
        kind=pl.Series(["click", "click", "click", "redemption"]),
    )
    assert item_ids(log.lazy()).collect()["item_id"].to_list() == ["a", "b", "x"]
    known = pl.DataFrame({"item_id": ["a", "b", "c"], "n": [1, 2, 3]})
    items, said = with_missing_items(log.lazy(), known, "log.csv")
    assert items.rows() == [("a", 1), ("b", 2), ("c", 3), ("x", None)]
    assert said == (
        "1 events are of 1 items that the catalogue lacks; these are added with their ids alone, "
        "the first is 'x'",
    )
    assert with_missing_items(log.head(2).lazy(), known, "")[1] == ()
    with pytest.raises(ValueInvalidError, match=r"not in the items table.*log\.csv, row 0"):
        with_missing_items(log.lazy(), known[1:2].with_columns(item_id=pl.lit("c")), "log.csv")
