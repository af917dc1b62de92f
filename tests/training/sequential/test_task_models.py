"""HSTU of a task, twice: what comes out, and that a run is taken up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket, build_visits
from adwright.models.sequential.choice_ranker import ChoiceRanker
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.training.sequential.artifact import (
    VISITS_FILE,
    SequenceArtifact,
    fit_choice_ranker,
    fit_task_retriever,
)
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import choice_validation, visit_validation
from tests.support.data.small_next_basket import FEATURES, catalogue, events_of, small_task

TASK = small_task(people=16, days=12)
FIT = SequentialConfig(epochs=2, batch=8, learning_rate=0.01)
RETRIEVER = HSTUConfig(width=8, max_length=40, qk_width=4, v_width=4, kernel="bucketed")
RANKER = HSTURankerConfig(width=8, max_length=40, qk_width=4, v_width=4, kernel="bucketed")


def records(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_retriever_of_the_task(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    found = fit_task_retriever(TASK, RETRIEVER, FIT, tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert isinstance(found.model, HSTU)
    assert found.by_moment
    assert found.ids == TASK.items.ids
    assert np.array_equal(found.count, TASK.count)
    line = records(tmp_path / "run")
    assert [one["epoch"] for one in line] == [1, 2]
    measure = visit_validation(found.model, TASK, TASK.visits("valid"), depth=12)
    assert measure()[0] == max(one["valid_recall@12"] for one in line)
    again = fit_task_retriever(TASK, RETRIEVER, FIT, tmp_path / "run")
    assert np.array_equal(again.vectors, found.vectors)
    other = fit_task_retriever(TASK, RETRIEVER, replace(FIT, seed=1), tmp_path / "other")
    assert not np.array_equal(other.vectors, found.vectors)
    assert other.seed == 1


def few_liked() -> NextBasket:
    """Only the first four of twelve items are ever taken, so what is drawn elsewhere is not."""
    rng = np.random.default_rng(0)
    splits = ["train"] * 10 + ["valid", "test"]
    visits = [
        (f"u{person}", day, [f"i{n}" for n in sorted(rng.choice(4, 2, replace=False))], split)
        for person in range(16)
        for day, split in enumerate(splits)
    ]
    return build_visits(
        events_of(visits),
        catalogue(),
        name="few",
        protocol="by hand",
        data_hash="few",
        features=FEATURES,
    )


def test_a_ranker_of_choices_learns_what_people_take(tmp_path: Path) -> None:
    task, draws = few_liked(), Draws(number=10, own=0.1, popular=0.1)
    fit = replace(FIT, epochs=30, batch=4, learning_rate=0.02)
    found = fit_choice_ranker(task, RANKER, fit, tmp_path / "run", draws=draws)
    line = records(tmp_path / "run")
    best = min(one["valid_log_loss"] for one in line)
    assert best < line[0]["valid_log_loss"] - 0.1
    assert max(one["valid_auc"] for one in line) > 0.85
    assert json.loads(found.files[VISITS_FILE]) == {"visits": len(task.visits("train"))}
    # What is saved is a ranker, and says what was measured.
    found.save(tmp_path / "saved")
    loaded = SequenceArtifact.load(tmp_path / "saved")
    assert type(loaded.model) is HSTURanker
    model = ChoiceRanker(RANKER, len(task.items) - 1, draws=draws, count=task.count)
    model.load_state_dict(loaded.model.state_dict())
    goal, _ = choice_validation(model.eval(), task, task.visits("valid"))()
    assert -goal == best


def test_without_validation_the_last_weights_stay(tmp_path: Path) -> None:
    fit = replace(FIT, train_on_validation=True, validation_people=3)
    for name, run in (("retriever", fit_task_retriever), ("ranker", fit_choice_ranker)):
        config = RETRIEVER if name == "retriever" else RANKER
        found, again = (run(TASK, config, fit, tmp_path / name) for _ in range(2))  # type: ignore[operator]
        assert records(tmp_path / name) == []
        for ours, theirs in zip(
            found.model.state_dict().values(), again.model.state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_the_draws_count(tmp_path: Path) -> None:
    one, other = (
        fit_choice_ranker(TASK, RANKER, FIT, tmp_path / str(n), draws=draws)
        for n, draws in enumerate((Draws(number=4), None))
    )
    weights = [a.model.head[1].weight for a in (one, other)]  # type: ignore[union-attr, index]
    assert not torch.equal(*weights)
