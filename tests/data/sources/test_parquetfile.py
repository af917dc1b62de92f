"""Parquet files and folders of parts; what is wrong with one is tested in test_tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.sources.bounds import USUAL_BOUNDS
from adwright.data.sources.parquetfile import PARQUET_ENDINGS, scan_parquet, scan_parts

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
