"""How a language model is tuned, and what came out: `TuneConfig`, `TuneResult`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.training.run_settings import check_ranges

__all__ = ["TuneConfig", "TuneResult"]


@settings
class TuneConfig:
    """How a method is trained.

    epochs: over all texts; steps: in their place, 0 for those of the epochs. batch: texts
    per step; micro: texts of one forward pass, whose gradients add up. learning_rate, betas,
    weight_decay: of AdamW; a rate of None stands for the method's own `default_rate`, and methods
    may multiply it for some of their weights. warmup: share of the steps in which the rate rises;
    then it falls as a cosine to `floor` of itself.
    clip_norm: of all gradients together, 0 for none. bfloat16: products in that type.
    validate_every: steps, 0 for once an epoch; patience: stop after so many validations without a
    better one. checkpoint_every: steps, beside each validation; 0 for none.
    checkpoint_layers: decoder layers are computed again in the backward pass, which saves memory
    and changes no result. shard: each process holds its share of the frozen layers.
    """

    epochs: int = 1
    steps: int = 0
    batch: int = 8
    micro: int = 8
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: float = 0.05
    floor: float = 0.0
    clip_norm: float = 1.0
    bfloat16: bool = False
    validate_every: int = 0
    patience: int = 10
    checkpoint_every: int = 0
    checkpoint_layers: bool = False
    shard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            counts=("epochs", "batch", "micro", "patience"),
            positive=("learning_rate",) if self.learning_rate is not None else (),
            not_negative=(
                "steps",
                "validate_every",
                "checkpoint_every",
                "weight_decay",
                "clip_norm",
            ),
        )
        if not (0 <= self.warmup < 1 and 0 <= self.floor <= 1):
            raise ConfigError(
                "warmup and floor are shares, warmup below 1", where=f"{self.warmup}, {self.floor}"
            )

    def share_of_rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`, as a share of the whole."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(steps - rising, 1)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def steps_an_epoch(self, texts: int) -> int:
        """Count the steps in which each text is read once."""
        return -(-texts // self.batch)

    def steps_in_all(self, texts: int) -> int:
        """Count the steps of the whole training."""
        return self.steps or self.epochs * self.steps_an_epoch(texts)

    def rows(self, step: int, texts: int) -> NDArray[np.int64]:
        """Choose the texts that step `step` (from 0) reads [batch, or less at an epoch's end]."""
        epoch, place = divmod(step, self.steps_an_epoch(texts))
        order = np.random.default_rng([self.seed, epoch]).permutation(texts)
        return order[place * self.batch : (place + 1) * self.batch]

    def validates(self, step: int, texts: int) -> bool:
        """Whether a validation follows `step` steps."""
        every = self.validate_every or self.steps_an_epoch(texts)
        return step % every == 0 or step == self.steps_in_all(texts)


@dataclass(frozen=True)
class TuneResult:
    """What came of a tuning. best: loss of the best validation in nats per token, NaN without one,
    after best_step steps. seconds: of CPU. records: the lines of metrics.jsonl."""

    best: float
    best_step: int
    steps: int
    tokens: int
    seconds: float
    records: tuple[dict[str, Any], ...]
