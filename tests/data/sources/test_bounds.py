"""What is larger than the bounds is refused with the bound, the file and the column."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.checks import in_file
from adwright.data.sources.bounds import (
    ReadBounds,
    check_cells,
    check_footer,
    check_memory,
    check_names,
    reading,
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
