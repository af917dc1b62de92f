"""adwright train cascade, two-tower and hcn, and evaluate --log, on a small file of events."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.delivery.funnel.measure import FunnelReport
from tests.support.commands import quietly
from tests.support.data.small_next_basket import small_task


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    task = small_task(people=30, days=12)
    owner = [u for u in range(30) for _ in range(*task.user_offsets[u : u + 2])]
    times = pl.from_epoch(pl.Series(task.time), "us").dt.replace_time_zone("UTC")
    pl.DataFrame(
        {
            "event_id": [f"e{n}" for n in range(len(owner))],
            "time": times,
            "request_id": [f"{u}-{t}" for u, t in zip(owner, task.time, strict=True)],
            "user_id": [task.users[u] for u in owner],
            "item_id": [task.items.ids[c - 1] for c in task.item],
            "kind": ["purchase"] * len(owner),
        }
    ).write_parquet(folder / "log.parquet")
    return folder


@pytest.fixture(autouse=True)
def _inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "250")


def test_a_cascade_is_trained_measured_and_fitted_again(here: Path) -> None:
    said = quietly("train", "cascade", "log.parquet", "--out", "c", "--minutes", "0.3")
    assert "Default: repeats: what a user had stays a candidate" in said
    assert "linear: shrink" in said
    assert "sequence: " in said
    assert "serves" in said
    assert "ahead of" in said
    assert "Next: adwright publish c/deployment" in said
    report = FunnelReport.from_json((here / "c" / "report.json").read_text("utf-8"))
    assert report.first in said
    assert "fitted again to all" in said
    assert quietly("train", "cascade", "log.parquet", "--out", "c", code=2)
    more = ("train", "cascade", "log.parquet", "--out", "c", "--resume", "--minutes", "0.4")
    assert "config.seed was 0 and is now 1" in quietly(*more, "--seed", "1", code=2)
    assert "Next: adwright publish c/deployment" in quietly(*more)
    said = quietly(*("train", "cascade", "log.parquet", "--out", "d", "--resume", "--minutes", "0"))
    assert "a new one begins" in said
    assert "left out" in said


@pytest.mark.parametrize("verb", ["two-tower", "hcn"])
def test_retrievers_are_trained_and_evaluated(here: Path, verb: str) -> None:
    dry = quietly("train", verb, "log.parquet", "--out", verb, "--epochs", "1", "--dry-run")
    assert "Default: batches of" in dry
    assert not (here / verb).exists()
    said = quietly("train", verb, "log.parquet", "--out", verb, "--epochs", "1")
    assert "Popularity" in said
    assert f"Saved in {verb}/model" in said
    assert "alone serves" in quietly("evaluate", f"{verb}/model", "--log", "log.parquet")


def test_the_second_task_is_an_option_of_two_towers() -> None:
    asked = ("train", "two-tower", "log.parquet", "--out", "s", "--dry-run")
    assert "Default: a second task of weight 0.5, as asked" in quietly(
        *asked, "--second-task", "0.5"
    )
    assert "Default: no second task, as asked" in quietly(*asked, "--second-task", "0")
    assert "labels an item" in quietly(*asked)


def test_a_dry_run_plans_and_writes_nothing(here: Path) -> None:
    said = quietly("train", "cascade", "log.parquet", "--out", "dry", "--dry-run")
    assert said.count("Plan: ") == 3
    assert not (here / "dry").exists()


def test_what_to_measure_on_is_named_once() -> None:
    assert "name one of them" in quietly("evaluate", "m", "--task", "t", "--log", "l", code=2)
    assert "there is no model here" in quietly("evaluate", "m", code=2)
