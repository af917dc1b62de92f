from __future__ import annotations

import errno
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.tasks.task import Task
from adwright.training.ranking import scoring
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.scoring import events_of, score_file
from tests.support.data.ranking_task import shop_task, untrained


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task")


@pytest.fixture(scope="module")
def ranker(task: Task) -> Ranker:
    return Ranker(untrained(task), task.spec, task.items)


@pytest.fixture(scope="module")
def rows(task: Task) -> pl.DataFrame:
    shuffled = task.rows("test").collect().sample(fraction=1, shuffle=True, seed=1)
    return shuffled.drop("visible", "frequency")


@pytest.fixture
def files(task: Task, rows: pl.DataFrame, tmp_path: Path) -> tuple[Path, Path]:
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=200)
    events = pl.read_parquet(task.events_path("test"))
    events.write_parquet(tmp_path / "events.parquet", row_group_size=100)
    return tmp_path / "rows.parquet", tmp_path / "events.parquet"


@pytest.mark.parametrize("chunk", [77, 100_000])
def test_scores_keep_the_order_of_the_rows(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path, chunk: int
) -> None:
    out = tmp_path / "new" / "scores.parquet"
    assert score_file(ranker, *files, out, chunk=chunk) == rows.height
    found = pl.read_parquet(out)
    kept = ["user_id", "request_id", "time", "item_id", "label"]
    assert found.select(kept).equals(rows.select(kept))
    expected = ranker.score_rows(rows, pl.read_parquet(files[1]))
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, atol=1e-6)
    assert found["known_item"].all()
    assert [path.name for path in out.parent.iterdir()] == ["scores.parquet"]


def test_csv_scores_like_parquet(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    part = rows[:300]
    form = "%Y-%m-%dT%H:%M:%SZ"
    part.write_csv(tmp_path / "rows.csv", datetime_format=form)
    pl.read_parquet(files[1]).write_csv(tmp_path / "events.csv", datetime_format=form)
    score_file(ranker, tmp_path / "rows.csv", tmp_path / "events.csv", tmp_path / "s.parquet")
    found = pl.read_parquet(tmp_path / "s.parquet")["probability"].to_numpy()
    expected = ranker.score_rows(part, pl.read_parquet(files[1]))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_unknown_items_are_marked(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    odd = rows[:3].with_columns(item_id=pl.Series(["i1", "new", "i2"]))
    odd.write_parquet(tmp_path / "odd.parquet")
    score_file(ranker, tmp_path / "odd.parquet", files[1], tmp_path / "s.parquet")
    assert pl.read_parquet(tmp_path / "s.parquet")["known_item"].to_list() == [True, False, True]


def test_integer_ids_and_no_rows(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    numbered = rows[:5].with_columns(user_id=pl.lit(7))
    numbered.write_parquet(tmp_path / "numbered.parquet")
    events = pl.read_parquet(files[1])[:4].with_columns(user_id=pl.lit(7))
    events.with_columns(time=pl.col("time") - timedelta(days=99)).write_parquet(
        tmp_path / "e.parquet"
    )
    args = (tmp_path / "numbered.parquet", tmp_path / "e.parquet", tmp_path / "s.parquet")
    assert score_file(ranker, *args) == 5
    assert pl.read_parquet(args[2])["user_id"].to_list() == [7] * 5
    rows[:0].write_parquet(tmp_path / "none.parquet")
    assert score_file(ranker, tmp_path / "none.parquet", *args[1:], overwrite=True) == 0
    assert pl.read_parquet(args[2]).height == 0


def test_bad_input_is_refused_by_place(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    empty = pl.when(pl.int_range(pl.len()) != 150).then("item_id").alias("item_id")
    rows.with_columns(empty).write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ValueInvalidError, match=r"bad\.parquet, row 150, column item_id"):
        score_file(ranker, tmp_path / "bad.parquet", files[1], out, chunk=100)
    rows.drop("price").write_parquet(tmp_path / "less.parquet")
    with pytest.raises(SchemaError, match=r"less\.parquet, column price"):
        score_file(ranker, tmp_path / "less.parquet", files[1], out)
    pl.read_parquet(files[1]).drop("time").write_parquet(tmp_path / "timeless.parquet")
    with pytest.raises(SchemaError, match=r"missing: time .*timeless"):
        score_file(ranker, files[0], tmp_path / "timeless.parquet", out)
    with pytest.raises(FileUnreadableError, match="check the path"):
        score_file(ranker, tmp_path / "absent.parquet", files[1], out)
    with pytest.raises(FileUnreadableError, match="no such file"):
        score_file(ranker, tmp_path / "absent.csv", files[1], out)
    with pytest.raises(SchemaError, match="as Parquet"):
        score_file(ranker, *files, tmp_path / "s.csv")
    with pytest.raises(ConfigError, match="chunk"):
        score_file(ranker, *files, out, chunk=0)
    assert not out.exists()
    assert not list(tmp_path.glob(".s.parquet*"))


def test_an_existing_file_is_kept(ranker: Ranker, files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    out.write_text("mine")
    with pytest.raises(ResourceError, match="exists already"):
        score_file(ranker, *files, out)
    assert out.read_text() == "mine"
    score_file(ranker, *files, out, overwrite=True)
    assert pl.read_parquet(out).height


def test_a_full_disk_leaves_nothing(
    ranker: Ranker,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scoring.pq.ParquetWriter, "write_table", full)
    with pytest.raises(ResourceError, match="disk is full"):
        score_file(ranker, *files, tmp_path / "s.parquet")
    assert not list(tmp_path.glob("*s.parquet*.tmp"))


def logged(history: pl.DataFrame, folder: Path, kinds: tuple[str, ...]) -> Path:
    """The events as a log: these kinds in turn, and an impression beside each of them."""
    kind = pl.Series([kinds[n % len(kinds)] for n in range(history.height)])
    shown = history.with_columns(item_id=pl.lit("i1"), kind=pl.lit("impression"))
    folder.mkdir()
    table = pl.concat([history.with_columns(kind=kind), shown])
    table.sort("user_id", "time", maintain_order=True).write_parquet(
        folder / "events.parquet", row_group_size=100
    )
    return folder


def test_what_was_shown_is_no_history(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    history = pl.read_parquet(files[1])
    log = logged(history, tmp_path / "log", ("click", "purchase"))
    expected = ranker.score_rows(rows, history)
    for events in (log, log / "events.parquet"):
        score_file(ranker, files[0], events, tmp_path / "s.parquet", overwrite=True)
        found = pl.read_parquet(tmp_path / "s.parquet")["probability"].to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
    mine = history.filter(user_id="u1").select("user_id", "item_id", "time")
    assert events_of(log, "u1").equals(mine)
    viewed = replace(ranker, history_kinds=("view",))
    with pytest.raises(ValueInvalidError, match=r"view .*click, impression, purchase"):
        score_file(viewed, files[0], log, tmp_path / "s.parquet", overwrite=True)


def test_popularity_is_counted_from_the_whole_log(
    task: Task, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Of earlier days, of the kinds that the task counts, and of all users, not only the rows'."""
    counting = Ranker(untrained(task), task.spec, task.items, popularity_kinds=("click",))
    events = pl.read_parquet(files[1]).with_columns(
        kind=pl.when(pl.int_range(pl.len()) % 3 == 0)
        .then(pl.lit("view"))
        .otherwise(pl.lit("click"))
    )
    events.write_parquet(tmp_path / "log.parquet", row_group_size=50)
    few = rows.filter(pl.col("user_id") == "u0")[:40]
    few.drop("popularity").write_parquet(tmp_path / "few.parquet")
    out = tmp_path / "s.parquet"
    score_file(counting, tmp_path / "few.parquet", tmp_path / "log.parquet", out, chunk=7)
    clicks = events.filter(pl.col("kind") == "click")
    counted = [
        clicks.filter(
            pl.col("item_id") == row["item_id"], pl.col("time").dt.date() < row["time"].date()
        ).height
        for row in few.iter_rows(named=True)
    ]
    assert max(counted) > 0
    told = few.with_columns(popularity=pl.Series(counted, dtype=pl.Float64))
    found = pl.read_parquet(out)["probability"].to_numpy()
    np.testing.assert_allclose(found, counting.score_rows(told, events), atol=1e-6)
    assert "popularity" not in pl.read_parquet(out).columns
    assert scoring.counts_popularity(counting, ["item_id"])
    assert not scoring.counts_popularity(counting, ["popularity"])


def test_popularity_of_another_meaning_must_be_said(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    rows.drop("popularity").write_parquet(tmp_path / "less.parquet")
    with pytest.raises(SchemaError, match=r"less\.parquet, column popularity"):
        score_file(ranker, tmp_path / "less.parquet", files[1], tmp_path / "s.parquet")


def test_new_items_are_scored_by_their_features(
    ranker: Ranker, task: Task, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    odd = rows[:3].with_columns(item_id=pl.Series(["i1", "new", "i2"]))
    odd.write_parquet(tmp_path / "odd.parquet")
    pl.DataFrame({"item_id": ["new", "i1"], "type": ["jam", "soap"]}).write_csv(
        tmp_path / "items.csv"
    )
    out, args = tmp_path / "s.parquet", (tmp_path / "odd.parquet", files[1])
    score_file(ranker, *args, out, items=tmp_path / "items.csv")
    found = pl.read_parquet(out)
    assert found["known_item"].all()
    without = ranker.score_rows(odd, pl.read_parquet(files[1]))
    np.testing.assert_allclose(found["probability"].to_numpy()[[0, 2]], without[[0, 2]], atol=1e-6)
    assert abs(found["probability"][1] - without[1]) > 1e-6
