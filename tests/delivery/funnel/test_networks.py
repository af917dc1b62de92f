"""The networks of a funnel, on a small task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.funnel.networks import MODELS, Networks, Trained, task_sequences
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.models.sequential.hstu import HSTUConfig
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.sequential.artifact import SequenceArtifact
from tests.support.data.small_next_basket import small_task

TASK = small_task(people=20)


def test_each_model_is_trained_with_the_defaults_of_its_room(tmp_path: Path) -> None:
    networks = Networks(TASK, True, tmp_path, seed=3)
    runs = {name: networks.slice(Trained(name), 0.0) for name in MODELS}
    for one in runs.values():
        # No second was left: one step, and its validation.
        assert (len(one.curve), one.ended) == (1, False)
        assert 0 < one.epochs <= 1
    sequence = networks.sequence()
    assert isinstance(sequence.model.config, HSTUConfig)
    assert sequence.model.config.repeats
    assert (sequence.ids, sequence.seed) == (tuple(TASK.items.ids), 3)
    towers, hcn = networks.retriever("two-tower"), networks.retriever("hcn")
    assert isinstance(towers.model.config, TwoTowerConfig)
    assert isinstance(hcn.model.config, HCNConfig)
    fine, draws = networks.fine()
    assert draws.own > 0
    assert tuple(fine.items.ids) == tuple(TASK.items.ids)
    # What was trained stands, and goes on where it stood.
    again = Networks(TASK, True, tmp_path, seed=3)
    assert (again.retriever("two-tower").vectors == towers.vectors).all()
    on = again.slice(runs["two-tower"], 1000.0)
    assert on.epochs > runs["two-tower"].epochs
    assert on.ended
    assert on.curve[0] == runs["two-tower"].curve[0]
    assert on.best_epochs <= on.epochs


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (1e9, "trained anew for the 2 epochs found"),
        (150.0, "trained on for an epoch"),
        (1.0, "stays as measured, as an epoch takes"),
    ],
)
def test_what_serves_is_fitted_to_all_events_as_far_as_time_goes(
    tmp_path: Path, left: float, said: str
) -> None:
    networks = Networks(TASK, True, tmp_path)
    for name in ("sequence", "two-tower"):
        run = networks.slice(Trained(name), 0.0)
        run = replace(run, stepping=100.0, epochs=1.0, best_epochs=2.0)
        found: SequenceArtifact | RetrieverArtifact
        if name == "sequence":
            measured: SequenceArtifact | RetrieverArtifact = networks.sequence()
            found, how = networks.sequence_of_all(networks.sequence(), run, left)
        else:
            measured = networks.retriever(name)
            found, how = networks.retriever_of_all(networks.retriever(name), run, left)
        assert said in how
        kept = left == 1.0
        assert (found.fitted == TASK.fitted(whole=True)) == (not kept)
        assert (found.count.sum() == len(TASK.item)) == (not kept)
        same = np.array_equal(found.vectors, measured.vectors)
        assert same == kept


def test_positions_are_no_times() -> None:
    assert task_sequences(TASK).time is not None
    moved = replace(TASK, time=TASK.time - TASK.time.min() + MICROSECONDS_PER_DAY)
    assert task_sequences(moved).time is None
    assert np.array_equal(task_sequences(moved).item, TASK.item)
