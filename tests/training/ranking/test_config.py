from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import AssetError, ConfigError
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.data.sources.log import save_log
from adwright.data.tasks.from_log import LogTaskConfig
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.hstu_target import HSTUTargetConfig
from adwright.training.ranking.config import (
    RunConfig,
    TaskConfig,
    default_fit,
    open_task,
    response_task,
)
from tests.support.data.ranking_task import shop_task, small_log


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


def test_a_folder_task_is_opened(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=3)
    config = TaskConfig(kind="folder", folder=tmp_path / "task")
    assert open_task(config).data_hash == task.data_hash


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
