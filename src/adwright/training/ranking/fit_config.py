"""How a ranker is trained: what was asked for, and everything decided."""

from __future__ import annotations

import json
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Literal

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.stream import PartialStream, StreamConfig
from adwright.training.loop.optimisers import Rule
from adwright.training.ranking.counts import Occurrence
from adwright.training.run_settings import check_ranges

__all__ = ["FitConfig", "PartialFit", "as_begun"]


@settings
class PartialFit:
    """How a model is trained, where None leaves a setting to the data (`ranker_defaults`).

    epochs: at most so many. learning_rate: Adam's, for dense weights.
    embedding_learning_rate, embedding_rule: of the row-wise optimiser.
    decay: lambda of the mini-batch aware regulariser, 0 for none; of the order of 1 (the paper has
    .01 with SGD). decay_counts: what its n_j counts, see `counts`: the training rows in which a
    value occurs, which is the paper's, or the events, as earlier versions did.
    clip_norm: gradients of dense weights are scaled down to this norm; 0 for no clipping.
    Row-wise steps of Adagrad and Adam are bounded by their learning rate already.
    precision: "bf16" computes the dense layers in bfloat16; weights stay in float32.
    patience: stop after so many validations without a better group AUC.
    validations_per_epoch: how often validation runs in an epoch, at most once a window.
    checkpoint_every: batches between checkpoints; 0 saves only after validations.
    seed: of the order of the rows, the sampled negatives and dropout, so also of `stream`,
    whose own seed stays 0.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    embedding_learning_rate: float | None = None
    embedding_rule: Rule = "adagrad"
    decay: float | None = None
    decay_counts: Occurrence = "rows"
    clip_norm: float = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    patience: int | None = None
    validations_per_epoch: int = 1
    checkpoint_every: int = 200
    seed: int = 0
    stream: PartialStream = field(default_factory=PartialStream)

    def __post_init__(self) -> None:

        def given(*names: str) -> list[str]:
            return [name for name in names if getattr(self, name) is not None]

        check_ranges(
            self,
            counts=given("epochs", "patience", "validations_per_epoch"),
            positive=given("learning_rate", "embedding_learning_rate"),
            not_negative=given("decay", "clip_norm", "checkpoint_every", "seed"),
        )
        if self.stream.seed:
            raise ConfigError(
                "the stream takes the seed of the run",
                where=f"stream.seed {self.stream.seed}",
                hint="set seed, and leave stream.seed at 0",
            )

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to the data."""
        own = [getattr(self, f.name) for f in fields(self)]
        return None not in [*own, *(getattr(self.stream, f.name) for f in fields(self.stream))]

    def over(self, default: FitConfig) -> FitConfig:
        """`default` with what is given here."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "stream"}
        return replace(
            default,
            **{name: value for name, value in given.items() if value is not None},
            stream=self.stream.over(default.stream),
        )


@settings
class FitConfig(PartialFit):
    """`PartialFit` with nothing left open; its own values suit a log of millions of rows."""

    epochs: int = 2
    learning_rate: float = 6e-3
    embedding_learning_rate: float = 0.05
    decay: float = 0.0
    patience: int = 2
    stream: StreamConfig = field(default_factory=StreamConfig)


def as_begun(config: FitConfig, run: str | Path) -> FitConfig:
    """The config for the run folder `run`, with the counts of the run that is there.

    A run with a decay that was begun by a version without `decay_counts` goes on by events.
    """
    try:
        begun = json.loads((Path(run) / "config.json").read_text("utf-8"))["fit"]
        counted_events = begun["decay"] > 0 and "decay_counts" not in begun
    except (OSError, ValueError, KeyError, TypeError):
        # No run, or none that can be resumed, which `RunFolder` says.
        return config
    return replace(config, decay_counts="events") if counted_events else config
