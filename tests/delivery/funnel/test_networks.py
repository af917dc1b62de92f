"""The networks of a funnel, on a small task."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.funnel.networks import (
    MODELS,
    ModelName,
    Networks,
    Trained,
    free_cores,
    next_slice,
    task_sequences,
)
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


def run(
    model: ModelName, *curve: float, each: float = 10.0, around: float = 0.0, ended: bool = False
) -> Trained:
    """A training with these validations, a slice of `each` seconds and an epoch before each."""
    seconds, epochs = each * len(curve), float(len(curve))
    points = tuple((each * (n + 1), value) for n, value in enumerate(curve))
    return Trained(model, seconds, seconds, around, epochs, epochs, points, ended)


@pytest.mark.parametrize(
    ("runs", "left", "expected"),
    [
        # Everybody gets a slice first, in their order.
        ([run("sequence"), run("two-tower", 0.9)], 100.0, ("sequence", 10.0)),
        # Then who gained most per second, whoever is ahead.
        ([run("sequence", 0.1, 0.3), run("two-tower", 0.5, 0.51, 0.52)], 100.0, ("sequence", 10.0)),
        ([run("sequence", 0.1, 0.3), run("hcn", 0.1, 0.28, each=5.0)], 100.0, ("hcn", 10.0)),
        # One validation that is worse does not end the race for anybody.
        ([run("sequence", 0.1, 0.3, 0.29), run("hcn", 0.3, 0.35, 0.36)], 100.0, ("sequence", 10.0)),
        ([run("sequence", 0.1, 0.3, ended=True), run("hcn", 0.2, 0.2)], 100.0, ("hcn", 10.0)),
        # What it takes to begin and to validate is no training, and is part of the time.
        ([run("sequence", 0.1, around=20.0)], 100.0, ("sequence", 60.0)),
        ([run("sequence", 0.1, around=20.0)], 50.0, ("sequence", 30.0)),
        ([run("sequence", 0.1, around=20.0)], 22.0, None),
        ([run("sequence", 0.1)], 2.0, None),
        ([run("sequence", 0.1, ended=True)], 100.0, None),
        ([run("sequence")], 0.0, None),
        ([], 100.0, None),
    ],
)
def test_the_next_slice_goes_where_it_gains_most(
    runs: list[Trained], left: float, expected: tuple[ModelName, float] | None
) -> None:
    assert next_slice(runs, left, 10.0) == expected


def test_what_was_cut_is_said_with_its_curve() -> None:
    said = run("hcn", 0.1, 0.25).text()
    assert "hcn: 2 epochs in 20 s, validation 0.1000, 0.2500 after 10, 20 s" in said
    assert "cut off, it goes on with more --minutes and --resume" in said
    assert "more time would change nothing" in run("hcn", 0.1, ended=True).text()
    assert "left out, as no time is left for it: give --minutes more" in run("hcn").text()


def test_busy_cores_get_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for load, free in ((0.2, 8), (2.0, 6), (30.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert free_cores() == free
