"""The networks of a funnel, on a small task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.funnel.networks import Networks, task_sequences
from adwright.delivery.funnel.plan import MODELS
from adwright.models.retrieval.hcn import HCNConfig
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.models.sequential.hstu import HSTUConfig
from tests.support.data.small_next_basket import small_task

TASK = small_task(people=20)


def test_each_model_is_trained_with_the_defaults_of_its_room(tmp_path: Path) -> None:
    networks = Networks(TASK, True, tmp_path, seed=3)
    sequence = networks.sequence(1)
    assert isinstance(sequence.model.config, HSTUConfig)
    assert sequence.model.config.repeats
    assert (sequence.ids, sequence.seed) == (tuple(TASK.items.ids), 3)
    towers, hcn = networks.retriever("two-tower", 1), networks.retriever("hcn", 1)
    assert isinstance(towers.model.config, TwoTowerConfig)
    assert isinstance(hcn.model.config, HCNConfig)
    again = Networks(TASK, True, tmp_path, seed=3)
    assert (again.retriever("two-tower", 1).vectors == towers.vectors).all()
    assert (again.sequence(1).vectors == sequence.vectors).all()
    other = Networks(TASK, True, tmp_path / "other", seed=4)
    assert (other.retriever("two-tower", 1).vectors != towers.vectors).any()


def test_the_fine_ranker_is_trained_on_choices(tmp_path: Path) -> None:
    networks = Networks(TASK, True, tmp_path, cache=tmp_path / "rows")
    fine, draws = networks.fine(1)
    assert draws.own > 0
    assert tuple(fine.items.ids) == tuple(TASK.items.ids)
    assert networks.fine(1)[0].seed == fine.seed  # as it stands
    new = Networks(TASK, False, tmp_path / "new").fine(1)[1]
    assert new.own == 0


@pytest.mark.parametrize("name", MODELS)
def test_the_cost_of_an_epoch_is_measured(tmp_path: Path, name: str) -> None:
    networks = Networks(TASK, True, tmp_path)
    cost = networks.cost(name)  # type: ignore[arg-type]
    assert cost.seconds > 0
    assert cost.epochs >= 1
    assert cost.events > 0
    assert (len(networks.why(name)) > 0) == (name != "fine")  # type: ignore[arg-type]
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept <= {"rows"}


def test_positions_are_no_times() -> None:
    assert task_sequences(TASK).time is not None
    moved = replace(TASK, time=TASK.time - TASK.time.min() + MICROSECONDS_PER_DAY)
    assert task_sequences(moved).time is None
    assert np.array_equal(task_sequences(moved).item, TASK.item)
