"""Settings of a training; test_sequential.py has what each of them does."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.training.sequential.config import SequentialConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"betas": (0.9, 1.0)},
        {"clip_norm": -1.0},
        {"precision": "float16"},
        {"optimiser": "adam"},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SequentialConfig(**wrong)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_the_public_experiments() -> None:
    config = SequentialConfig()
    assert (config.learning_rate, config.betas, config.batch) == (1e-3, (0.9, 0.98), 128)
    assert (config.weight_decay, config.clip_norm, config.optimiser) == (0.0, 0.0, "adamw")
