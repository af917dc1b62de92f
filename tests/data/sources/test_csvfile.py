"""CSV is read strictly, and every spelling of a time that is promised is understood."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.checks import in_file
from adwright.data.sources.bounds import ReadBounds
from adwright.data.sources.csvfile import parse_columns, parse_time, scan_csv, sniff_separator


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


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
)
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


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_every_instant_survives_both_spellings(moment: datetime) -> None:
    instant = moment.replace(tzinfo=UTC)
    micros = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    sign, digits = "-" if micros < 0 else "", f"{abs(micros):07d}"
    seconds = f"{sign}{digits[:-6]}.{digits[-6:]}"
    assert _times(instant.isoformat(), seconds) == [instant, instant]


def test_columns_that_are_absent_are_passed_over() -> None:
    frame = pl.LazyFrame({"a": ["1", " 2.5 ", None], "b": ["x", "y", "z"]})
    numbers = {"a": pl.Float64(), "absent": pl.Int64()}
    found = parse_columns(frame, ["gone"], numbers, in_file("f")).collect()
    assert found["a"].to_list() == [1, 2.5, None]
    assert found.columns == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [("a", "1,5", "a cannot be read as a number"), ("t", "noon", "t cannot be read as a time")],
)
def test_a_cell_that_cannot_be_read_is_named(column: str, text: str, message: str) -> None:
    frame = pl.LazyFrame({column: [None, text]}, schema={column: pl.String})
    with pytest.raises(ValueInvalidError, match=f"{message}.*f, row 1") as caught:
        parse_columns(frame, ["t"], {"a": pl.Float64()}, in_file("f"))
    assert caught.value.value == text


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
