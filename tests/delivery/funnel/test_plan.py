"""What is trained in the minutes that there are."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from adwright.delivery.funnel.plan import LARGE, EpochCost, Stopped, free_cores, planned, timed


def test_a_model_has_its_share_of_what_is_left() -> None:
    found = planned("sequence", EpochCost(10.0, 100, 1_000), 100.0)
    assert (found.epochs, found.seconds) == (6, 60.0)
    assert "100 would take too long" in found.text()
    assert "at most 6 epochs, 1.0 minutes" in found.text()
    every = planned("sequence", EpochCost(10.0, 3, 1_000), 100.0)
    assert (every.epochs, every.seconds) == (3, 30.0)
    assert "too long" not in every.text()
    last = planned("fine", EpochCost(10.0, 100, 1_000, once=35.0), 100.0)
    assert (last.epochs, last.seconds) == (6, 95.0)


@pytest.mark.parametrize(
    ("cost", "epochs"),
    [
        (EpochCost(40.0, 20, 1_000), 0),
        (EpochCost(40.0, 20, LARGE), 1),
        (EpochCost(40.0, 1, 1_000), 1),
        (EpochCost(70.0, 20, LARGE), 0),
        (EpochCost(1.0, 20, 1_000, once=70.0), 0),
    ],
)
def test_a_model_that_would_learn_too_little_is_left_out(cost: EpochCost, epochs: int) -> None:
    found = planned("two-tower", cost, 100.0)
    assert found.epochs == epochs
    if not epochs:
        assert found.seconds == 0
        assert "left out" in found.text()
        assert "--minutes" in found.text()


def test_a_sequence_model_needs_more_epochs() -> None:
    cost = EpochCost(20.0, 20, 1_000)
    assert planned("sequence", cost, 100.0).epochs == 0
    assert planned("two-tower", cost, 100.0).epochs == 3
    assert planned("sequence", cost, 140.0).epochs == 4


def test_busy_cores_get_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for load, free in ((0.2, 8), (2.0, 6), (30.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert free_cores() == free


def test_a_training_is_stopped_after_a_few_steps() -> None:
    done = []

    def train(on_step: Callable[[int], None]) -> None:
        for step in range(100):
            done.append(step)
            on_step(step)

    assert timed(train) >= 0
    assert 3 < len(done) < 10
    done.clear()
    assert timed(lambda step: step(1)) >= 0
    assert timed(lambda _: None) == 0
    with pytest.raises(Stopped):
        raise Stopped
