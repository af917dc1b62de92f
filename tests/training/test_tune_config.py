"""Settings of tuning."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from adwright.core.errors import ConfigError
from adwright.training.tune_config import TuneConfig


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    config = TuneConfig(warmup=0.2, floor=0.1)
    rates = [config.share_of_rate(step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.1 + 0.9 / 2)
    assert all(before > after for before, after in pairwise(rates[2:]))
    assert 0.1 < rates[-1] < 0.2
    assert replace(config, warmup=0.0).share_of_rate(0, 10) == 1.0


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
