"""Two towers and HCN by their defaults, from a task to a saved model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.metrics.reports.comparison import RankingComparison
from adwright.models.retrieval.two_tower import TwoTower
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.run import RetrieverKind, RetrieverRun, run_retriever, settings_of
from tests.support.data.small_next_basket import small_task, with_few_labels

TASK = small_task(people=20)


@pytest.mark.parametrize(("kind", "title"), [("two-tower", "Two towers"), ("hcn", "HCN")])
def test_a_run_is_trained_measured_and_saved(
    tmp_path: Path, kind: RetrieverKind, title: str
) -> None:
    told: list[str] = []
    asked = RetrieverRun(model=kind, epochs=2, draws=20, out=tmp_path / "run", log="mine.csv")
    result = run_retriever(asked, TASK, repeats=True, tell=told.append)
    assert result.comparison.subject == title
    assert {"Popularity", "Item-item", "Personal frequency"} < set(result.comparison.reports)
    saved = RetrieverArtifact.load(tmp_path / "run" / "model")
    assert (saved.vectors == result.artifact.vectors).all()
    text = (tmp_path / "run" / "report.json").read_text("utf-8")
    assert RankingComparison.from_json(text) == result.comparison
    kept = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert (kept["run"]["log"], kept["fit"]["epochs"]) == ("mine.csv", 2)
    assert tuple(told) == result.why == settings_of(asked, TASK)
    with pytest.raises(ResourceError, match="already holds"):
        run_retriever(asked, TASK, repeats=True)
    again = run_retriever(replace(asked, seed=1), TASK, repeats=True, overwrite=True)
    assert (again.artifact.vectors != saved.vectors).any()


def test_what_users_had_counts_or_not(tmp_path: Path) -> None:
    asked = RetrieverRun(epochs=1, draws=20, out=tmp_path / "a")
    with_, without = (
        run_retriever(replace(asked, out=tmp_path / str(repeats)), TASK, repeats=repeats)
        for repeats in (True, False)
    )
    assert with_.comparison.reports != without.comparison.reports
    assert "Last items again" not in without.comparison.reports


def test_settings_are_searched(tmp_path: Path) -> None:
    asked = RetrieverRun(search=2, epochs=1, draws=20, out=tmp_path / "run")
    result = run_retriever(asked, TASK, repeats=True)
    assert result.search is not None
    assert len(result.why) == len(settings_of(asked, TASK)) + 1


def test_a_second_task_is_asked_for_or_tried(tmp_path: Path) -> None:
    asked = RetrieverRun(second_task=0.5, epochs=1, draws=20, out=tmp_path / "a")
    result = run_retriever(asked, TASK, repeats=True)
    model = result.artifact.model
    assert isinstance(model, TwoTower)
    assert (model.config.views, model.config.alpha) == ("correlated", 0.5)
    assert result.why == settings_of(asked, TASK)
    assert result.why[-1] == "a second task of weight 0.5, as asked"
    # Where labels are few it is tried, and the ids of items without one are chosen.
    few, told = with_few_labels(TASK), []
    asked = RetrieverRun(epochs=1, draws=20, out=tmp_path / "b")
    tried = run_retriever(asked, few, repeats=True, tell=told.append)
    assert tuple(told) == tried.why
    assert tried.why[: len(settings_of(asked, few))] == settings_of(asked, few)
    assert any("searched" in sentence for sentence in told)
    with pytest.raises(ConfigError, match="a weight of two towers"):
        RetrieverRun(model="hcn", second_task=1.0)
    with pytest.raises(ConfigError, match="not negative"):
        RetrieverRun(second_task=-1.0)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"draws": 0}, {"search": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        RetrieverRun(**wrong)  # type: ignore[arg-type]
