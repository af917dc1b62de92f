"""The settings of a run of SEED, beside its model, its judges and its data."""

from __future__ import annotations

from dataclasses import field

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.creative.memory.seed.texts.brief import part_of
from adwright.creative.memory.seed.texts.filters import AdFilterConfig
from adwright.lm.engine.generation import GenerationConfig

__all__ = ["SeedBudget", "SeedConfig"]


@settings
class SeedBudget:
    """After which a run stops, to be gone on with; 0 for none. minutes: of this call, by the clock.
    tokens: read, written and tuned on, of all calls."""

    minutes: float = 0.0
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.minutes < 0 or self.tokens < 0:
            raise ConfigError("a budget is not below 0", where=f"{self.minutes}, {self.tokens}")


@settings
class SeedConfig:
    """How a run goes.

    rounds: at most. samples: ads that a round writes for a brief. briefs: of a round, drawn anew
    for each; 0 for all. keep: share of these briefs whose best ad is tuned on. pool: share of the
    ads without a measured score that is tuned on, the best of each collection; pool_most: at most
    so many, 0 for all. rows: at most so many are tuned on in a round, what was kept before what
    was there before; 0 for all.
    watch, held: shares of the groups of briefs, see `brief`; watch_most, held_most: briefs of
    them that are written for, 0 for all; measured: ads for each of them. patience: rounds that may
    bring nothing by the second judge's view. gain: what counts as something, relative.
    temperature, top_p, tokens: of what is written; a video takes some 600 tokens. batch: briefs of
    one call. draws: of intervals.

    Raises ConfigError for numbers out of range.
    """

    rounds: int = 3
    samples: int = 6
    briefs: int = 0
    keep: float = 0.5
    pool: float = 0.25
    pool_most: int = 2000
    rows: int = 0
    watch: float = 0.1
    held: float = 0.25
    watch_most: int = 100
    held_most: int = 200
    measured: int = 4
    patience: int = 2
    gain: float = 0.0
    temperature: float = 0.9
    top_p: float = 0.95
    tokens: int = 48
    batch: int = 8
    draws: int = 1000
    seed: int = 0
    filters: AdFilterConfig = field(default_factory=AdFilterConfig)
    budget: SeedBudget = field(default_factory=SeedBudget)

    def __post_init__(self) -> None:
        for name in ("rounds", "samples", "measured", "patience", "batch", "draws", "tokens"):
            self._require(name, getattr(self, name) >= 1, "is at least 1")
        for name in ("briefs", "pool_most", "rows", "watch_most", "held_most", "seed"):
            self._require(name, getattr(self, name) >= 0, "is not below 0")
        for name in ("keep", "pool"):
            self._require(name, 0 <= getattr(self, name) <= 1, "is a share")
        self._require("temperature", self.temperature > 0, "is above 0, or all samples were one")
        part_of("", watch=self.watch, held=self.held)
        self.generation()

    def generation(self, seed: int = 0) -> GenerationConfig:
        """How one call writes."""
        return GenerationConfig(
            max_tokens=self.tokens, temperature=self.temperature, top_p=self.top_p, seed=seed
        )

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} {what}", where=f"{name} {getattr(self, name)}")
