"""How a sequential model is trained, and what came out: `SequentialConfig`, `SequentialResult`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError
from adwright.data.sequences.stochastic_length import StochasticLength

__all__ = ["SequentialConfig", "SequentialResult"]


@dataclass(frozen=True)
class SequentialConfig:
    """How a sequential model is trained; the defaults are those of the HSTU paper's public
    experiments but for the validation, which these lack.

    epochs: at most so many. batch: sequences a step. learning_rate, betas, weight_decay: of
    AdamW. schedule: the rate stays, or falls in a line to 0 at the end of the last epoch.
    optimiser: "rowwise" keeps 2 bytes of state for each float of the embedding tables instead
    of AdamW's 8 (`rowwise_adamw`). clip_norm: of all gradients together, 0 for none.
    whole: of a sequence longer than the model reads, earlier windows are samples too.
    final: train on the validation targets as well, without validation.
    shortening: stochastic length, or None. precision: of the products in training.
    validate_every: epochs between validations; patience: stop after so many without a better
    one. validation_people: a random part of them, 0 for all. k: of NDCG@k. unseen: rank without
    the items that a person had before; set it to False where people take items again. These
    three are not asked where `fit_sequential` is given a `validate` of its own.
    """

    epochs: int = 100
    batch: int = 128
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    optimiser: Literal["adamw", "rowwise"] = "adamw"
    clip_norm: float = 0.0
    whole: bool = False
    final: bool = False
    shortening: StochasticLength | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = 1
    patience: int = 10
    validation_people: int = 0
    unseen: bool = True
    k: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_literals(self)
        for name in ("epochs", "batch", "validate_every", "patience", "k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", where=str(getattr(self, name)))
        for name in ("weight_decay", "clip_norm", "validation_people", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must not be negative", where=str(getattr(self, name)))
        if not 0 < self.learning_rate < math.inf or not all(0 <= b < 1 for b in self.betas):
            raise ConfigError(
                "learning_rate is above 0, betas lie in [0, 1)",
                where=f"{self.learning_rate}, {self.betas}",
            )


@dataclass(frozen=True)
class SequentialResult:
    """best: goal of the best validation, NDCG@k, minus the log loss or that of `validate` (NaN
    without one).
    epoch: of it, from 1. steps: taken. records: one mapping a validation, as in
    metrics.jsonl."""

    best: float
    epoch: int
    steps: int
    records: tuple[dict[str, Any], ...]
