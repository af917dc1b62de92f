"""What stands before and between the rows of an export is put right and said, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.creative.records.export_file import ExportTable, read_export
from adwright.data.checks import Check, run_checks
from adwright.data.sources.bounds import ReadBounds

PLAIN = "Day,Ad ID,Cost\n2026-01-01,1,2.5\n2026-01-02,1,3.5\n"
TITLE = 'Ad report\n"January 1, 2026 - January 2, 2026"\n'


def known(names: Sequence[str]) -> int:
    return len({"Day", "Ad ID", "Cost"} & set(names))


def read(path: Path, data: bytes, **bounds: int) -> ExportTable:
    path.write_bytes(data)
    return read_export(path, known, bounds=ReadBounds(**bounds))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("before", "encoding", "repairs"),
    [
        ("", "utf-8", []),
        ("", "utf-8-sig", ["byte-order mark at the beginning passed over"]),
        ("", "utf-16", ["file read as UTF-16"]),
        (TITLE, "utf-8", ["lines before the header passed over"]),
        (TITLE, "utf-16", ["file read as UTF-16", "lines before the header passed over"]),
        (
            TITLE,
            "utf-8-sig",
            ["byte-order mark at the beginning passed over", "lines before the header passed over"],
        ),
    ],
)
@pytest.mark.parametrize(("separator", "end"), [(",", "\n"), ("\t", "\n"), (",", "\r")])
def test_the_header_is_found(
    tmp_path: Path,
    before: str,
    encoding: str,
    repairs: list[str],
    separator: str,
    end: str,
    *,
    packed: bool,
) -> None:
    data = (before + PLAIN.replace(",", separator)).replace("\n", end).encode(encoding)
    path = tmp_path / ("e.csv.gz" if packed else "e.csv")
    table = read(path, gzip.compress(data, mtime=0) if packed else data)
    assert table.frame.rows() == [("2026-01-01", "1", "2.5"), ("2026-01-02", "1", "3.5")]
    assert table.frame.columns == ["Day", "Ad ID", "Cost"]
    assert [one.what for one in table.repairs] == repairs
    assert (table.name, table.locate(1)) == (str(path), (str(path), 1))


def test_the_lines_of_errors_are_those_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="line 5 has 2 fields") as caught:
        read(tmp_path / "e.csv", (TITLE + PLAIN[:-5]).encode())
    assert caught.value.file == str(tmp_path / "e.csv")
    with pytest.raises(FileUnreadableError, match="line 4 is not UTF-8"):
        read(tmp_path / "e.csv", (TITLE + PLAIN.replace("2.5", "\xe9")).encode("latin1"))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty"),
        (b"Day,Ad ID,Cost\n", "no rows"),
        (b"Day,Ad ID,Cost\n,,\n", "no rows"),
        (TITLE.encode() + b"Day,Ad ID,Cost\n", "no rows"),
        (PLAIN.encode("utf-16-le"), "zero bytes"),
        (PLAIN.encode("utf-16")[:-1], "UTF-16"),
        (gzip.compress((TITLE + PLAIN).encode(), mtime=0)[:-9], "damaged or cut off"),
    ],
)
def test_what_holds_no_rows_is_refused(tmp_path: Path, data: bytes, part: str) -> None:
    with pytest.raises(FileUnreadableError, match=part):
        read(tmp_path / "e.csv", data)


def test_what_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    data = gzip.compress((TITLE + PLAIN + "2026-01-03,1,4\n" * 10_000).encode(), mtime=0)
    with pytest.raises(FileUnreadableError, match="bound of memory"):
        read(tmp_path / "e.csv.gz", data, memory=10_000)


def test_blank_rows_are_counted_but_not_inside_of_quotes(tmp_path: Path) -> None:
    data = TITLE + 'Day,Ad ID,Cost\n\n2026-01-01,"1\n\n,,",2\n,,\n \u00a0,,\n2026-01-02,1,3\n'
    table = read(tmp_path / "e.csv", data.encode())
    assert table.frame["Ad ID"].to_list() == ["1\n\n,,", "1"]
    blank = table.repairs[-1]
    assert (blank.what, blank.count) == ("blank rows passed over", 3)
    assert blank.first == ("line 4", "line 8", "line 9")


def test_blank_rows_of_other_tables() -> None:
    frame = pl.DataFrame({"a": ["x", " ", None], "n": [1, None, None]})
    table = read_export(frame, known)
    assert table.frame.rows() == [("x", 1)]
    (repair,) = table.repairs
    assert (repair.count, repair.first) == (2, ("row 1", "row 2"))


def test_rows_that_are_left_out_do_not_move_the_others() -> None:
    table = read_export(pl.DataFrame({"n": [1, 2, 3, 4]}), known)
    odd = table.without(table.frame["n"] % 2 == 0, "even ones left out", table.frame["n"])
    assert odd.frame["n"].to_list() == [1, 3]
    assert odd.repairs[0].first == ("row 1: 2", "row 3: 4")
    again = odd.without(pl.Series([True, None]), "the first left out")
    with pytest.raises(ValueInvalidError) as caught:
        run_checks(again.frame.lazy(), [Check("n", pl.col("n") > 0, "none", "none")], again.locate)
    assert caught.value.row == 2
    assert again.without(pl.Series([False]), "nothing") is again


def test_semicolons_suggest_a_decimal_comma(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", PLAIN.replace(",", ";").encode()).decimal_comma
    assert not read(tmp_path / "e.csv", PLAIN.encode()).decimal_comma
