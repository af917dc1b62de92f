"""fit_retriever(): learns, and a run that was cut off ends with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, ResumeError
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.ranking import recall
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks
from tests.support.data.small_next_basket import small_task

TASK = small_task(people=30)
CONFIG = RetrievalConfig(
    epochs=6, batch=16, learning_rate=0.02, validation_visits=20, k=3, patience=6
)


def _model(seed: int = 0) -> TwoTower:
    torch.manual_seed(seed)
    config = TwoTowerConfig(views="correlated", width=8, hidden=16, view_items=8, temperature=0.2)
    return TwoTower(config, TASK.spec, TASK.items, TASK.count)


def _recall(model: TwoTower) -> float:
    model.eval()
    found = retrieved_ranks(catalogue_vectors(model, TASK), TASK, TASK.visits("test"), depth=4)
    return recall(found.ranks(), 4)


class _Stopped(Exception):
    pass


def test_it_learns_what_people_take() -> None:
    model = _model()
    before = _recall(model)
    result = fit_retriever(model, TASK, CONFIG)
    assert _recall(model) > before + 0.15
    assert result.steps == 6 * 12
    assert len(result.records) == 6
    assert result.recall == max(line["valid_recall@3"] for line in result.records)


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


def test_part_of_the_visits_an_epoch() -> None:
    config = replace(CONFIG, epochs=1, visits_per_epoch=32)
    assert fit_retriever(_model(), TASK, config).steps == 2


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
