"""fit_retriever(): learns, and a run that was cut off ends with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.data.features import FeatureSpec
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.metrics.ranking import recall
from adwright.models.retrieval.multi_interest import HCN, HCNConfig
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.fit import (
    DistillationTargets,
    RetrievalConfig,
    catalogue_vectors,
    fit_retriever,
    retrieved_ranks,
)
from adwright.training.retrieval.run import (
    FEW_LABELS,
    choose_unseen,
    hcn_defaults,
    retriever_search,
    second_task,
    two_tower_defaults,
    with_second_task,
)
from adwright.training.search import Defaults
from tests.support.data.small_next_basket import small_task, with_few_labels

TASK = small_task(people=30)
CONFIG = RetrievalConfig(
    epochs=6, batch=16, learning_rate=0.02, validation_visits=20, k=3, patience=6
)


def _model(seed: int = 0) -> TwoTower:
    torch.manual_seed(seed)
    config = TwoTowerConfig(views="correlated", width=8, hidden=16, view_items=8, temperature=0.2)
    return TwoTower(config, TASK.spec, TASK.items, TASK.count)


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("cut", [7, 12, 30])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, cut: int) -> None:
    config = replace(CONFIG, epochs=3)
    whole = _model()
    fit_retriever(whole, TASK, config)

    def stop(step: int) -> None:
        if step == cut:
            raise _Stopped

    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit_retriever(_model(), TASK, config, run, checkpoint_every=5, on_step=stop)
    again = _model(seed=3)
    result = fit_retriever(again, TASK, config, run, resume=True, checkpoint_every=5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert len((run / "metrics.jsonl").read_text().splitlines()) == len(result.records) == 3


def test_without_validation_the_last_weights_are_kept() -> None:
    config = replace(CONFIG, epochs=2, validation_visits=0)
    result = fit_retriever(_model(), TASK, config)
    assert result.recall != result.recall
    assert result.epoch == 2


def test_runs_are_never_mixed_up(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    run = tmp_path / "run"
    with pytest.raises(ResumeError, match="holds no run"):
        fit_retriever(_model(), TASK, config, run, resume=True)
    fit_retriever(_model(), TASK, config, run)
    with pytest.raises(ConfigError, match="already holds a run"):
        fit_retriever(_model(), TASK, config, run)
    with pytest.raises(ResumeError, match="another config"):
        fit_retriever(_model(), TASK, replace(config, seed=1), run, resume=True)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"max_history": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]


def test_each_epoch_reads_each_visit_once_in_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []
    read = NextBasket.batch

    def batch(task: NextBasket, visits: np.ndarray, **rest: Any) -> Any:
        seen.append(visits)
        return read(task, visits, **rest)

    monkeypatch.setattr(NextBasket, "batch", batch)
    config = replace(CONFIG, epochs=2, validation_visits=0)
    fit_retriever(_model(), TASK, config)
    half = len(seen) // 2
    first, second = np.concatenate(seen[:half]), np.concatenate(seen[half:])
    assert sorted(first) == sorted(second) == sorted(TASK.visits("train"))
    assert not np.array_equal(first, second)


def test_patience_ends_a_run_that_gets_no_better() -> None:
    config = replace(CONFIG, epochs=6, learning_rate=1e-12, embedding_learning_rate=1e-12)
    result = fit_retriever(_model(), TASK, replace(config, patience=2))
    assert (result.epoch, len(result.records)) == (1, 3)


TASK_DISTILLATION = small_task(people=12)
TARGETS = DistillationTargets(
    np.array([2, 5]),
    np.array([0, 2, 5]),
    np.array([3, 1, 4, 1, 5]),
    np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32),
)


def test_a_batch_gets_the_lists_of_its_visits() -> None:
    teacher = TARGETS.of(np.array([5, 9, 2, 0]))
    assert teacher.candidates.to_lists() == [[4, 1, 5], [], [3, 1], []]
    assert teacher.scores.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.1, 0.2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visit": np.array([5, 2])}, "ascend"),
        ({"visit": np.array([5, 5])}, "ascend"),
        ({"offsets": np.array([0, 5])}, "one list per visit"),
        ({"offsets": np.array([0, 2, 4])}, "one list per visit"),
        ({"score": np.full(5, np.nan, np.float32)}, "finite"),
        ({"score": np.zeros(4, np.float32)}, "finite"),
    ],
)
def test_lists_that_do_not_fit_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        replace(TARGETS, **change)


def test_the_hash_tells_targets_apart() -> None:
    assert TARGETS.hash == replace(TARGETS).hash
    changed = {"item": TARGETS.item + 1, "score": TARGETS.score * 2, "visit": TARGETS.visit + 1}
    for name, value in changed.items():
        assert replace(TARGETS, **{name: value}).hash != TARGETS.hash


def _model_distillation(distillation: float = 20.0) -> HCN:
    torch.manual_seed(0)
    config = HCNConfig(width=8, hidden=8, interests=2, events=20, distillation=distillation)
    return HCN(config, TASK_DISTILLATION.spec, TASK_DISTILLATION.items, TASK_DISTILLATION.count)


def _one_item_is_best(code: int) -> DistillationTargets:
    """A finer ranker that wants one item for everybody."""
    visits = TASK_DISTILLATION.visits("train")
    number = len(TASK_DISTILLATION.items) - 1
    item = np.tile(np.arange(1, number + 1), len(visits))
    return DistillationTargets(
        visits,
        number * np.arange(len(visits) + 1),
        item,
        np.where(item == code, 8.0, 0.0).astype(np.float32),
    )


FIT = RetrievalConfig(epochs=4, batch=16, learning_rate=0.02, validation_visits=0)


def test_a_run_is_not_taken_up_with_other_lessons(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = replace(FIT, epochs=1)
    fit_retriever(
        _model_distillation(), TASK_DISTILLATION, config, run, distillation=_one_item_is_best(2)
    )
    with pytest.raises(ResumeError, match="distillation"):
        fit_retriever(
            _model_distillation(),
            TASK_DISTILLATION,
            config,
            run,
            distillation=_one_item_is_best(3),
            resume=True,
        )
    with pytest.raises(ResumeError, match="distillation"):
        fit_retriever(_model_distillation(), TASK_DISTILLATION, config, run, resume=True)
    fit_retriever(
        _model_distillation(),
        TASK_DISTILLATION,
        config,
        run,
        distillation=_one_item_is_best(2),
        resume=True,
    )


TASK_SECOND_TASK = small_task(people=20)
FEW = with_few_labels(TASK_SECOND_TASK)
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
    assert each < FEW_LABELS < TASK_SECOND_TASK.count[1:].sum() / 12
    weights, why = second_task(FEW)
    assert weights == (0.3, 1.0)
    assert f"{each:.1f} labels an item, fewer than 10" in why[0]
    # Each item of the small task has words of its own.
    assert why[1:] == ("words names single items: views hide it as they do ids",)
    for task, said in (
        (TASK_SECOND_TASK, "no second task: "),
        (_only_ids(FEW), "at least two item features"),
    ):
        weights, why = second_task(task)
        assert weights == ()
        assert said in why[0]


def test_validation_chooses_the_weight_and_nothing_is_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, int]] = []

    def fit(model: TwoTower, task: NextBasket, config: RetrievalConfig) -> object:
        alpha = 0.0 if model.config.views == "none" else model.config.alpha
        tried.append((alpha, config.epochs))
        goal = {0.0: 0.1, 0.3: 0.2, 1.0: 0.3}[alpha]
        return type("Found", (), {"recall": goal})()

    monkeypatch.setattr("adwright.training.retrieval.run.fit_retriever", fit)
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

    monkeypatch.setattr("adwright.training.retrieval.run.fit_retriever", fit)
    found = with_second_task(FEW, TOWERS, folder=tmp_path)
    assert found.model == TOWERS.model
    assert "no second task is best" in found.why[-1]
    # Enough labels, or a weight that was asked for: nothing is tried.
    assert with_second_task(TASK_SECOND_TASK, TOWERS, folder=tmp_path).model == TOWERS.model
    asked = with_second_task(TASK_SECOND_TASK, TOWERS, folder=tmp_path, weight=0.5)
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
    assert TASK_SECOND_TASK.count[1:].all()
    assert (
        choose_unseen(
            TwoTower(config, TASK_SECOND_TASK.spec, TASK_SECOND_TASK.items, TASK_SECOND_TASK.count),
            TASK_SECOND_TASK,
        )
        == ""
    )


def test_settings_follow_from_the_visits() -> None:
    task = small_task(people=20, days=12)
    found = two_tower_defaults(task)
    visits = task.visits("train")
    targets = int(np.diff(task.target_offsets)[visits].sum())
    assert found.fit.epochs == 20
    assert found.fit.batch == 1024
    assert found.fit.max_history == 50
    # Everybody comes every day.
    assert found.model.days == (0.0, 10.0, 1.5)
    assert found.model.views == "none"
    text = " ".join(found.why)
    assert f"{len(visits):,} visits with {targets:,} targets" in text
    assert "half-lives of 10 days and 1.5 days" in text
    assert dict(found.model.embedding.widths) == {"item_id": 32, "words": 16}


def test_half_lives_follow_the_gaps_from_a_day_on() -> None:
    task = small_task()
    quick = replace(
        task,
        visit_time=task.visit_time // 1440,
        time=task.time // 1440,
    )
    assert two_tower_defaults(quick).model.days == (0.0, 10.0, 1.5)
    assert hcn_defaults(quick).model.short_days == 5
    seldom = replace(task, visit_time=task.visit_time * 3, time=task.time * 3)
    assert two_tower_defaults(seldom).model.days == (0.0, 30.0, 4.5)
    assert hcn_defaults(seldom).model.short_days == 15
    at_once = replace(task, visit_time=np.zeros_like(task.visit_time))
    assert two_tower_defaults(at_once).model.days == (0.0, 30.0, 5.0)
    assert task.visit_time.max() > MICROSECONDS_PER_DAY


def test_places_stand_for_days_where_there_are_no_times() -> None:
    task = small_task()
    for unit in (MICROSECONDS_PER_DAY, 10**6):
        # Whether they were read as days or as seconds.
        visit = np.arange(len(task.visit_time)) * unit
        places = replace(task, visit_time=visit, time=np.arange(len(task.time)) * unit)
        assert places.timeless
        assert two_tower_defaults(places).model.days == (0.0, 10.0, 1.5)
        assert "half-lives of 10 places and 1.5 places" in two_tower_defaults(places).why
        assert "the short history reaches back 5 places" in hcn_defaults(places).why
    assert not task.timeless


def _quick(epochs: int = 1) -> RetrievalConfig:
    return RetrievalConfig(epochs=epochs, batch=16, validation_visits=20, k=5)


def test_searches_change_the_defaults(tmp_path: Path) -> None:
    task = small_task()
    towers = two_tower_defaults(task)
    towers = Defaults(replace(towers.model, width=8, hidden=8), _quick(), towers.why)
    found, result = retriever_search(task, towers, trials=2, folder=tmp_path / "a")
    assert result.goal == "recall@5"
    assert (tmp_path / "a" / "trials.json").exists()
    assert found.why[:-1] == towers.why
    hcn = hcn_defaults(task)
    hcn = Defaults(replace(hcn.model, width=8, hidden=8, interests=2), _quick(), hcn.why)
    assert len(retriever_search(task, hcn, trials=1, folder=tmp_path / "b")[1].trials) == 1
