"""Events of some users out of a file, whatever holds it."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.training.ranking.scoring import events_of, open_events

HOURS = pl.datetime_range(
    pl.datetime(2024, 5, 1), pl.datetime(2024, 5, 20), "1h", eager=True, time_zone="UTC"
)
EVENTS = pl.DataFrame(
    {
        "user_id": [f"u{n // 40}" for n in range(400)],
        "item_id": [f"i{n % 7}" for n in range(400)],
        "time": HOURS[:400],
        "kind": [("click", "view")[n % 2] for n in range(400)],
    }
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    EVENTS.write_parquet(tmp_path / "events.parquet", row_group_size=100)
    return tmp_path / "events.parquet"


def test_only_events_that_may_matter_are_read(file: Path) -> None:
    people = pl.Series(["u0"])
    with open_events(file) as source:
        assert source.of(people)["user_id"].unique().to_list() == ["u0"]
        groups = range(pq.ParquetFile(file).num_row_groups)
        read = [source.may_hold(group, people) for group in groups]
    assert any(read)
    assert not all(read)


def test_of_one_person_the_kinds_count_too(file: Path, tmp_path: Path) -> None:
    found, clicked = (events_of(file, "u1", kinds=kinds) for kinds in (("view",), ("click",)))
    assert found.height == clicked.height == 20
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["i1", "i1"], "time": [1, 1]}).with_columns(
        kind=pl.Series(["impression", "click"])
    ).write_parquet(tmp_path / "e.parquet")
    assert events_of(tmp_path / "e.parquet", "b").height == 1
    with pytest.raises(ValueInvalidError, match="no click or purchase of this user"):
        events_of(tmp_path / "e.parquet", "a")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "renamed"])
def test_every_file_that_is_a_log_will_do(file: Path, tmp_path: Path, ending: str) -> None:
    plain = EVENTS.with_columns(pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"))
    other = tmp_path / f"other.{ending}"
    match ending:
        case "csv":
            plain.write_csv(other)
        case "csv.gz":
            other.write_bytes(gzip.compress(plain.write_csv().encode()))
        case "jsonl":
            plain.write_ndjson(other)
        case "renamed":
            other = tmp_path / "other.csv"
            names = {"user_id": "customer_id", "item_id": "product_id", "time": "timestamp"}
            plain.rename(names).write_csv(other, separator=";")
    mine, theirs = events_of(file, "u3"), events_of(other, "u3")
    assert theirs.height == 20
    assert theirs["item_id"].to_list() == mine["item_id"].to_list()
    seconds = [table["time"].dt.epoch("s").to_list() for table in (mine, theirs)]
    assert seconds[0] == seconds[1]


def test_without_kinds_all_events_count(tmp_path: Path) -> None:
    EVENTS.drop("kind").rename({"user_id": "customer"}).write_csv(tmp_path / "e.csv")
    assert events_of(tmp_path / "e.csv", "u2").height == 40


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such"):
        events_of(tmp_path / "none.csv", "u1")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError):
        events_of(tmp_path / "bad.csv", "u1")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FileUnreadableError, match="damaged"):
        events_of(tmp_path / "bad.parquet", "u1")
