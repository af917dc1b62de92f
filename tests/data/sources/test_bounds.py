"""What is larger than the bounds is refused with the bound, the file and the column."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.schema import in_file
from adwright.data.sources.bounds import (
    PARQUET_ENDINGS,
    USUAL_BOUNDS,
    ReadBounds,
    check_cells,
    check_footer,
    check_memory,
    check_names,
    read_json_lines,
    reading,
    scan_parquet,
    scan_parts,
)
from adwright.data.sources.csvfile import (
    TimeColumn,
    parse_columns,
    parse_time,
    scan_csv,
    sniff_separator,
    time_column,
)

PATH = Path("here.parquet")


def _footer(table: pa.Table, folder: Path) -> pq.FileMetaData:
    pq.write_table(table, folder / "table.parquet")
    return pq.read_metadata(folder / "table.parquet")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b", "c", "d"], "4 columns, the bound is 3 .*column d"),
        (["a", "ab" * 3], r"more than 5 bytes .*column ababab\.\.\."),
        (["a", "ööö"], r"more than 5 bytes .*column ööö\.\.\."),
        (["a", "b", "a"], "names a column twice .*column a"),
    ],
)
def test_names_beyond_a_bound_are_refused(names: list[str], words: str) -> None:
    bounds = ReadBounds(columns=3, name_bytes=5)
    check_names(["a", "b", "ccccc"], bounds, file="x")
    with pytest.raises(SchemaError, match=words):
        check_names(names, bounds, file="x")


def test_a_footer_is_held_against_the_bounds(tmp_path: Path) -> None:
    nested = pa.array([[[1]]])
    footer = _footer(pa.table({"item_id": ["a"], "deep": nested}), tmp_path)
    check_footer(PATH, footer, ReadBounds(columns=2, depth=2))
    with pytest.raises(SchemaError, match=r"2 deep, the bound is 1 \[here.parquet, column deep\]"):
        check_footer(PATH, footer, ReadBounds(depth=1))
    with pytest.raises(SchemaError, match="2 columns, the bound is 1"):
        check_footer(PATH, footer, ReadBounds(columns=1))


@pytest.mark.parametrize("listed", [False, True])
def test_a_time_zone_that_is_unknown_is_named(tmp_path: Path, *, listed: bool) -> None:
    for zone, known in (("Europe/Berlin", True), ("+02:00", True), ("Mars/Olympus", False)):
        times = pa.array([0], pa.timestamp("us", tz=zone))
        column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), times) if listed else times
        footer = _footer(pa.table({"time": column}), tmp_path)
        if known:
            check_footer(PATH, footer, ReadBounds())
            continue
        with pytest.raises(SchemaError, match=r"zone 'Mars/Olympus' is unknown .*column time"):
            check_footer(PATH, footer, ReadBounds())


def test_rows_that_pack_to_nothing_count_for_the_memory(tmp_path: Path) -> None:
    footer = _footer(pa.table({"item_id": ["x"] * 100_000, "n": [1] * 100_000}), tmp_path)
    size = (tmp_path / "table.parquet").stat().st_size
    assert size < 10_000
    check_memory(PATH, footer, ReadBounds(memory=2_400_000))
    check_memory(PATH, footer, ReadBounds(memory=1_700_000), whole=False)
    check_memory(PATH, footer, ReadBounds())
    with pytest.raises(FileUnreadableError, match=r"takes 0.00 GB .* raise ReadBounds.memory"):
        check_memory(PATH, footer, ReadBounds(memory=2_399_999))
    with pytest.raises(FileUnreadableError, match="of memory or more"):
        check_memory(PATH, footer, ReadBounds(memory=1_699_999), whole=False)
    with pytest.raises(FileUnreadableError, match="of memory or more"):
        check_memory(tmp_path / "table.parquet", None, ReadBounds(memory=size - 1))


def test_a_long_text_is_named_by_its_row(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", "y"], "b": ["z", "z" * 2000]})
    footer, frame = _footer(table, tmp_path), pl.scan_parquet(tmp_path / "table.parquet")
    check_cells(frame, [footer], ReadBounds(cell_bytes=2000), in_file("f"))
    with pytest.raises(ValueInvalidError, match=r"more than 1,999 bytes.*f, row 1, column b") as e:
        check_cells(frame, [footer], ReadBounds(cell_bytes=1999), in_file("f"))
    assert e.value.value == "z" * 60


class _Cause:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pl.exceptions.PanicException("unwrap on None\nmore"), "damaged: unwrap on None"),
        (pl.exceptions.ComputeError("bad page"), "damaged: bad page"),
        (pa.ArrowInvalid(""), "damaged: ArrowInvalid"),
        (OSError("no"), "damaged: no"),
        (OverflowError("too far"), "damaged: too far"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_a_library_says_becomes_an_error_that_names_the_file(
    error: BaseException, words: str
) -> None:
    with pytest.raises(FileUnreadableError, match=rf"{words} .*here\.parquet"):
        reading(PATH, _Cause(error))
    assert reading(PATH, lambda: 3) == 3
    with pytest.raises(SchemaError, match="ours"):
        reading(PATH, _Cause(SchemaError("ours")))


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "log.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_objects_become_rows(tmp_path: Path) -> None:
    text = '{"a": 1, "b": "x"}\n\n{"b": "é", "c": {"d": 2}, "e": [1]}\n'
    found = read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    assert found.select("a", "b", "e").rows() == [(1, "x", None), (None, "é", [1])]
    assert found["c"].to_list()[1] == {"d": 2}


def test_types_that_come_late_are_seen(tmp_path: Path) -> None:
    text = '{"a": 1}\n' * 2000 + '{"a": 1.5, "b": true}\n'
    found = read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    assert found.row(-1) == (1.5, True)
    assert found.schema["a"] == pl.Float64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": \n', r"line 2 is no JSON object .*log\.jsonl"),
        ('{"a": 1}\n[1]\n', "line 2 is no JSON object"),
        ('[{"a": 1}]', r"line 1 is no JSON object.*jq"),
        ("a,b\n1,2\n", "line 1 is no JSON object"),
        ('{"a": NaN-}\n', "line 1 is no JSON object"),
        ("\n \n", "the file is empty"),
        (b'{"a": "\xff"}\n', "line 1 is not UTF-8"),
    ],
)
def test_what_is_no_object_is_named_by_its_line(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(FileUnreadableError, match=words) as caught:
        read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    assert caught.value.hint


@pytest.mark.parametrize("depth", [10, 500, 100_000])
def test_deep_objects_are_refused(tmp_path: Path, depth: int) -> None:
    text = '{"a": 1}\n{"a": ' + "[" * depth + "]" * depth + "}\n"
    with pytest.raises(SchemaError, match=r"line 2: .*more than 8 deep"):
        read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    if depth == 10:
        found = read_json_lines(written(tmp_path, text[9:]), ReadBounds(depth=10))
        assert found.height == 1


def test_bounds_of_columns_lines_and_memory(tmp_path: Path) -> None:
    wide = "{" + ",".join(f'"c{n}": 1' for n in range(9)) + "}"
    with pytest.raises(SchemaError, match="9 columns, the bound is 8"):
        read_json_lines(written(tmp_path, wide), ReadBounds(columns=8))
    with pytest.raises(FileUnreadableError, match="line 1 has more than 40 bytes"):
        read_json_lines(written(tmp_path, wide), ReadBounds(cell_bytes=20))
    with pytest.raises(FileUnreadableError, match="GB of memory"):
        read_json_lines(written(tmp_path, wide), ReadBounds(memory=10))


def lines(*, count: int = 20_000, row: Callable[[int], object]) -> str:
    return "\n".join(json.dumps(row(number)) for number in range(count))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (lines(row=lambda n: {"id": n, f"k{n % 3990}": 1}), "79,820,000 cells, of which 40,000"),
        (lines(row=lambda n: {f"k{n}": 1}), "4,001 columns"),
        (lines(row=lambda n: {"a": {f"k{n}": 1}}), "line 4001: objects inside rows"),
        (lines(count=300, row=lambda n: {"a": [[{f"k{10 * n}": 1}] + [{}] * 99]}), "cells"),
    ],
)
def test_a_small_file_takes_little_memory(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        read_json_lines(written(tmp_path, text), USUAL_BOUNDS)


TABLE = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.mark.parametrize("ending", PARQUET_ENDINGS)
def test_a_file_is_read_lazily(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    TABLE.write_parquet(path)
    frame, locate = scan_parquet(path, USUAL_BOUNDS, whole=False)
    assert frame.collect().equals(TABLE)
    assert locate(1) == (str(path), 1)


def test_parts_are_one_table_whose_rows_keep_their_places(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "2.parquet")
    TABLE.write_parquet(tmp_path / "1.parquet")
    frame, locate = scan_parts(tmp_path, USUAL_BOUNDS, whole=True)
    assert frame.collect().height == 4
    assert locate(3) == (str(tmp_path / "2.parquet"), 1)
    assert locate(9) == (str(tmp_path), 9)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("a,b")
    with pytest.raises(FileUnreadableError, match="not a Parquet file"):
        scan_parquet(tmp_path / "t.parquet", USUAL_BOUNDS, whole=True)
    (tmp_path / "parts").mkdir()
    with pytest.raises(FileUnreadableError, match="holds no Parquet files"):
        scan_parts(tmp_path / "parts", USUAL_BOUNDS, whole=True)
    TABLE.write_parquet(tmp_path / "parts" / "a.parquet")
    TABLE.drop("b").write_parquet(tmp_path / "parts" / "b.parquet")
    with pytest.raises(SchemaError, match="the parts differ"):
        scan_parts(tmp_path / "parts", USUAL_BOUNDS, whole=True)


def _write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _times(*texts: str | None) -> list[datetime | None]:
    column = pl.Series("t", texts, dtype=pl.String).to_frame().select(parse_time(pl.col("t")))
    assert column.schema == {"t": pl.Datetime("us", "UTC")}
    return column["t"].to_list()


def test_spellings_of_one_instant() -> None:
    second = datetime(2017, 1, 1, 11, 53, 26, tzinfo=UTC)
    assert (
        _times(
            "2017-01-01T11:53:26Z",
            "2017-01-01 11:53:26",
            " 2017-01-01t11:53:26z ",
            "2017-01-01T13:53:26+02:00",
            "2017-01-01 06:53:26-0500",
            "2017-01-01 06:53:26-05",
            "2017-01-01T11:53:26.000",
            "2017-01-01 11:53:26 UTC",
            "1483271606",
            "1483271606.0",
        )
        == [second] * 10
    )
    assert _times("2017-01-01", "2017-01-01T00:00", "2017-01-01T02:00+02:00") == (
        [datetime(2017, 1, 1, tzinfo=UTC)] * 3
    )
    assert _times("2017-01-01T00:00:00.25", "1483228800.25", "-1.5") == [
        *[datetime(2017, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)] * 2,
        datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC),
    ]


@given(st.integers(-(10**17) + 10**8, 10**17 - 10**8))
def test_seconds_are_exact_to_the_microsecond(micros: int) -> None:
    whole, part = divmod(abs(micros), 10**6)
    text = f"{'-' if micros < 0 else ''}{whole}.{part:06}"
    column = pl.select(parse_time(pl.lit(text)).dt.epoch("us")).to_series()
    assert column.to_list() == [micros]


def test_what_is_no_time_is_null() -> None:
    texts = ["", "noon", "2017-13-01", "2017-02-30", "01/02/2017", "1483271606000", "nan", "inf"]
    assert _times(*texts, None) == [None] * 9


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))
def test_every_iso_time_of_python_is_read(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert _times(aware.isoformat(), moment.isoformat(" ")) == [
        aware.astimezone(UTC),
        moment.replace(tzinfo=UTC),
    ]


def test_types_follow_from_values_unless_text_is_asked(tmp_path: Path) -> None:
    path = _write(tmp_path, 'id,price,name\n007,1.5,"a, b"\n8,,"say ""x"""\n')
    some = scan_csv(path, needed=["id"], text=["id"]).collect()
    assert some.rows() == [("007", 1.5, "a, b"), ("8", None, 'say "x"')]
    everything = scan_csv(path, needed=["id"], text=None).collect()
    assert everything.rows()[0] == ("007", "1.5", "a, b")


@pytest.mark.parametrize(
    "content", ["id,n\n\n1,2\n\n", "id,n\r\n1,2\r\n", "\ufeffid,n\n1,2", 'id,n\n"1",2\n']
)
def test_harmless_differences_are_read(tmp_path: Path, content: str) -> None:
    assert scan_csv(_write(tmp_path, content), needed=["id"], text=None).collect().rows() == [
        ("1", "2")
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,n\n1,2\n3\n", "line 3 has 1 fields where the header has 2"),
        ("id,n\n1,2,3\n", "line 2 has 3 fields where the header has 2"),
        ('id,n\n"1\n1",2\n3\n', "line 4 has 1 fields"),  # the second row spans two lines
        ('id,n\n"1,2\n3,4\n', "line 3 is not CSV: unexpected end of data"),
        ("id,n\n1,2\n3,caf\xe9\n".encode("latin-1"), r"line 3 is not UTF-8 .*caf\\xe9"),
        (b"\xff\xfei\x00d\x00", "line 1 is not UTF-8"),
        ("", "the file is empty"),
    ],
)
def test_malformed_files_are_refused_with_the_line(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    with pytest.raises(FileUnreadableError, match=words) as caught:
        scan_csv(_write(tmp_path, content), needed=["id"], text=None)
    assert "table.csv" in str(caught.value)
    assert caught.value.hint


def test_headers_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"header is missing: the first line is '1,2'"):
        scan_csv(_write(tmp_path, "1,2\n3,4\n"), needed=["id"], text=None)
    with pytest.raises(SchemaError, match=r"is missing, or names other.*id \(rename 'ID'\?\)"):
        scan_csv(_write(tmp_path, "ID,n\n1,2\n"), needed=["id"], text=None)
    with pytest.raises(SchemaError, match=r"header is missing: the first line is blank"):
        scan_csv(_write(tmp_path, " \n1,2\n"), needed=["id"], text=None)
    with pytest.raises(SchemaError, match=r"names a column twice .*column n"):
        scan_csv(_write(tmp_path, "id,n,n\n1,2,3\n"), needed=["id"], text=None)
    for header in ("id,n\n", "id,n"):
        path = _write(tmp_path, header)
        assert scan_csv(path, needed=["id"], text=None).collect().height == 0


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("a,b;c,d", ","),
        ("a;b", ";"),
        ("a\tb", "\t"),
        ("a|b", "|"),
        ("a", ","),
        ('"a,b,c";d', ";"),
        ("\ufeffa;b", ";"),
    ],
)
def test_the_separator_is_seen_in_the_header(tmp_path: Path, header: str, separator: str) -> None:
    found, names = sniff_separator(_write(tmp_path, f"{header}\n1,2,3,4\n"))
    assert found == separator
    assert separator.join(names).replace('"', "") == header.replace('"', "").lstrip("\ufeff")


def test_quotes_and_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    path = _write(tmp_path, 'id;price\n"a;b";1,5\n')
    found = scan_csv(path, needed=["id"], text=["id"], separator=";", quoted=True)
    assert found.collect().rows() == [("a;b", 1.5)]
    with pytest.raises(FileUnreadableError, match="line 2 has 3 fields"):
        scan_csv(path, needed=["id"], text=["id"], separator=";")


def test_cells_that_cannot_be_read_are_named() -> None:
    frame = pl.LazyFrame({"at": ["0", "1", None], "n": ["1", "x", "y"]})
    numbers = {"n": pl.Int64(), "absent": pl.Int64()}
    with pytest.raises(ValueInvalidError, match=r"n cannot be read as a number; 2 rows .*'x'"):
        parse_columns(frame, ["at"], numbers, in_file("f"))
    with pytest.raises(ValueInvalidError, match=r"n cannot be read as a time; .*\[f, row 1,"):
        parse_columns(frame.with_columns(n=pl.Series(["1", "x", None])), ["n"], {}, in_file("f"))
    good = parse_columns(frame.drop("n"), ["at", "absent"], numbers, in_file("f")).collect()
    assert good["at"].to_list() == [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        None,
    ]


def test_thousands_of_columns_cost_little(tmp_path: Path) -> None:
    """One test of all columns, pushed into the reader, took 4 GB for 2,000 of them."""
    wide = ReadBounds(columns=20_000)
    names = [f"c{number}" for number in range(20_000)]
    path = _write(tmp_path, f"{','.join(names)}\n{'1,' * 19_999}1\n\n{'2,' * 19_999}2\n")
    frame = scan_csv(path, needed=["c0"], text=["c0"], bounds=wide)
    assert frame.select("c0", "c19999").collect().rows() == [("1", 1), ("2", 2)]
    with pytest.raises(SchemaError, match=r"20,000 columns, the bound is 4,000 .*column c4000"):
        scan_csv(path, needed=["c0"], text=["c0"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\nx,yyyyyyyyyy\n", r"a field has more than 9 bytes .*column b\] -> keep fields short"),
        ("a,b\nx,y,z\nx," + "y" * 10, "line 2 has 3 fields"),
        ("aaaaaaaaaa,b\n", "line 1: a field has more than 9 bytes"),
        ('a,b\n"xxxx\nyyyy\nzzzz', "never closed makes one field"),
    ],
)
def test_long_fields_are_called_that(tmp_path: Path, content: str, words: str) -> None:
    limit = csv.field_size_limit()
    with pytest.raises(FileUnreadableError, match=words):
        scan_csv(
            _write(tmp_path, content), needed=["a"], text=None, bounds=ReadBounds(cell_bytes=9)
        )
    assert csv.field_size_limit() == limit


def test_a_row_that_does_not_end_within_two_blocks_is_called_long(tmp_path: Path) -> None:
    fields = ",".join(["x" * 1_000_000] * 12)
    path = _write(tmp_path, ",".join("abcdefghijkl") + f"\n{fields}\n")
    with pytest.raises(FileUnreadableError, match="line 2: one of its fields, or the line, has"):
        scan_csv(path, needed=["a"], text=None)


NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


def read(values: list[Any], **settings: str) -> TimeColumn:
    return time_column(pl.LazyFrame({"t": values}), "t", in_file("f"), **settings)


def moments(values: list[Any], **settings: str) -> list[datetime | None]:
    frame = pl.LazyFrame({"t": values})
    found = frame.select(t=time_column(frame, "t", in_file("f"), **settings).value).collect()
    assert found.schema == {"t": pl.Datetime("us", "UTC")}
    return found["t"].to_list()


@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (NOON, {}),
        (NOON.replace(tzinfo=None), {}),
        (NOON.astimezone(timezone(timedelta(hours=5.5))), {}),
        (SECONDS, {}),
        (float(SECONDS), {}),
        (SECONDS * 1000, {}),
        (SECONDS * 10**6, {}),
        (SECONDS * 10**9, {}),
        (SECONDS, {"time_format": "s"}),
        (SECONDS * 1000, {"time_format": "ms"}),
        (str(SECONDS), {}),
        (str(SECONDS * 1000), {}),
        (str(SECONDS * 10**9), {}),
        (str(SECONDS), {"time_format": "s"}),
        (f"{SECONDS * 1000}", {"time_format": "ms"}),
        ("2024-03-04T12:00:00Z", {}),
        (" 2024-03-04 12:00:00 UTC", {}),
        ("2024-03-04T17:30:00+05:30", {"time_zone": "Europe/Paris"}),
        ("2024-03-04 13:00", {"time_zone": "Europe/Paris"}),
        ("04/03/2024 12:00", {"time_format": "%d/%m/%Y %H:%M"}),
        ("04/03/2024 13:00", {"time_format": "%d/%m/%Y %H:%M", "time_zone": "Europe/Paris"}),
        ("4 Mar 2024, 17:30 +0530", {"time_format": "%d %b %Y, %H:%M %z"}),
        (20240304120000, {"time_format": "%Y%m%d%H%M%S"}),
        ("24030412", {"time_format": "%y%m%d%H"}),
    ],
)
def test_one_instant_in_many_spellings(value: object, settings: dict[str, str]) -> None:
    assert moments([value, None, value], **settings) == [NOON, None, NOON]


def test_hours_that_come_twice_or_never() -> None:
    texts = ["2024-10-27 02:30", "2024-03-31 02:30", "2024-03-31 03:30"]
    found = moments(texts, time_zone="Europe/Paris")
    paris = ZoneInfo("Europe/Paris")
    assert found == [
        datetime(2024, 10, 27, 2, 30, tzinfo=paris, fold=0).astimezone(UTC),
        datetime(2024, 3, 31, 3, 30, tzinfo=paris).astimezone(UTC),
        datetime(2024, 3, 31, 3, 30, tzinfo=paris).astimezone(UTC),
    ]


def test_how_it_was_read_is_said() -> None:
    assert read([NOON]).said == ()
    assert read([NOON.replace(tzinfo=None)]).said == ("t: times name no zone and are read as UTC",)
    assert read(["2024-03-04"], time_zone="Asia/Tokyo").said == (
        "t: times name no zone and are read as Asia/Tokyo",
    )
    assert read([SECONDS]).said == ()
    assert read([SECONDS * 1000]).said == ("t: the numbers are read as milliseconds since 1970",)
    mixed = read(["2024-03-04T12:00:00", "2024-03-04T12:00:00", "2024-03-04T12:00:00+05:30"])
    assert mixed.odd == (
        "t: 2 times name no zone and are read as UTC, 1 name theirs: are both right?",
    )


@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        (["03/04/2024"], {}, r'row 0.*"%d/%m/%Y" or "%m/%d/%Y"'),
        (["03/04/2024", "14/04/2024"], {}, r'say which is the day: --time-format "%d/%m/%Y"$'),
        (["3.4.24 10:00:00"], {}, r"%d\.%m\.%y %H:%M:%S"),
        (["2024-03-04", "noon"], {}, r"row 1.*value 'noon'.*write times as 2017-01-31"),
        ([str(SECONDS), str(SECONDS * 1000)], {}, r"row 1.*looks like milliseconds"),
        (["20240304", "20240305"], {}, r"dates as one number.*--time-format \"%Y%m%d\" or s"),
        ([20240304, 20240305], {}, r"dates as one number"),
        (["202403041200"], {}, r"cannot be read as a time"),
        ([202403041200], {}, r"cannot be read as a time"),
        (["2024-03-04"], {"time_format": "%d/%m/%Y"}, r"of the format '%d/%m/%Y'.*row 0"),
        (["noon"], {"time_format": "ms"}, "row 0"),
        ([SECONDS, SECONDS, 2**62], {}, "row 2"),
    ],
)
def test_what_could_mean_two_things_or_nothing_is_refused(
    values: list[Any], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        read(values, **settings)


def test_times_outside_of_the_calendar_are_refused() -> None:
    wild = pl.Series("t", [0, 2**62]).cast(pl.Datetime("ms")).to_frame().lazy()
    with pytest.raises(ValueInvalidError, match=r"years 1 to 9999 .*f, row 1, column t"):
        time_column(wild, "t", in_file("f"))


def test_a_column_of_something_else_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"t must be a timestamp, text or a number, not List"):
        read([[1]])
