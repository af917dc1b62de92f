"""Settings of tuning."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.training.tuning.tune import TuneConfig


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    config = TuneConfig(warmup=0.2, floor=0.1)
    rates = [config.share_of_rate(step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.1 + 0.9 / 2)
    assert all(before > after for before, after in pairwise(rates[2:]))
    assert 0.1 < rates[-1] < 0.2
    assert replace(config, warmup=0.0).share_of_rate(0, 10) == 1.0


def test_an_epoch_reads_each_text_once_in_an_order_of_its_own() -> None:
    config = TuneConfig(epochs=2, batch=4, seed=3)
    assert (config.steps_an_epoch(10), config.steps_in_all(10)) == (3, 6)
    first, second = ([config.rows(3 * epoch + at, 10) for at in range(3)] for epoch in range(2))
    assert [len(rows) for rows in first] == [4, 4, 2]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(10))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert np.array_equal(config.rows(4, 10), second[1])
    assert not np.array_equal(replace(config, seed=4).rows(0, 10), first[0])
    assert replace(config, steps=5).steps_in_all(10) == 5


def test_validations_fall_due() -> None:
    config = TuneConfig(epochs=2, batch=4)
    steps = range(1, 7)
    assert [step for step in steps if config.validates(step, 10)] == [3, 6]
    often = replace(config, validate_every=4)
    assert [step for step in steps if often.validates(step, 10)] == [4, 6]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"micro": 0},
        {"patience": 0},
        {"steps": -1},
        {"validate_every": -1},
        {"checkpoint_every": -1},
        {"weight_decay": -0.1},
        {"clip_norm": -1.0},
        {"learning_rate": 0.0},
        {"warmup": 1.0},
        {"floor": 1.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(TuneConfig(), **wrong)  # type: ignore[arg-type]
