"""Distillation targets: the lists of a batch's visits, and a training that hears them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ResumeError, ValueInvalidError
from adwright.models.retrieval.multi_interest import HCN, HCNConfig
from adwright.training.retrieval.fit import DistillationTargets, RetrievalConfig, fit_retriever
from tests.support.data.small_next_basket import small_task

TASK = small_task(people=12)
TARGETS = DistillationTargets(
    np.array([2, 5]),
    np.array([0, 2, 5]),
    np.array([3, 1, 4, 1, 5]),
    np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32),
)
NONE = DistillationTargets(*(np.zeros(n, np.int64) for n in (0, 1, 0)), np.zeros(0, np.float32))


def test_a_batch_gets_the_lists_of_its_visits() -> None:
    teacher = TARGETS.of(np.array([5, 9, 2, 0]))
    assert teacher.candidates.to_lists() == [[4, 1, 5], [], [3, 1], []]
    assert teacher.scores.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.1, 0.2])


def test_no_targets_are_empty_lists() -> None:
    assert NONE.of(np.array([0, 7])).candidates.to_lists() == [[], []]


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


def _model(distillation: float = 20.0) -> HCN:
    torch.manual_seed(0)
    config = HCNConfig(width=8, hidden=8, interests=2, events=20, distillation=distillation)
    return HCN(config, TASK.spec, TASK.items, TASK.count)


def _one_item_is_best(code: int) -> DistillationTargets:
    """A finer ranker that wants one item for everybody."""
    visits = TASK.visits("train")
    number = len(TASK.items) - 1
    item = np.tile(np.arange(1, number + 1), len(visits))
    return DistillationTargets(
        visits,
        number * np.arange(len(visits) + 1),
        item,
        np.where(item == code, 8.0, 0.0).astype(np.float32),
    )


FIT = RetrievalConfig(epochs=4, batch=16, learning_rate=0.02, validation_visits=0)


def _place(model: HCN, code: int) -> float:
    """Mean rank of an item among all, over the test visits."""
    with torch.no_grad():
        queries = model.queries(TASK.batch(TASK.visits("test")))
        scores = (queries @ model.item_vectors(torch.arange(len(TASK.items))).T).amax(1)[:, 1:]
    return float((scores >= scores[:, code - 1, None]).sum(1).double().mean())


def test_a_model_learns_what_the_finer_one_wants() -> None:
    code = 7
    taught, plain = _model(), _model()
    fit_retriever(plain, TASK, FIT)
    fit_retriever(taught, TASK, FIT, distillation=_one_item_is_best(code))
    assert _place(taught, code) < 1.5 < _place(plain, code)


def test_a_run_is_not_taken_up_with_other_lessons(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = replace(FIT, epochs=1)
    fit_retriever(_model(), TASK, config, run, distillation=_one_item_is_best(2))
    with pytest.raises(ResumeError, match="distillation"):
        fit_retriever(_model(), TASK, config, run, distillation=_one_item_is_best(3), resume=True)
    with pytest.raises(ResumeError, match="distillation"):
        fit_retriever(_model(), TASK, config, run, resume=True)
    fit_retriever(_model(), TASK, config, run, distillation=_one_item_is_best(2), resume=True)
