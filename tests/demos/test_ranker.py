from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.data.tasks.task import Task
from adwright.demos.ranker import DemoConfig, DemoResult, add_links, demo, households_shown
from adwright.training.ranking.ranker import Ranker
from tests.support.data.ranking_task import MODEL, shop_task, untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return shop_task(folder / "task", users=16)


@pytest.fixture(scope="module")
def found(folder: Path, task: Task) -> DemoResult:
    return demo(DemoConfig(out=folder / "out", negative_rate=0.5, k=4), task=task)


def test_the_demonstration_leaves_a_ranker_and_a_page(found: DemoResult, folder: Path) -> None:
    assert found.page == folder / "out" / "report.html"
    assert found.page.read_text("utf-8").startswith("<!doctype html>")
    assert Ranker.load(folder / "out" / "ranker").report == found.result.ranker.report
    assert list(found.result.comparison.reports)[:2] == ["DIN", "Base"]
    assert "write the page" in found.result.stages


def test_links_are_added_to_the_page(found: DemoResult) -> None:
    before = found.page.read_text("utf-8")
    add_links(found, {"more.html": "more"})
    assert '<a href="more.html">more</a>' in found.page.read_text("utf-8")
    add_links(found, {})
    after = found.page.read_text("utf-8")
    assert "<a " not in after
    assert after.count("Household") == before.count("Household")


def test_what_is_shown_is_what_the_ranker_recommends(found: DemoResult, task: Task) -> None:
    assert len(found.households) == 3
    for household in found.households:
        rows = task.rows("test").filter(user_id=household.user_id, time=household.time).collect()
        events = pl.read_parquet(task.events_path("test")).filter(
            pl.col("user_id") == household.user_id, pl.col("time") < household.time
        )
        best = found.result.ranker.recommend(events, rows, k=4)
        assert [shown.item_id for shown in household.shown] == best["item_id"].to_list()
        assert household.candidates == rows.height
        assert household.taken == int(rows["label"].sum())
        assert household.history == events.height == rows["visible"][0]
        bought = set(events["item_id"])
        whole = [
            found.result.ranker.explain(events, shown.item_id, k=99) for shown in household.shown
        ]
        assert len(household.past) == min(18, len(bought))
        for at, table in enumerate(whole):
            pairs = list(table.select("count", "name", "weight").iter_rows())
            for name, row in zip(household.past, household.weights, strict=True):
                assert row[at] in [w for n, past, w in pairs if f"×{n} {past}" == name]
        for shown in household.shown:
            assert {past.item_id for past in shown.because} <= bought
            label = rows.filter(item_id=shown.item_id)["label"].max()
            assert shown.taken == (label == 1)


def test_the_choice_of_people_follows_the_seed(task: Task) -> None:
    ranker = Ranker(untrained(task), task.spec, task.items)

    def people(**more: int) -> list[str]:
        return [h.user_id for h in households_shown(ranker, task, **more)]

    assert people(seed=1) == people(seed=1)
    assert len({tuple(people(seed=seed)) for seed in range(4)}) > 1
    assert len(people(people=2)) == 2
    (first, *_) = households_shown(ranker, task, k=3, because=1)
    assert len(first.shown) == 3
    assert all(len(shown.because) <= 1 for shown in first.shown)


def test_a_base_model_gives_no_reasons(task: Task) -> None:
    base = Ranker(untrained(task, replace(MODEL, interest="sum")), task.spec, task.items)
    (first, *_) = households_shown(base, task)
    assert all(shown.because == () for shown in first.shown)
    assert first.past == first.weights == ()


def test_only_an_earlier_demonstration_is_replaced(
    found: DemoResult, task: Task, folder: Path, tmp_path: Path
) -> None:
    again = demo(DemoConfig(out=folder / "out", negative_rate=0.5, k=4, people=1), task=task)
    assert again.result.artifact != ""
    assert len(again.households) == 1
    assert json.loads((folder / "out" / "demo.json").read_text())["people"] == 1
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        demo(DemoConfig(out=tmp_path), task=task)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_settings_reach_the_run() -> None:
    config = DemoConfig(
        households=0.3, epochs=2, negative_rate=0.1, max_history=9, seed=4, offline=True
    ).run_config()
    assert (config.task.households, config.task.offline, config.seed) == (0.3, True, 4)
    assert (config.fit.epochs, config.fit.stream.negative_rate) == (2, 0.1)
    assert config.fit.stream.max_history == 9
    for wrong in ({"people": 0}, {"households": 2.0}, {"epochs": 0}, {"negative_rate": 0.0}):
        with pytest.raises(ConfigError):
            DemoConfig(**wrong)  # type: ignore[arg-type]
