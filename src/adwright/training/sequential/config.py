"""How a sequence model is trained, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adwright.core.config import Count, Natural, NotNegative, settings
from adwright.core.errors import ConfigError
from adwright.data.sequences.stochastic_length import StochasticLength

__all__ = ["OLD_NAMES", "SequentialConfig", "SequentialResult", "renamed"]

#: Fields of `SequentialConfig` that had other names, by these.
OLD_NAMES = {
    "whole": "all_windows",
    "final": "train_on_validation",
    "shortening": "stochastic_length",
    "unseen": "exclude_seen",
}


@settings
class SequentialConfig:
    """How a sequence model is trained; the defaults are those of the HSTU paper's public
    experiments but for the validation, which these lack.

    epochs: at most so many. batch: sequences per step. learning_rate, betas, weight_decay: of
    AdamW. schedule: the rate stays, or falls linearly to 0 at the end of the last epoch.
    optimiser: "rowwise" keeps 2 bytes of state for each float of the embedding tables instead
    of AdamW's 8 (`rowwise_adamw`). clip_norm: of all gradients together, 0 for none.
    all_windows: of a sequence longer than the model reads, earlier windows are samples too.
    train_on_validation: train on the validation targets as well, without validating.
    stochastic_length: how histories are shortened in training, or None. precision: of the
    products in training.
    validate_every: epochs between validations; patience: stop after so many without a better
    one. validation_people: a random sample of users, 0 for all. k: of NDCG@k. exclude_seen: rank
    without the items that a user had before; False where users take items again. These three
    are not read where `fit_sequential` is given a `validate` of its own.
    """

    epochs: Count = 100
    batch: Count = 128
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: NotNegative = 0.0
    optimiser: Literal["adamw", "rowwise"] = "adamw"
    clip_norm: NotNegative = 0.0
    all_windows: bool = False
    train_on_validation: bool = False
    stochastic_length: StochasticLength | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: Count = 1
    patience: Count = 10
    validation_people: Natural = 0
    exclude_seen: bool = True
    k: Count = 10
    seed: Natural = 0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf or not all(0 <= b < 1 for b in self.betas):
            raise ConfigError(
                "learning_rate is above 0, betas lie in [0, 1)",
                where=f"{self.learning_rate}, {self.betas}",
            )


@dataclass(frozen=True)
class SequentialResult:
    """What came of a training.

    best: goal of the best validation: NDCG@k, minus the log loss, or that of `validate`; NaN
    without one. epoch: of it, from 1. steps: taken. records: one mapping per validation, as in
    metrics.jsonl.
    """

    best: float
    epoch: int
    steps: int
    records: tuple[dict[str, Any], ...]


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with the current names of `OLD_NAMES`, also in its tables."""
    return {
        OLD_NAMES.get(name, name): renamed(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
    }
