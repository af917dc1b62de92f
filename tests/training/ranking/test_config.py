from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import AssetError, ConfigError
from adwright.data.batches.stream import PartialStream
from adwright.data.features import Feature
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.data.sources.log import save_log
from adwright.data.tasks.from_log import LogTaskConfig
from adwright.data.tasks.task import Task, write_task
from adwright.models.calibration import EmbeddingConfig
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
from adwright.training.ranking.fit import FitConfig, PartialFit
from tests.support.data.ranking_task import FIT, MODEL, shop_task, small_log


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
