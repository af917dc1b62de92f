"""Visits asked of a sequential model: one pass a person against one reading a visit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.data.sequences.datasets import sequences_of_task
from adwright.metrics.ranking import recall
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.sasrec import SASRec, SASRecConfig
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.retrieval.ranks import retrieved_ranks
from adwright.training.sequential.fit import SequentialConfig, fit_sequential
from adwright.training.sequential.ranks import (
    visit_batch,
    visit_queries,
    visit_scorer,
    visit_validation,
)
from tests.support.data.small_next_basket import small_task

TASK = small_task(people=12, days=9)
CONFIG = HSTUConfig(
    width=8, max_length=64, blocks=2, qk_width=4, v_width=4, kernel="bucketed", dropout=0.0
)


def _hstu(**changes: object) -> HSTU:
    torch.manual_seed(0)
    model = HSTU(replace(CONFIG, **changes), len(TASK.items) - 1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def _one_by_one(model: SequenceModel, visits: np.ndarray) -> torch.Tensor:
    found = torch.zeros(len(visits), model.config.width)
    for row, visit in enumerate(visits):
        batch = visit_batch(TASK, np.array([visit]), model.max_length)
        if len(batch.items.values):
            with torch.no_grad():
                found[row] = model.queries(batch)[0]
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"request_time": "last_event"},
        {"max_length": 5},
        {"max_length": 10},
        {"truncate_after": 1, "truncate_to": 3},
        {"window": 4, "prefix": 1},
    ],
)
def test_all_visits_of_a_person_in_one_pass_are_what_each_alone_is(
    changes: dict[str, object],
) -> None:
    model = _hstu(**changes)
    rng = np.random.default_rng(0)
    visits = np.sort(rng.choice(len(TASK), 60, replace=False))
    expected = _one_by_one(model, visits)
    for events in (1, 40, 10_000):
        found = visit_queries(model, TASK, visits, events=events)
        assert torch.allclose(found, expected, atol=1e-5)
    mixed = rng.permutation(60)
    assert torch.allclose(visit_queries(model, TASK, visits[mixed]), expected[mixed], atol=1e-5)
    assert visit_queries(model, TASK, visits[:0]).shape == (0, 8)


def test_a_model_without_times_is_asked_too() -> None:
    torch.manual_seed(0)
    model = SASRec(SASRecConfig(width=8, max_length=64), len(TASK.items) - 1).eval()
    visits = np.arange(len(TASK))
    assert torch.allclose(visit_queries(model, TASK, visits), _one_by_one(model, visits), atol=1e-5)


def test_a_visit_knows_when_it_is_and_not_what_else_was_taken_then() -> None:
    visit = TASK.visits("test")[:1]
    batch = visit_batch(TASK, visit, 64)
    assert batch.time is not None
    assert batch.next_time is not None
    first, end = TASK.user_offsets[TASK.visit_user[visit[0]]], TASK.visit_end[visit[0]]
    times = TASK.time[first:end] // 1_000_000
    asked = int(TASK.visit_time[visit[0]] // 1_000_000)
    later = [min([t for t in [*times, asked] if t > now]) for now in times]
    assert batch.time.tolist() == times.tolist()
    assert batch.next_time.tolist() == later


def test_training_on_visits_teaches_what_people_take() -> None:
    sequences = sequences_of_task(TASK, split="task")
    model = _hstu()
    visits = TASK.visits("valid")
    before = retrieved_ranks(visit_scorer(model, TASK), TASK, visits, depth=4).ranks()
    measure = visit_validation(model, TASK, visits, depth=4, k=2)
    fit_sequential(
        model,
        sequences,
        SequentialConfig(epochs=20, batch=4, learning_rate=0.02),
        validate=measure,
    )
    goal, line = measure()
    assert goal == line["valid_recall@4"] > recall(before, 4)
    assert set(line) == {"valid_recall@4", "valid_ndcg@2"}
