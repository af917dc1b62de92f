"""Settings of a training; test_sequential.py has what each of them does."""

from __future__ import annotations

import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.training.sequential.fit import OLD_NAMES, SequentialConfig, renamed


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


def test_what_was_saved_under_old_names_is_read() -> None:
    config = SequentialConfig(all_windows=True, exclude_seen=False, epochs=3)
    new = to_jsonable(config)
    current = {name: old for old, name in OLD_NAMES.items()}
    old = {current.get(name, name): value for name, value in new.items()}
    assert set(OLD_NAMES) <= set(old)
    assert from_jsonable(SequentialConfig, renamed(old)) == config
    model = {"stochastic_length": {"alpha": 1.6}, "blocks": 2}
    assert renamed({"fit": old, "model": model}) == {"fit": new, "model": model}
    assert renamed(new) == new
