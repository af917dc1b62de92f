"""Whatever holds a table is read by one function, and what holds none is refused by its name."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.sources.bounds import ReadBounds
from adwright.data.sources.frames import as_frame, id_text, name_of

TABLE = pl.DataFrame({"user": ["1", "2"], "title": ['a "b"', "c, d; e"], "n": ["1", None]})
QUOTED = 'user{0}title{0}n\n1{0}"a ""b"""{0}1\n2{0}"c, d; e"{0}\n'


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", [",", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_by_any_separator(tmp_path: Path, separator: str, end: str, *, packed: bool) -> None:
    data = QUOTED.format(separator).replace("\n", end).encode()
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    found = as_frame(path)
    assert found.frame.collect().equals(TABLE)
    assert (found.name, found.locate(1)) == (str(path), (str(path), 1))
    assert found.first_line == f"user{separator}title{separator}n"
    assert found.decimal_comma == (separator == ";")


def test_tabs_have_no_quotes(tmp_path: Path) -> None:
    for name in ("t.tsv", "t.txt", "t.csv"):
        (tmp_path / name).write_text('user\ttitle\n1\ta "b\n')
        assert as_frame(tmp_path / name).frame.collect().row(0) == ("1", 'a "b')


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json", "t.jsonl.gz", "t.ndjson.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    data = b'{"user": 1, "tags": ["a"]}\n{"user": 2}\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert as_frame(tmp_path / name).frame.collect().rows() == [(1, ["a"]), (2, None)]


def test_parquet_and_its_parts(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "t.parquet")
    assert as_frame(tmp_path / "t.parquet").frame.collect().equals(TABLE)
    assert as_frame(str(tmp_path)).frame.collect().equals(TABLE)


def test_packed_files_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a\n1\n", mtime=0))
    assert as_frame(tmp_path / "t.csv").frame.collect().rows() == [("1",)]


def test_types_follow_from_values_where_they_may(tmp_path: Path) -> None:
    def ids(names: Sequence[str]) -> list[str]:
        assert list(names) == ["id", "price"]
        return ["id"]

    (tmp_path / "t.csv").write_text("id;price\n007;2,5\n")
    assert as_frame(tmp_path / "t.csv", text=ids).frame.collect().rows() == [("007", 2.5)]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id,price\n007,2.5\n", mtime=0))
    assert as_frame(tmp_path / "t.csv.gz", text=ids).frame.collect().rows() == [("007", 2.5)]


class Stream:
    """A table of another library: no more than Arrow's stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return pa.table({"user": [1]}).__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"user": [1]}),
        pl.LazyFrame({"user": [1]}),
        pa.table({"user": [1]}),
        pa.RecordBatch.from_pydict({"user": [1]}),
        Stream(),
        [{"user": 1}],
        ({"user": 1},),
    ],
    ids=lambda table: type(table).__name__,
)
def test_tables_in_memory(table: Any) -> None:
    found = as_frame(table)
    assert found.frame.collect().rows() == [(1,)]
    assert (found.name, found.locate(5)) == ("the table", ("", 5))


def test_tables_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"user": [1.0, None], "item": ["a", "b"]}, index=["x", "y"])
    found = as_frame(table).frame
    assert found.collect().columns == ["user", "item"]
    assert found.select(id_text(found, "user")).collect()["user"].to_list() == [1, None]


def test_ids_lose_their_blanks_and_keep_their_fractions() -> None:
    frame = pl.LazyFrame({"a": [" x ", "  ", None], "b": [1.5, 2.0, None], "c": [1, 2, 3]})
    found = frame.select(id_text(frame, name) for name in "abc").collect()
    assert found["a"].to_list() == ["x", "  ", None]
    assert found["b"].to_list() == [1.5, 2.0, None]
    assert found["c"].to_list() == [1, 2, 3]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (3, "int is no table.*list of dicts"),
        ([1, 2], "list is no table"),
        ([{"a": 1}, {"a": [object()]}], "list makes no table"),
    ],
)
def test_what_is_no_table_is_refused(table: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        as_frame(table)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.xlsx", b"PK\x03\x04...", "spreadsheet or a zip archive.*as CSV"),
        ("t.csv", b"PK\x03\x04...", "spreadsheet or a zip archive"),
        ("t.xls", b"\xd0\xcf\x11\xe0", "spreadsheet"),
        ("t.avro", b"Obj", r"tables end in \.parquet.*not in \.avro"),
        ("t", b"a,b", "not in nothing"),
        ("t.parquet.gz", gzip.compress(b"a,b", mtime=0), "not a Parquet file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((SchemaError, FileUnreadableError), match=words) as caught:
        as_frame(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_packed_files_are_bounded_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"a\n" + b"1\n" * 10_000_000))
    with pytest.raises(FileUnreadableError, match=r"unpacks to more than 0\.00 GB.*bomb\.csv\.gz"):
        as_frame(bomb, bounds=ReadBounds(memory=1 << 20))
    for data in (gzip.compress(b"a\n1\n", mtime=0)[:-6], b"\x1f\x8bnothing"):
        bomb.write_bytes(data)
        with pytest.raises(FileUnreadableError, match=r"gzip file is damaged.*bomb\.csv\.gz"):
            as_frame(bomb)
    bomb.write_bytes(gzip.compress(b"a,b\n1,2\n3\n", mtime=0))
    with pytest.raises(FileUnreadableError, match="line 3 has 1 fields") as caught:
        as_frame(bomb)
    assert caught.value.file == str(bomb)
    assert "scratch" not in str(caught.value)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_names() -> None:
    assert name_of("logs/shop.csv.gz") == "shop"
    assert name_of(Path("shop")) == "shop"
    assert name_of(TABLE) == "log"
