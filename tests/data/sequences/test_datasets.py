"""Readers of item sequences: codes, order, ties, and the real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.sequences.datasets import (
    read_movielens_1m,
    read_movielens_small,
    read_table,
    sequences_of_table,
    sequences_of_task,
)
from tests.support.data.small_next_basket import small_task


def _ratings(folder: Path) -> Path:
    path = folder / "ratings.csv"
    rows = ["userId,movieId,rating,timestamp", "2,30,0.5,9", "1,7,5.0,4", "1,3,4.5,2"]
    rows += [f"1,{n},3.0,3" for n in range(10, 40)]
    path.write_text("\n".join(rows) + "\n")
    return path


def _films(codes: np.ndarray, ids: tuple[str, ...]) -> list[int]:
    return [int(ids[code - 1]) for code in codes]


def test_ratings_are_sorted_by_time_and_ties_by_the_declared_order(tmp_path: Path) -> None:
    path = _ratings(tmp_path)
    in_file = read_movielens_small(path, order="file")
    assert in_file.users == ("1", "2")
    assert _films(in_file.item, in_file.ids) == [3, *range(10, 40), 7, 30]
    assert in_file.action is not None
    assert in_file.action[[0, -2, -1]].tolist() == [9, 10, 1]
    hashed = read_movielens_small(path)
    films = _films(hashed.item, hashed.ids)
    assert films != _films(in_file.item, in_file.ids)
    assert [films[0], *films[-2:]] == [3, 7, 30]
    assert sorted(films[1:-2]) == list(range(10, 40))
    other = read_movielens_small(path, seed=1)
    assert _films(other.item, other.ids) != films
    assert len({in_file.data_hash, hashed.data_hash, other.data_hash}) == 3


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_movielens_small(_ratings(tmp_path), order="random")  # type: ignore[arg-type]
    with pytest.raises(FileUnreadableError):
        read_movielens_small(tmp_path / "absent.csv")
    with pytest.raises(FileUnreadableError):
        read_movielens_1m(tmp_path)
    pl.DataFrame({"user_id": [1]}).write_parquet(tmp_path / "sequences.parquet")
    with pytest.raises(SchemaError, match="item_id"):
        read_movielens_1m(tmp_path)
    with pytest.raises(ValueInvalidError, match="stand together"):
        sequences_of_table(
            pl.DataFrame({"user_id": ["a", "b", "a"], "item_id": ["x"] * 3}),
            name="n",
            data_hash="h",
        )
    with pytest.raises(ValueInvalidError, match="missing"):
        sequences_of_table(
            pl.DataFrame({"user_id": ["a", "a"], "item_id": ["x", None]}), name="n", data_hash="h"
        )


def test_context_is_coded_per_person(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [5, 5, 2], "item_id": [9, 4, 4], "position": [1, 0, 0]}).write_parquet(
        tmp_path / "sequences.parquet"
    )
    pl.DataFrame(
        {"userID": [2, 5], "gender": ["M", "F"], "age": [25, None], "occupation": [3, 3]}
    ).write_parquet(tmp_path / "users.parquet")
    known = read_movielens_1m(tmp_path, context=True)
    assert known.users == ("2", "5")
    assert known.item.tolist() == [1, 1, 2]
    assert known.context is not None
    assert known.context.tolist() == [[2, 1, 1], [1, 0, 1]]
    assert known.context_sizes == (3, 2, 2)
    assert read_movielens_1m(tmp_path).context is None


def test_a_next_basket_task_keeps_its_codes_and_its_instants() -> None:
    task = small_task()
    sequences = sequences_of_task(task)
    assert sequences.items == 12
    assert (sequences.item == task.item).all()
    assert sequences.moment is not None
    assert sequences.time is not None
    assert np.diff(np.unique(sequences.time)).tolist() == [86_400] * 7
    # The history of the last event is the task's history of the last basket.
    last = task.visits("test")
    assert (sequences.held("test")[1] == task.visit_end[last]).all()


def test_a_next_basket_task_can_keep_its_own_splits() -> None:
    task = small_task()
    sequences = sequences_of_task(task, split="task")
    assert sequences.by_moment
    assert sequences.data_hash != sequences_of_task(task).data_hash
    assert (sequences.count == task.count).all()
    for final, held in ((False, ("valid", "test")), (True, ("test",))):
        for user, end in enumerate(sequences.training_end(final=final)):
            later = [v for s in held for v in task.visits(s) if task.visit_user[v] == user]
            assert end == min(task.visit_end[later], default=task.user_offsets[user + 1])


def test_movielens_1m_is_the_published_set(shared_data: Path) -> None:
    data = read_movielens_1m(shared_data / "ml-1m", context=True)
    assert len(data) == 6040
    assert data.items == 3706
    assert len(data.item) == 1_000_209
    assert data.context_sizes == (3, 8, 22)
    assert len(data.people("test")) == len(data.people("valid")) == 6040
    assert data.count.sum() == 1_000_209 - 2 * 6040


def test_movielens_small_has_times_and_stars(shared_data: Path) -> None:
    data = read_movielens_small(shared_data / "ml-latest-small" / "ratings.csv")
    assert len(data) == 610
    assert data.items == 9724
    assert data.action is not None
    assert set(np.unique(data.action).tolist()) == set(range(1, 11))


def test_tables_are_read_by_their_ending(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": ["007"], "item_id": ["1"], "time": [5]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.CSV")
    assert read_table(tmp_path / "a.parquet").equals(table)
    # Ids of digits stay text, with their zeros.
    assert read_table(tmp_path / "a.CSV").equals(table)
    (tmp_path / "b.parquet").write_text("user_id,item_id")
    for name in ("b.parquet", "absent.csv"):
        with pytest.raises(
            FileUnreadableError, match=f"(damaged|not a Parquet|no such file).*{name}"
        ):
            read_table(tmp_path / name)


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_a_table_without_ids_is_refused(column: str) -> None:
    table = pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}).drop(column)
    with pytest.raises(SchemaError, match=f"lacks a column .*column {column}"):
        sequences_of_table(table, name="n", data_hash="h")


@pytest.mark.parametrize("column", ["time", "action"])
def test_a_time_or_an_action_that_is_missing_is_refused(column: str) -> None:
    table = pl.DataFrame(
        {"user_id": ["a", "a"], "item_id": ["x", "y"], "time": [1, 2], "action": [0, 1]}
    ).with_columns(pl.when(pl.col("item_id") == "x").then(column).alias(column))
    with pytest.raises(ValueInvalidError, match=f"missing .*column {column}"):
        sequences_of_table(table, name="n", data_hash="h")


def test_codes_follow_the_ids_and_actions_are_asked_for() -> None:
    table = pl.DataFrame(
        {"user_id": [9, 9, 2], "item_id": [30, 4, 30], "time": [1, 2, 3], "action": [0, 1, 1]}
    )
    plain = sequences_of_table(table, name="n", data_hash="h")
    assert (plain.users, plain.ids) == (("9", "2"), ("4", "30"))
    assert (plain.item.tolist(), plain.offsets.tolist()) == ([2, 1, 2], [0, 2, 3])
    assert plain.action is None
    acted = sequences_of_table(table, name="n", data_hash="h", actions=2)
    assert acted.action is not None
    assert acted.action.tolist() == [0, 1, 1]
