from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task, write_task
from adwright.models.ranking.din import DIN
from adwright.training.ranking import scoring
from adwright.training.ranking.fit import open_stream, predict, predict_batches
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


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such"):
        events_of(tmp_path / "none.csv", "u1")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError):
        events_of(tmp_path / "bad.csv", "u1")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FileUnreadableError, match="damaged"):
        events_of(tmp_path / "bad.parquet", "u1")


def test_equals_one_batch_a_person(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task).eval()
    found = predict(model, task, "valid")
    config = StreamConfig(groups_per_batch=1, rows_per_group=1, window=3, shuffle=False)
    slow = np.full(len(found.label), np.nan)
    with torch.no_grad():
        for batch, _ in open_stream(task, "valid", config).epoch():
            slow[batch.row.numpy()] = torch.sigmoid(model(batch).double()).numpy()
    assert np.allclose(found.probability, slow, atol=1e-6)


def test_max_history_changes_scores(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    whole = predict(model, task, "valid").probability
    assert not np.allclose(whole, predict(model, task, "valid", max_history=1).probability)
    assert np.array_equal(whole, predict(model, task, "valid", max_history=10**6).probability)


def test_divided_is_the_same_in_one_process(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    whole, divided = (predict(model, task, "test", divided=flag) for flag in (False, True))
    assert np.array_equal(whole.probability, divided.probability)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode(task: Task, make_din: Callable[..., DIN], training: bool) -> None:
    model = make_din(task).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, task, "valid")
    assert model.training is training
    # Scoring takes nothing into the moving averages of Dice.
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    stream = open_stream(task, "valid", StreamConfig(shuffle=False))
    batches = predict_batches(model, stream)
    next(batches)
    assert not model.training
    batches.close()
    assert model.training is training


class Extreme(nn.Module):
    def forward(self, batch: object) -> Tensor:
        rows: int = len(batch)  # type: ignore[arg-type]
        return torch.full((rows,), -1e5)


def test_an_empty_split_is_refused(task: Task, tmp_path: Path) -> None:
    rows = task.rows("train").collect().with_columns(split=pl.lit("train"))
    empty = write_task(
        tmp_path / "no-valid",
        name="tiny",
        protocol="made up",
        data_hash="0" * 64,
        rows=rows.drop("visible", "frequency"),
        events=pl.read_parquet(task.events_path("train")),
        items=task.items,
        features=[replace(f, vocabulary=()) for f in task.spec.features],
    )
    with pytest.raises(ValueInvalidError, match=r"the valid split has no rows.*valid.rows.parquet"):
        predict(Extreme(), empty, "valid")
