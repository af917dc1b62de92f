"""Where a tuning stands."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pytest

from adwright.core.errors import ResumeError
from adwright.training.loop.run_folder import RunFolder
from adwright.training.tuning.position import Position


def test_steps_add_up_and_a_record_begins_anew() -> None:
    at = Position().stepped(6.0, 4, 30, 0.5).stepped(2.0, 4, 20, 0.25)
    assert (at.step, at.tokens, at.seconds) == (2, 50, 0.75)
    at, better = at.recorded(1.5)
    assert better
    assert at.records == (
        {"step": 2, "tokens": 50, "train_loss": 1.0, "cpu_seconds": 0.75, "valid_nll": 1.5},
    )
    at, _ = at.stepped(3.0, 1, 10).recorded(1.25)
    assert at.records[1]["train_loss"] == 3.0
    assert (at.best, at.best_step, at.worse) == (1.25, 3, 0)


def test_what_is_no_better_is_counted_until_something_is() -> None:
    at, _ = Position(step=1).recorded(1.0)
    at, better = at.stepped(0.0, 1, 1).recorded(1.0)
    assert not better
    at, _ = at.stepped(0.0, 1, 1).recorded(2.0)
    assert (at.best, at.best_step, at.worse) == (1.0, 1, 2)
    at, better = at.stepped(0.0, 1, 1).recorded(0.5)
    assert better
    assert (at.best, at.best_step, at.worse) == (0.5, 4, 0)
    result = at.result()
    assert (result.best, result.best_step, result.steps) == (0.5, 4, 4)
    assert len(result.records) == 4


def test_without_a_validation_the_last_is_the_best() -> None:
    at, better = Position(step=3).recorded(None)
    assert better
    assert (at.best, at.best_step) == (None, 3)
    assert "valid_nll" not in at.records[0]
    assert math.isnan(at.result().best)


def test_a_position_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", {"data_hash": "0"}, "tuning-checkpoint")
    at, _ = Position().stepped(2.0, 1, 5).recorded(0.5)
    assert Position.kept(asdict(at), run) == at
    for wrong in ({}, {**asdict(at), "stride": 1}, {**asdict(at), "records": None}):
        with pytest.raises(ResumeError):
            Position.kept(wrong, run)
