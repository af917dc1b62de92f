from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.tasks.task_writer import SplitWriter, to_storage


def frames(lengths: list[tuple[int, int]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and events of users 0, 1, ...: (rows, events) of each."""
    rows = [user for user, (n, _) in enumerate(lengths) for _ in range(n)]
    events = [user for user, (_, n) in enumerate(lengths) for _ in range(n)]
    return (
        pl.DataFrame(
            {"user_id": rows, "label": [r % 2 for r in rows]},
            schema={"user_id": pl.Int64, "label": pl.Int8},
        ),
        pl.DataFrame({"user_id": events}, schema={"user_id": pl.Int64}),
    )


def written(folder: Path, name: str) -> list[list[str]]:
    """The user_id column of each row group."""
    with pq.ParquetFile(folder / f"{name}.parquet") as file:
        groups = [file.read_row_group(g) for g in range(file.num_row_groups)]
    return [group["user_id"].to_pylist() for group in groups]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_groups_end_with_the_user_that_fills_them(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[tuple[int, int]],
    rows_per_group: int,
    step: int,
) -> None:
    expected: list[list[int]] = [[]]
    for user, (n, _) in enumerate(lengths):
        if sum(lengths[u][0] for u in expected[-1]) >= rows_per_group:
            expected.append([])
        expected[-1].append(user)
        assert n > 0
    folder = tmp_path_factory.mktemp("split")
    rows, events = frames(lengths)
    with SplitWriter(folder, rows_per_group) as writer:
        for start in range(0, len(lengths), step):
            mine = pl.col("user_id").is_between(start, start + step - 1)
            writer.add(rows.filter(mine), events.filter(mine))
    assert written(folder, "rows") == [
        [str(u) for u in users for _ in range(lengths[u][0])] for users in expected
    ]
    assert written(folder, "events") == [
        [str(u) for u in users for _ in range(lengths[u][1])] for users in expected
    ]
    assert (writer.n_rows, writer.n_users) == (rows.height, len(lengths))
    assert writer.n_positives == rows["label"].sum()


def test_a_split_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    rows, events = frames([])
    with SplitWriter(tmp_path, 10) as writer:
        writer.add(rows, events)
        writer.add(rows, events)
    assert written(tmp_path, "rows") == written(tmp_path, "events") == [[]]
    assert pq.read_schema(tmp_path / "rows.parquet").names == ["user_id", "label"]


def test_an_error_closes_the_files_and_writes_no_rest(tmp_path: Path) -> None:
    rows, events = frames([(2, 1), (2, 1)])

    def fail() -> None:
        with SplitWriter(tmp_path, 3) as writer:
            writer.add(rows[:2], events[:1])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not (tmp_path / "rows.parquet").exists()


def test_ids_become_text_and_other_columns_stay_what_they_are() -> None:
    frame = pl.DataFrame(
        {
            "user_id": [20, 3],
            "item_id": ["b", "a"],
            "store": pl.Series(["x", None], dtype=pl.Categorical),
            "kind": pl.Series(["p", "q"], dtype=pl.Enum(["q", "p"])),
            "note": ["n", None],
            "tags": [["x"], []],
            "sizes": [[1], [2, 3]],
            "price": [1.5, None],
        }
    )
    table = to_storage(frame)
    for name in ("user_id", "item_id", "store", "kind", "note"):
        assert table.schema.field(name).type == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.field("tags").type == pa.list_(pa.string())
    assert table.schema.field("sizes").type == pa.list_(pa.int64())
    expected = frame.with_columns(pl.col("user_id").cast(pl.String))
    assert table.to_pylist() == expected.to_dicts()


def test_stored_text_is_read_back_as_text(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user_id": [20, 3], "store": pl.Series(["x", None], dtype=pl.Categorical)}
    )
    with SplitWriter(tmp_path, 1) as writer:
        writer.add(frame.with_columns(label=pl.lit(1)), frame.select("user_id"))
    read = pl.read_parquet(tmp_path / "rows.parquet")
    assert read.schema == {"user_id": pl.String, "store": pl.String, "label": pl.Int32}
