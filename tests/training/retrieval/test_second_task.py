"""When two towers get a second task, and which weight and ids validation chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adwright.data.features import FeatureSpec
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.ranking import recall
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.fit import RetrievalConfig
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks
from adwright.training.retrieval.second_task import (
    FEW_LABELS,
    choose_unseen,
    second_task,
    with_second_task,
)
from adwright.training.search import Defaults
from tests.support.data.small_next_basket import small_task, with_few_labels

TASK = small_task(people=20)
FEW = with_few_labels(TASK)
TOWERS = Defaults(
    TwoTowerConfig(width=8, hidden=8, views="none"),
    RetrievalConfig(epochs=2, batch=16, validation_visits=20, k=5),
    ("first",),
)


def _only_ids(task: NextBasket) -> NextBasket:
    spec = FeatureSpec(
        tuple(f for f in task.spec.features if f.of != "item" or f.name == "item_id")
    )
    return replace(task, spec=spec, items=spec.encode_items(task.catalogue))


def test_it_is_tried_where_labels_are_few() -> None:
    each = FEW.count[1:].sum() / 12
    assert each < FEW_LABELS < TASK.count[1:].sum() / 12
    found = second_task(FEW)
    assert found.weights == (0.3, 1.0)
    assert f"{each:.1f} labels an item, fewer than 10" in found.why[0]
    # Each item of the small task has words of its own.
    assert found.why[1:] == ("words names single items: views hide it as they do ids",)
    enough = second_task(TASK)
    assert enough.weights == ()
    assert "no second task: " in enough.why[0]
    alone = second_task(_only_ids(FEW))
    assert alone.weights == ()
    assert "at least two item features" in alone.why[0]


def test_validation_chooses_the_weight_and_nothing_is_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, int]] = []

    def fit(model: TwoTower, task: NextBasket, config: RetrievalConfig) -> object:
        alpha = 0.0 if model.config.views == "none" else model.config.alpha
        tried.append((alpha, config.epochs))
        goal = {0.0: 0.1, 0.3: 0.2, 1.0: 0.3}[alpha]
        return type("Found", (), {"recall": goal})()

    monkeypatch.setattr("adwright.training.retrieval.second_task.fit_retriever", fit)
    found = with_second_task(FEW, TOWERS, folder=tmp_path)
    assert {alpha for alpha, _ in tried} == {0.0, 0.3, 1.0}
    assert (found.model.views, found.model.alpha) == ("correlated", 1.0)
    assert found.model.view_temperature == 0.1
    assert found.model.view_items == 16
    assert found.why[0] == "first"
    assert "a second task of weight 1 is best" in found.why[-1]
    before = len(tried)
    assert with_second_task(FEW, TOWERS, folder=tmp_path) == found
    assert len(tried) == before
    with_second_task(FEW, TOWERS, folder=tmp_path, seed=1)
    assert len(tried) == 2 * before


def test_none_is_kept_where_views_are_no_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(model: TwoTower, task: NextBasket, config: RetrievalConfig) -> object:
        return type("Found", (), {"recall": 0.1})()

    monkeypatch.setattr("adwright.training.retrieval.second_task.fit_retriever", fit)
    found = with_second_task(FEW, TOWERS, folder=tmp_path)
    assert found.model == TOWERS.model
    assert "no second task is best" in found.why[-1]
    # Enough labels, or a weight that was asked for: nothing is tried.
    assert with_second_task(TASK, TOWERS, folder=tmp_path).model == TOWERS.model
    asked = with_second_task(TASK, TOWERS, folder=tmp_path, weight=0.5)
    assert (asked.model.views, asked.model.alpha) == ("correlated", 0.5)
    none = with_second_task(FEW, asked, folder=tmp_path, weight=0.0)
    assert none.model.views == "none"


def test_unseen_items_are_ranked_by_what_serves_validation() -> None:
    torch.manual_seed(0)
    config = replace(TOWERS.model, views="correlated", view_items=8)
    model = TwoTower(config, FEW.spec, FEW.items, FEW.count)
    said = choose_unseen(model, FEW)
    goals = {}
    for choice in ("own", "default"):
        other = TwoTower(
            replace(config, unseen_items=choice),  # type: ignore[arg-type]
            FEW.spec,
            FEW.items,
            FEW.count,
        )
        other.load_state_dict(model.state_dict())
        other.eval()
        score, visits = catalogue_vectors(other, FEW), FEW.visits("valid")
        goals[choice] = recall(retrieved_ranks(score, FEW, visits, depth=12).ranks(), 12)
    best = "default" if goals["default"] > goals["own"] else "own"
    assert model.config.unseen_items == best
    assert f"{(FEW.count[1:] == 0).sum()} items without a training event" in said
    assert f"{goals['own']:.4f} with it, {goals['default']:.4f} hidden" in said


def test_there_may_be_nothing_to_choose() -> None:
    none = TwoTower(TOWERS.model, FEW.spec, FEW.items, FEW.count)
    assert choose_unseen(none, FEW) == ""
    config = replace(TOWERS.model, views="random")
    assert TASK.count[1:].all()
    assert choose_unseen(TwoTower(config, TASK.spec, TASK.items, TASK.count), TASK) == ""
