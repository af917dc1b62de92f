from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.data.tasks.task import Task
from adwright.metrics.classification import auc, log_loss
from adwright.training.ranking import baselines as rules
from adwright.training.ranking.baselines import (
    fit_rows_item_item,
    has_rules,
    rows_item_item,
    rule_probabilities,
)
from tests.support.data.ranking_task import shop_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task")


def test_counts_keep_their_ranking(task: Task) -> None:
    test = task.rows("test").collect()
    found = rule_probabilities(task, seed=0)
    assert list(found) == ["popularity", "frequency", "item-item", "logistic"]
    scores = {name: test[name].to_numpy() for name in ("popularity", "frequency")}
    scores["item-item"] = rows_item_item(fit_rows_item_item(task), task, "test")
    for name, score in scores.items():
        plain = auc(test["label"].to_numpy(), score)
        measured = auc(test["label"].to_numpy(), found[name])
        # A rule that is worse than chance on validation rows is turned round.
        assert measured == pytest.approx(plain) or measured == pytest.approx(1 - plain)


def test_probabilities_beat_the_mean(task: Task) -> None:
    label = task.rows("test").collect()["label"].to_numpy()
    flat = log_loss(label, np.full(len(label), label.mean()))
    found = rule_probabilities(task, seed=0)
    assert log_loss(label, found["frequency"]) < flat
    assert log_loss(label, found["logistic"]) < flat


def test_the_logistic_takes_all_three(task: Task) -> None:
    label = task.rows("test").collect()["label"].to_numpy()
    found = rule_probabilities(task, seed=0)
    # Shoppers take what is of the type that they took before, which the table shows.
    assert auc(label, found["item-item"]) > 0.6
    assert auc(label, found["logistic"]) > auc(label, found["frequency"])
    assert log_loss(label, found["logistic"]) < log_loss(label, found["popularity"])


def test_the_seed_counts(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = rule_probabilities(task, seed=0)["logistic"]
    assert np.array_equal(plain, rule_probabilities(task, seed=5)["logistic"])
    monkeypatch.setattr(rules, "NEGATIVES", 300)
    sampled = rule_probabilities(task, seed=0)["logistic"]
    assert not np.array_equal(sampled, rule_probabilities(task, seed=5)["logistic"])
    # Sampled negatives are weighted, so the level stays that of the full data.
    assert np.abs(sampled - plain).mean() < 0.1


def test_a_task_without_counts_has_no_rules(task: Task, tmp_path: Path) -> None:
    assert has_rules(task)
    (tmp_path / "test").mkdir()
    rows = task.rows("test").drop("popularity").collect()
    rows.write_parquet(tmp_path / "test" / "rows.parquet")
    assert not has_rules(Task(tmp_path))
    assert isinstance(rows, pl.DataFrame)
