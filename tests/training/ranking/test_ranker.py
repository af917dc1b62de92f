"""?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import (
    AdwrightError,
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    AssetError,
    ConfigError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.batches.stream import PartialStream
from adwright.data.features import Feature
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.data.sources.log import save_log
from adwright.data.tasks.from_log import LogTaskConfig
from adwright.data.tasks.task import Task, write_task
from adwright.models.calibration import EmbeddingConfig, IdentityCalibrator, PlattCalibrator
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.hstu_target import HSTUTargetConfig
from adwright.training.ranking.config import (
    RANKER_SPACE,
    RunConfig,
    TaskConfig,
    default_fit,
    open_task,
    ranker_defaults,
    ranker_search,
    response_task,
    with_settings,
)
from adwright.training.ranking.fit import FitConfig, PartialFit, predict
from adwright.training.ranking.ranker import KIND, Ranker
from tests.support.data.ranking_task import (
    FIT,
    HSTU,
    ITEMS,
    MODEL,
    START,
    shop_run,
    shop_task,
    small_log,
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


def test_changed_bytes_and_pickles_are_refused(folder: Path, tmp_path: Path) -> None:
    resaved(folder, tmp_path / "r")
    path = tmp_path / "r" / "calibrator.json"
    path.write_text(json.dumps({"method": "none"}))
    with pytest.raises(ArtifactCorruptError):
        Ranker.load(tmp_path / "r")
    resaved(folder, tmp_path / "p")
    (tmp_path / "p" / "model.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ArtifactUnsafeError):
        Ranker.load(tmp_path / "p")
    with pytest.raises(AdwrightError, match="no artifact"):
        Ranker.load(tmp_path / "nowhere")


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


def test_run_files(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'seed = 4\nout = "here"\ncalibration = "isotonic"\n'
        '[task]\nkind = "folder"\nfolder = "t"\n'
        '[model]\ninterest = "sum"\n[fit]\nepochs = 3\n[fit.stream]\nnegative_rate = 0.5\n'
    )
    config = load_toml(path, RunConfig)
    assert config.task == TaskConfig(kind="folder", folder=Path("t"))
    assert (config.seed, config.fit.epochs, config.out) == (4, 3, Path("here"))
    assert from_jsonable(RunConfig, to_jsonable(config)) == config
    path.write_text("[fit]\nepoch = 3\n")
    with pytest.raises(ConfigError, match=r"run\.toml, key fit\.epoch"):
        load_toml(path, RunConfig)


def test_a_run_file_names_its_model(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[model]\nkind = "hstu"\nblocks = 2\n[model.stochastic_length]\nalpha = 1.7\n')
    config = load_toml(path, RunConfig)
    asked = HSTUTargetConfig(blocks=2, stochastic_length=StochasticLength(1.7))
    assert config.model == asked
    assert from_jsonable(RunConfig, to_jsonable(config)) == config
    path.write_text('[model]\nkind = "din"\nattention_hidden = 8\n')
    assert load_toml(path, RunConfig).model == DINConfig(attention_hidden=8)
    for wrong, message in (
        ('kind = "hstu"\nblock = 3', r"run\.toml, HSTUTargetConfig, key block"),
        ("blocks = 3", r"run\.toml, DINConfig, key blocks"),
        ('kind = "gru"', "no ranker 'gru'"),
        ('kind = "hstu"\nblocks = 0', "at least 1"),
    ):
        path.write_text(f"[model]\n{wrong}\n")
        with pytest.raises(ConfigError, match=message):
            load_toml(path, RunConfig)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaskConfig(kind="folder"), "names its folder"),
        (lambda: TaskConfig(folder=Path("x")), "names its folder"),
        (lambda: TaskConfig(households=0), "households"),
        (lambda: RunConfig(draws=0), "draws"),
        (lambda: RunConfig(threads=-1), "threads"),
        (lambda: RunConfig(fit=replace(default_fit(), seed=1)), "seed"),
    ],
)
def test_bad_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_a_log_becomes_a_task(tmp_path: Path) -> None:
    save_log(tmp_path / "log", small_log())
    config = TaskConfig(kind="log", folder=tmp_path / "log", cache=tmp_path / "cache")
    task = open_task(config)
    assert task.n_rows("train") + task.n_rows("valid") + task.n_rows("test") == 60
    viewed = replace(config, from_log=LogTaskConfig(history=("view", "click")))
    assert open_task(viewed).history_kinds == ("view", "click")
    both = replace(config, from_log=LogTaskConfig(responses=("click", "view")))
    assert open_task(both).data_hash != task.data_hash
    (tmp_path / "run.toml").write_text(
        '[task]\nkind = "log"\nfolder = "log"\n[task.from_log]\nresponses = ["click"]\n'
        "valid_from = 2024-01-02T00:00:00Z\ntest_from = 2024-01-03T00:00:00Z\n"
    )
    read = load_toml(tmp_path / "run.toml", RunConfig).task.from_log
    assert read.responses == ("click",)
    assert read.test_from == datetime(2024, 1, 3, tzinfo=UTC)


def test_movielens_is_a_task(tmp_path: Path) -> None:
    task = open_task(TaskConfig(kind="movielens", cache=tmp_path))
    assert task.meta["name"] == "movielens"
    assert task.folder.parent == tmp_path
    other = open_task(TaskConfig(kind="movielens", cache=tmp_path, seed=1))
    assert other.data_hash != task.data_hash


def test_the_response_task_is_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = response_task(households=0.02)
    assert response_task(households=0.02).folder == first.folder
    assert open_task(TaskConfig(households=0.02)).folder == first.folder
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="switched off"):
        response_task(households=0.02, offline=True)
    with pytest.raises(AssetError, match="unpacked"):
        response_task(households=0.02, path=tmp_path)


FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("visible", "numeric", "user", log=True),
)


def task_of(
    folder: Path, *, users: int, rows: int, positives: int, events: int = 3, longest: int = 0
) -> Task:
    """A task in which each user has as many rows; the meta counts are all that matters here."""
    table = pl.DataFrame(
        {
            "user_id": [f"u{n % users}" for n in range(users * 2)],
            "request_id": [f"r{n}" for n in range(users * 2)],
            "time": [10**6 + n // users for n in range(users * 2)],
            "item_id": ["a"] * users * 2,
            "label": [n % 2 for n in range(users * 2)],
            "split": "train",
        }
    )
    own = [f"u{n % users}" for n in range(users * events)] + ["u0"] * longest
    log = pl.DataFrame({"user_id": own, "item_id": "a", "time": range(len(own))})
    items = pl.DataFrame({"item_id": ["a"]})
    made = write_task(
        folder,
        name="t",
        protocol="p",
        data_hash="h",
        rows=table,
        events=log,
        items=items,
        features=FEATURES,
    )
    counts = {"rows": rows, "positives": positives, "users": users}
    made.meta["splits"]["train"] = counts
    return made


@pytest.mark.parametrize(
    ("rows", "positives", "rate"),
    [
        (80_000, 40_000, 1.0),  # 1 in 2
        (1_340_000, 134_000, 1.0),  # 1 in 10
        (12_600_000, 210_000, 0.051),  # 1 in 60 of millions
        (60_000, 1_000, 1.0),  # 1 in 60, but few
        (1_200_000, 20_000, 0.41),  # 1 in 60, of a million: half a million rows are kept
    ],
)
def test_negatives_follow_from_the_share_of_positives(
    tmp_path: Path, rows: int, positives: int, rate: float
) -> None:
    task = task_of(tmp_path / "t", users=10, rows=rows, positives=positives)
    found = ranker_defaults(task)
    assert found.fit.stream.negative_rate == pytest.approx(rate)
    assert f"keep {rate:.2g} of the negatives" in found.why[0]


def test_epochs_and_batches_follow_from_the_rows(tmp_path: Path) -> None:
    small = ranker_defaults(task_of(tmp_path / "a", users=10, rows=80_000, positives=40_000))
    assert (small.fit.epochs, small.fit.stream.groups_per_batch) == (20, 16)
    large = ranker_defaults(task_of(tmp_path / "b", users=10, rows=2_000_000, positives=900_000))
    assert large.fit.epochs == 2
    assert (small.fit.patience, large.fit.patience) == (2, 1)
    assert (small.fit.learning_rate, large.fit.learning_rate) == (2e-3, 6e-3)
    sparse = ranker_defaults(task_of(tmp_path / "c", users=20_000, rows=80_000, positives=40_000))
    assert sparse.fit.stream.groups_per_batch == 256
    tiny = ranker_defaults(task_of(tmp_path / "d", users=10, rows=100, positives=50))
    assert tiny.fit.epochs == 20


def test_a_freak_of_a_history_is_cut(tmp_path: Path) -> None:
    usual = ranker_defaults(task_of(tmp_path / "a", users=300, rows=10, positives=5))
    assert usual.fit.stream.max_history == 0
    freak = task_of(tmp_path / "b", users=300, rows=10, positives=5, events=60, longest=900)
    found = ranker_defaults(freak)
    assert found.fit.stream.max_history == 60
    assert "the latest 60 events; 99 of 100 rows have at most 60, the longest has 960" in str(
        found.why
    )


def test_attention_takes_the_mean_where_positives_are_few_beside_long_histories(
    tmp_path: Path,
) -> None:
    def weight(name: str, positives: int, model: DINConfig | None = None) -> str:
        task = task_of(tmp_path / name, users=3, rows=1_000, positives=positives, events=100)
        found = ranker_defaults(task, model=model)
        assert isinstance(found.model, DINConfig)
        assert any("takes the mean" in line for line in found.why) == (
            found.model.weight == "softmax"
        )
        return found.model.weight

    assert weight("a", 799) == "softmax"
    assert weight("b", 800) == "raw"
    assert weight("c", 799, DINConfig(embedding=EmbeddingConfig(width=3))) == "softmax"
    assert weight("d", 799, DINConfig(attention_hidden=9)) == "raw"
    assert weight("e", 799, DINConfig(interest="sum")) == "raw"


def test_embeddings_follow_from_the_features(tmp_path: Path) -> None:
    found = ranker_defaults(task_of(tmp_path / "a", users=10, rows=100, positives=50))
    assert dict(found.model.embedding.widths) == {"item_id": 32, "user_id": 4}
    found = ranker_defaults(task_of(tmp_path / "b", users=10, rows=900, positives=500))
    assert dict(found.model.embedding.widths)["user_id"] == 8
    shop = ranker_defaults(shop_task(tmp_path / "shop", users=4))
    assert dict(shop.model.embedding.widths)["type"] == 8
    assert "store" not in dict(shop.model.embedding.widths)
    asked = ranker_defaults(
        task_of(tmp_path / "c", users=10, rows=900, positives=500),
        model=DINConfig(embedding=EmbeddingConfig(width=3)),
    )
    assert asked.model.embedding == EmbeddingConfig(width=3)
    assert "embeddings as asked" in asked.why


def test_what_was_asked_for_stays(tmp_path: Path) -> None:
    task = task_of(tmp_path / "t", users=10, rows=12_600_000, positives=210_000)
    asked = PartialFit(epochs=4, stream=PartialStream(negative_rate=0.5))
    found = ranker_defaults(task, asked)
    assert (found.fit.epochs, found.fit.stream.negative_rate) == (4, 0.5)
    assert found.fit.learning_rate == 6e-3
    assert "at most 4 epochs of 6,405,000 rows" in found.why[1]
    assert ranker_defaults(task, FitConfig()).fit == FitConfig()
    hstu = ranker_defaults(task, model=HSTUTargetConfig(blocks=1)).model
    assert isinstance(hstu, HSTUTargetConfig)
    assert hstu.blocks == 1


def test_a_point_of_the_space_changes_the_settings(tmp_path: Path) -> None:
    task = task_of(tmp_path / "t", users=10, rows=900, positives=500)
    before = ranker_defaults(task)
    assert with_settings(before, {}, before.fit.epochs) == before
    settings = {"learning_rate": 0.5, "embedding_learning_rate": 2.0, "item_width": 0.5}
    found = with_settings(before, {**settings, "decay": 0.1}, epochs=2)
    assert (found.fit.epochs, found.fit.decay) == (2, 0.1)
    assert found.fit.learning_rate == before.fit.learning_rate / 2
    assert found.fit.embedding_learning_rate == before.fit.embedding_learning_rate * 2
    assert dict(found.model.embedding.widths)["item_id"] == 16
    assert set(settings) | {"decay"} == set(RANKER_SPACE)


def test_a_search_is_kept_and_changes_the_defaults(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=8)
    before = ranker_defaults(task, FIT, MODEL)
    found, result = ranker_search(task, before, trials=2, folder=tmp_path / "search")
    trials = json.loads((tmp_path / "search" / "trials.json").read_text())["trials"]
    assert len(trials) == len(result.trials) == 2
    best = with_settings(before, result.best.settings, epochs=before.fit.epochs)
    assert (found.model, found.fit) == (best.model, best.fit)
    assert found.why == (*before.why, result.sentence())
    assert ranker_search(task, before, trials=2, folder=tmp_path / "search")[1] == result
