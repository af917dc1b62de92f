"""A ranker of choices is measured on visits as serving asks about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.data.tasks.negatives import Draws
from adwright.models.sequential.choice_ranker import ChoiceRanker, choice_logits
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon
from adwright.training.sequential.fit import people_of
from adwright.training.sequential.ranks import choice_validation, some_visits, visit_choices
from tests.support.data.small_next_basket import small_task
from tests.support.models.sequence_checks import shake

TASK = small_task(people=12, days=9)
CONFIG = HSTURankerConfig(
    width=8, max_length=12, qk_width=4, v_width=4, kernel="bucketed", dropout=0.0, hidden=6
)


def ranker() -> ChoiceRanker:
    torch.manual_seed(0)
    model = ChoiceRanker(CONFIG, len(TASK.items) - 1, draws=Draws(number=6), count=TASK.count)
    shake(model)
    return model.eval()


def test_a_visit_is_asked_about_what_was_taken_and_what_was_drawn() -> None:
    model, visits = ranker(), TASK.visits("valid")
    choices = visit_choices(model, TASK, visits, np.random.default_rng(0))
    logits, falcon = choice_logits(model, choices)[:, 0], Falcon(model)
    assert int(choices.past.items.lengths.max()) == CONFIG.max_length - 1
    for row, visit in enumerate(visits):
        start, end = choices.items.offsets[row : row + 2].tolist()
        taken = choices.items.values[start:end][choices.label[start:end] == 1]
        wanted = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
        assert taken.tolist() == sorted(set(wanted.tolist()))
        found = falcon.score(
            people_of(choices.past, np.array([row])),
            choices.items.values[start:end],
            request_time=int(TASK.visit_time[visit] // 1_000_000),
        )
        torch.testing.assert_close(found[:, 0], logits[start:end].detach(), rtol=1e-4, atol=1e-4)


def test_the_same_weights_give_the_same_number() -> None:
    model, visits = ranker(), TASK.visits("valid")
    measure = choice_validation(model, TASK, visits, chunk=5)
    goal, line = measure()
    assert measure() == (goal, line)
    assert goal == -line["valid_log_loss"]
    assert 0 < line["valid_auc"] < 1
    other, _ = choice_validation(model, TASK, visits, chunk=5, seed=1)()
    assert other != goal
    choices = visit_choices(model, TASK, visits, np.random.default_rng(0))
    p = torch.sigmoid(choice_logits(model, choices)[:, 0].detach().double())
    literal = -torch.where(choices.label == 1, p, 1 - p).log().mean()
    whole, _ = choice_validation(model, TASK, visits, chunk=999)()
    assert -whole == pytest.approx(float(literal), rel=1e-6)
    shake(model)
    assert measure()[0] != goal


def test_visits_without_a_history_are_passed_over() -> None:
    visits = np.arange(len(TASK))
    first = visits[TASK.visit_end == TASK.user_offsets[TASK.visit_user]]
    assert len(first) == 12
    goal, _ = choice_validation(ranker(), TASK, visits)()
    assert goal == choice_validation(ranker(), TASK, np.setdiff1d(visits, first))()[0]
    with pytest.raises(ConfigError, match="no visit has a history"):
        choice_validation(ranker(), TASK, first)


def test_where_all_was_taken_there_is_no_order() -> None:
    model = ranker()
    model.draws = replace(model.draws, number=1)
    line = choice_validation(model, TASK, TASK.visits("valid")[:1], seed=1)()[1]
    assert {"valid_log_loss"} <= set(line) <= {"valid_log_loss", "valid_auc"}


def test_some_people_are_drawn() -> None:
    every = TASK.visits("valid")
    for number in (0, 12, 99):
        assert some_visits(TASK, number, 0).tolist() == every.tolist()
    few = some_visits(TASK, 5, 0)
    assert set(few) <= set(every)
    assert len(set(TASK.visit_user[few])) == 5
    assert some_visits(TASK, 5, 1).tolist() != few.tolist()
