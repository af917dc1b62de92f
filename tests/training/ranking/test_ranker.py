from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.tasks.task import Task
from adwright.models.calibration import IdentityCalibrator, PlattCalibrator
from adwright.training.ranking.fit import predict
from adwright.training.ranking.ranker import KIND, Ranker
from tests.support.data.ranking_task import (
    HSTU,
    ITEMS,
    MODEL,
    START,
    shop_run,
    shop_task,
    untrained,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop")
    shop_run(path)
    return path


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return Task.open(folder / "task")


@pytest.fixture(scope="module")
def ranker(folder: Path) -> Ranker:
    return Ranker.load(folder / "run" / "ranker")


@pytest.fixture(scope="module")
def rows(task: Task) -> pl.DataFrame:
    return task.rows("test").collect()


@pytest.fixture(scope="module")
def events(task: Task) -> pl.DataFrame:
    return pl.read_parquet(task.events_path("test"))


def test_score_undoes_the_sampling_and_then_calibrates(ranker: Ranker, task: Task) -> None:
    q = predict(ranker.model, task, "test").probability
    p = q / (q + (1 - q) / ranker.negative_rate)
    assert isinstance(ranker.calibrator, PlattCalibrator)
    expected = ranker.calibrator(p)
    np.testing.assert_allclose(ranker.score(task, "test"), expected, atol=1e-12)
    plain = replace(ranker, calibrator=IdentityCalibrator(), negative_rate=1.0)
    np.testing.assert_allclose(plain.score(task, "test"), q, atol=1e-12)


def test_tables_score_like_the_task(
    ranker: Ranker, task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    expected = ranker.score(task, "test")
    np.testing.assert_allclose(ranker.score_rows(rows, events), expected, atol=1e-6)
    order = np.random.default_rng(0).permutation(rows.height)
    np.testing.assert_allclose(ranker.score_rows(rows[order], events), expected[order], atol=1e-6)
    assert len(ranker.score_rows(rows[:0], events)) == 0


def test_what_was_shown_is_no_history(
    ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    kinds = pl.Series(["click", "purchase"] * events.height)[: events.height]
    shown = events.with_columns(item_id=pl.lit("i1"), kind=pl.lit("impression"))
    log = pl.concat([events.with_columns(kind=kinds), shown])
    expected = ranker.score_rows(rows, events)
    np.testing.assert_allclose(ranker.score_rows(rows, log), expected, atol=1e-6)
    mine, logged = (table.filter(user_id="u1") for table in (events, log))
    assert ranker.explain(logged, "i2").equals(ranker.explain(mine, "i2"))
    clicked = replace(ranker, history_kinds=("click",)).score_rows(rows, log)
    only = ranker.score_rows(rows, events.filter(kinds == "click"))
    np.testing.assert_allclose(clicked, only, atol=1e-6)
    assert np.abs(clicked - expected).max() > 1e-3
    with pytest.raises(ValueInvalidError, match=r"click, purchase .*impression"):
        ranker.explain(shown.filter(user_id="u1"), "i2")


def test_history_is_cut_as_in_training(
    ranker: Ranker, task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    short = replace(ranker, max_history=2)
    cut = short.score_rows(rows, events)
    np.testing.assert_allclose(cut, short.score(task, "test"), atol=1e-6)
    assert np.abs(cut - ranker.score_rows(rows, events)).max() > 1e-3


def test_the_unknown_is_scored_by_what_is_known(
    ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    odd = rows[:2].with_columns(item_id=pl.lit("new item"), user_id=pl.lit("new person"))
    found = ranker.score_rows(odd, events)
    assert ((found > 0) & (found < 1)).all()
    for column in ("store", "price"):
        empty = rows[:2].with_columns(pl.lit(None, dtype=rows.schema[column]).alias(column))
        assert np.isfinite(ranker.score_rows(empty, events)).all()


def test_another_tasks_features_are_refused(ranker: Ranker, tmp_path: Path) -> None:
    other = shop_task(tmp_path / "task", users=3)
    with pytest.raises(SchemaError, match="score_rows"):
        ranker.score(other, "test")


def test_recommend_ranks_by_probability(
    ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    people = rows.filter(pl.col("user_id").is_in(["u1", "u2"]))
    found = ranker.recommend(events, people, k=4)
    assert found.columns == ["user_id", "rank", "item_id", "name", "probability"]
    assert found["rank"].to_list() == [1, 2, 3, 4] * 2
    for user in ("u1", "u2"):
        mine = people.filter(user_id=user)
        scored = mine.with_columns(p=pl.Series(ranker.score_rows(mine, events)))
        best = scored.group_by("item_id").agg(pl.col("p").max()).sort("p", descending=True)
        shown = found.filter(user_id=user)
        assert shown["item_id"].to_list() == best["item_id"].head(4).to_list()
        assert shown["item_id"].n_unique() == 4
    # Shopper 1 likes what stands at 1 modulo 5.
    liked = [int(item[1:]) % 5 == 1 for item in found.filter(user_id="u1")["item_id"]]
    assert sum(liked) >= 3


def test_recommend_for_one_person(ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    mine, candidates = events.filter(user_id="u7"), rows.filter(user_id="u7")
    found = ranker.recommend(mine, candidates.drop("user_id"), k=2)
    assert found.equals(ranker.recommend(events, candidates, k=2))
    with pytest.raises(SchemaError, match="exactly one"):
        ranker.recommend(events, candidates.drop("user_id"))
    with pytest.raises(ConfigError, match="k 0"):
        ranker.recommend(events, candidates, k=0)


def test_explain_multiplies_activation_and_count(ranker: Ranker) -> None:
    history = pl.DataFrame(
        {"item_id": ["i1", "i2", "i1", "gone", "i3"], "time": [START] * 4 + [None]}
    )
    found = ranker.explain(history, "i6", k=10)
    assert sorted(found["item_id"]) == ["i1", "i2", "i3"]
    counts = dict(zip(found["item_id"], found["count"], strict=True))
    assert counts == {"i1": 2, "i2": 1, "i3": 1}
    weights = (found["activation"] * found["count"]).to_numpy()
    np.testing.assert_allclose(found["weight"].to_numpy(), weights)
    assert (np.diff(np.abs(weights)) <= 0).all()
    code = ranker.items.rows(pl.Series(["i6", "i1"]).to_arrow())
    direct = ranker.model.activations(torch.tensor(code[:1]), torch.tensor(code[1:]))
    row = found.row(by_predicate=pl.col("item_id") == "i1", named=True)
    assert row["activation"] == pytest.approx(float(direct[0, 0]))
    assert row["last"] == START
    assert ranker.explain(history, "i6", k=1).height == 1
    assert ranker.explain(history[:0], "i6").height == 0
    assert ranker.explain(history.drop("time"), "i6")["last"].null_count() == 3


def test_explain_refuses_what_it_cannot_tell(ranker: Ranker, task: Task) -> None:
    history = pl.DataFrame({"item_id": ["i1"]})
    with pytest.raises(ValueInvalidError, match="value 'nothing'"):
        ranker.explain(history, "nothing")
    with pytest.raises(ConfigError, match="k 0"):
        ranker.explain(history, "i1", k=0)
    assert ranker.explains
    base = untrained(task, replace(MODEL, interest="sum"))
    with pytest.raises(ConfigError, match="Base has no single weight"):
        Ranker(base, task.spec, task.items).explain(history, "i1")


def test_hstu_is_saved_and_explains_nothing(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame, tmp_path: Path
) -> None:
    made = Ranker(untrained(task, HSTU), task.spec, task.items, negative_rate=0.5)
    assert not made.explains
    with pytest.raises(ConfigError, match="HSTU has no single weight"):
        made.explain(events.filter(user_id="u1"), "i1")
    made.save(tmp_path / "r")
    again = Ranker.load(tmp_path / "r")
    assert again.model.config == HSTU
    assert np.array_equal(again.score_rows(rows, events), made.score_rows(rows, events))
    np.testing.assert_allclose(made.score_rows(rows, events), made.score(task, "test"), atol=1e-6)
    assert made.recommend(events, rows, k=2).height == 2 * rows["user_id"].n_unique()


def test_save_and_load_keep_everything(
    ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame, tmp_path: Path
) -> None:
    full = replace(ranker, parents=("abc",), max_history=7, files={"note.txt": b"hello"})
    first = full.save(tmp_path / "r", clock=FixedClock())
    again = Ranker.load(tmp_path / "r")
    assert np.array_equal(again.score_rows(rows, events), full.score_rows(rows, events))
    for name in ("spec", "calibrator", "negative_rate", "max_history", "report", "seed"):
        assert getattr(again, name) == getattr(full, name)
    assert (again.parents, again.data_hash, again.files) == (
        ("abc",),
        full.data_hash,
        {"note.txt": b"hello"},
    )
    assert again.catalogue.equals(full.catalogue)
    assert not again.model.training
    with pytest.raises(ResourceError, match="exists"):
        full.save(tmp_path / "r")
    assert full.save(tmp_path / "r", overwrite=True, clock=FixedClock()) == first


def resaved(folder: Path, target: Path, **changes: object) -> None:
    """The artifact with parts of it replaced, and with right hashes."""
    saved = load_artifact(folder / "run" / "ranker")
    values = {
        "kind": KIND,
        "config": saved.config,
        "tensors": saved.tensors,
        "files": saved.files,
        "feature_spec": saved.feature_spec,
    }
    save_artifact(target, **{**values, **changes})  # type: ignore[arg-type]


def test_other_artifacts_are_refused_clearly(folder: Path, tmp_path: Path) -> None:
    saved = load_artifact(folder / "run" / "ranker")
    missing = {n: t for n, t in saved.tensors.items() if n != "mlp.0.weight"}
    damaged: dict[str, dict[str, object]] = {
        "kind": {"kind": "index"},
        "model": {"config": {**saved.config, "model": {"depth": 3}}},
        "rate": {"config": {"model": saved.config["model"]}},
        "tensor": {"tensors": missing},
        "spec": {"feature_spec": None},
        "items": {"files": {n: d for n, d in saved.files.items() if n != "items.parquet"}},
        "catalogue": {"files": {**saved.files, "items.parquet": b"PAR1 no"}},
        "calibrator": {"files": {**saved.files, "calibrator.json": '{"method": "magic"}'}},
        "report": {"files": {**saved.files, "report.json": "{}"}},
    }
    for name, changes in damaged.items():
        resaved(folder, tmp_path / name, **changes)
        with pytest.raises(ArtifactError) as caught:
            Ranker.load(tmp_path / name)
        assert "->" in str(caught.value), name


def test_new_items_are_known_by_their_features(
    ranker: Ranker, rows: pl.DataFrame, task: Task
) -> None:
    """An item that is like another one but for its id is scored as an unknown id of that type."""
    events = pl.read_parquet(task.events_path("test"))
    new = pl.DataFrame(
        {"item_id": ["n1", "n2", "i0"], "type": ["tea", "never seen", "soap"], "extra": [1, 2, 3]}
    )
    wider = ranker.with_items(new)
    assert wider.catalogue["item_id"].to_list() == [*ITEMS["item_id"], "n1", "n2"]
    assert wider.catalogue.columns == ranker.catalogue.columns
    # What was known stays as it was, also where the table says otherwise.
    before = ranker.score_rows(rows, events)
    np.testing.assert_array_equal(wider.score_rows(rows, events), before)
    some = rows[:20]
    as_new = [
        wider.score_rows(some.with_columns(item_id=pl.lit(name)), events) for name in ("n1", "n2")
    ]
    unknown = ranker.score_rows(some.with_columns(item_id=pl.lit("nobody")), events)
    assert np.abs(as_new[0] - as_new[1]).max() > 1e-4
    assert np.abs(as_new[0] - unknown).max() > 1e-4
    # A type that training never saw is code 0, as everything of an unknown item is.
    np.testing.assert_allclose(as_new[1], unknown, atol=1e-6)
    with pytest.raises(SchemaError, match="lack a column"):
        ranker.with_items(new.drop("type"))
    with pytest.raises(ValueInvalidError, match="unique"):
        ranker.with_items(pl.concat([new, new]))


def test_tables_of_other_libraries_are_taken(ranker: Ranker, task: Task) -> None:
    rows, events = task.rows("test").head(50).collect(), pl.read_parquet(task.events_path("test"))
    expected = ranker.score_rows(rows, events)
    for make in (pl.DataFrame.lazy, pl.DataFrame.to_arrow):
        assert np.array_equal(ranker.score_rows(make(rows), make(events)), expected)
    best = ranker.recommend(events.lazy(), rows.to_arrow(), k=2)
    assert best.equals(ranker.recommend(events, rows, k=2))
    mine = events.filter(user_id="u1")
    assert ranker.explain(mine.to_arrow(), "i1").equals(ranker.explain(mine, "i1"))
    assert np.array_equal(ranker.score_rows(rows.to_dicts(), events), expected)
    with pytest.raises(SchemaError, match=r"rows are a table, not a file .*score_file"):
        ranker.score_rows(Path("rows.parquet"), events)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match=r"the rows: NoneType is no table"):
        ranker.score_rows(None, events)  # type: ignore[arg-type]
    for k in ("3", 2.0):
        with pytest.raises(ConfigError, match="k is a whole number, not"):
            ranker.recommend(events, rows, k=k)  # type: ignore[arg-type]
