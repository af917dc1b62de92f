"""What a run would do and roughly what it would cost, without a model.

    print(plan_seed(config, data).text())

Tokens are taken as four characters each, which holds for English within a fifth. Paces are CPU-
seconds of one thread on a quiet processor with SmolLM2-135M; pass your own for other models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.core.progress import duration
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.parts import RunParts, run_parts
from adwright.creative.memory.seed.pool import KnownAd, SeedData
from adwright.creative.memory.seed.texts.brief import AdBrief

__all__ = ["SeedPaces", "SeedPlan", "plan_seed"]

_CHARACTERS = 4
#: Tokens of the chat template around a prompt and its answer.
_TEMPLATE = 30
#: Of the tokens that an answer may have, what it has where no ad tells.
_USUAL_ANSWER = 0.5


@settings
class SeedPaces:
    """What one CPU-second does: tokens of training, of prompts that are read, of answers; ads that
    a judge looks at."""

    tuned: float = 130.0
    read: float = 600.0
    written: float = 80.0
    judged: float = 100.0

    def __post_init__(self) -> None:
        if min(self.tuned, self.read, self.written, self.judged) <= 0:
            raise ConfigError("a pace is above 0", where=str(self))


@dataclass(frozen=True)
class SeedPlan:
    """labelled, pool, watched, held: ads of each part. briefs: that a round writes for. ads: that
    it writes. rows: tuned on in each round, at most. tuned, read, written: tokens of the whole run,
    about. judged: ads. seconds: of CPU, about."""

    labelled: int
    pool: int
    watched: int
    held: int
    briefs: int
    ads: int
    rows: tuple[int, ...]
    tuned: int
    read: int
    written: int
    judged: int
    seconds: float

    def text(self) -> str:
        """A line each."""
        rounds = ", ".join(f"{rows:,}" for rows in self.rows)
        return "\n".join(
            (
                f"learn from {self.labelled:,} labelled ads and the best of {self.pool:,} others",
                f"each round: {self.ads:,} ads for {self.briefs:,} briefs",
                f"rows tuned on, by round from 0: {rounds}",
                f"watched {self.watched:,} briefs, held out {self.held:,}",
                f"tokens, about: {self.tuned:,} tuned on, {self.read:,} read, "
                f"{self.written:,} written; {self.judged:,} ads judged",
                f"about {duration(self.seconds)} of CPU; nothing was done yet",
            )
        )


def plan_seed(config: SeedConfig, data: SeedData, paces: SeedPaces | None = None) -> SeedPlan:
    """Count what all rounds do. Raises as `run_parts`."""
    paces = SeedPaces() if paces is None else paces
    parts = run_parts(data, config)
    pool = round(config.pool * len(parts.pool))
    pool = min(pool, config.pool_most or pool)
    briefs = min(config.briefs or len(parts.briefs), len(parts.briefs))
    kept = round(config.keep * briefs)
    first, later = len(parts.labelled) + pool, round(len(parts.labelled) / 2) + pool
    rows = [first] + [later + at * kept for at in range(1, config.rounds + 1)]
    rows = [min(one, config.rows or one) for one in rows]
    prompt = _mean([_prompt(brief) for brief in parts.briefs])
    answer = _answer(parts, config)
    sampled = config.rounds * briefs * config.samples
    measured = config.measured * ((config.rounds + 1) * len(parts.watch) + 2 * len(parts.held))
    calls = config.rounds * briefs + (config.rounds + 1) * len(parts.watch) + 2 * len(parts.held)
    tuned = round(sum(rows) * (prompt + answer))
    read, written = round(calls * prompt), round((sampled + measured) * answer)
    judged = len(parts.pool) + sampled + 2 * measured
    seconds = (
        tuned / paces.tuned + read / paces.read + written / paces.written + judged / paces.judged
    )
    return SeedPlan(
        len(parts.labelled),
        len(parts.pool),
        len(parts.watch),
        len(parts.held),
        briefs,
        briefs * config.samples,
        tuple(rows),
        tuned,
        read,
        written,
        judged,
        seconds,
    )


def _prompt(brief: AdBrief) -> float:
    return _TEMPLATE + sum(len(turn.content) for turn in brief.messages()) / _CHARACTERS


def _answer(parts: RunParts, config: SeedConfig) -> float:
    """Mean tokens of an answer, no more than may be written."""
    ads: Sequence[KnownAd] = parts.labelled or parts.pool
    mean = _mean([len(ad.answer) / _CHARACTERS for ad in ads])
    return min(mean, config.tokens) if ads else _USUAL_ANSWER * config.tokens


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
