"""One step of greedy coordinate gradient over some orders: propose, give up early, read exactly.

    searcher = SuffixSearch(place, reader, config, allowed)
    bases = searcher.read(prompts, suffix)
    chosen = searcher.step(bases, 0, rng)
    chosen.suffix, chosen.value

With `reading="exact"`, one order and no abandoning it is the step of Zou et al. (2023, algorithm 1)
with the filter for retokenisation that nanoGCG has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.audit.attacks.gradient.candidates import (
    best_tokens,
    draw_candidates,
    merged_candidates,
)
from adwright.audit.attacks.gradient.config import GradientConfig
from adwright.audit.attacks.gradient.place import PlacedPrompt, SuffixPlace
from adwright.audit.attacks.gradient.reading import ReadPrompt, SuffixReader
from adwright.audit.attacks.halving import halved

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ChosenSuffix:
    """suffix: the best candidate. value: its objective, the mean over the orders. bases: the
    prompts read with it. trials: candidates that were tried for it, each in one order."""

    suffix: tuple[int, ...]
    value: float
    bases: list[ReadPrompt]
    trials: int


class SuffixSearch:
    """Steps from one suffix to the next.

    The objective is  loss of the answer + fluency x cross-entropy of the suffix  as `reading` has
    them. allowed: bool [V], see `vocabulary`.
    """

    def __init__(
        self,
        place: SuffixPlace,
        reader: SuffixReader,
        config: GradientConfig,
        allowed: NDArray[np.bool_],
    ) -> None:
        self._place, self._reader = place, reader
        self._config, self._allowed = config, allowed

    def read(
        self,
        prompts: Sequence[PlacedPrompt],
        suffix: Sequence[int],
        like: Sequence[ReadPrompt] | None = None,
    ) -> list[ReadPrompt]:
        """Read the prompts with a suffix. like: the same prompts with another one."""
        before = [None] * len(prompts) if like is None else like
        return [
            self._reader.read(one, suffix, known)
            for one, known in zip(prompts, before, strict=True)
        ]

    def value(self, bases: Sequence[ReadPrompt]) -> float:
        """The mean objective of what was read."""
        weight = self._config.fluency
        return float(np.mean([base.loss + weight * base.own for base in bases]))

    def step(
        self, bases: Sequence[ReadPrompt], lead: int, rng: np.random.Generator
    ) -> ChosenSuffix | None:
        """The best candidate from the suffix of `bases`, better than it or not; None where no
        candidate survives as text.

        lead: the order whose gradient speaks, and in which candidates are tried first.
        """
        config, current = self._config, bases[0].suffix
        ordered = [*bases[lead:], *bases[:lead]]
        gradient = self._reader.gradient(ordered[0])
        best = best_tokens(gradient, self._usable(ordered[0]), config.top_k)
        suffixes = draw_candidates(
            current, best, config.candidates, rng, swaps=config.swaps, keeps=self._place.survives
        )
        if not len(suffixes):
            return None
        ranked, trials = self._tried(ordered, suffixes)
        if config.coordinates > 1:
            top = suffixes[ranked[: config.coordinates]]
            merged = merged_candidates(current, top, self._place.survives)
            suffixes = np.concatenate([merged, suffixes[ranked]])
            ranked, more = self._tried(ordered, suffixes)
            trials += more
        return self._verified(bases, suffixes[ranked[: config.verified]], trials)

    def _usable(self, base: ReadPrompt) -> NDArray[np.bool_]:
        """The tokens among which a position's are drawn: [V], or with fluency [L, V]."""
        if base.expected is None or not self._config.fluency:
            return self._allowed
        expected = base.expected.float().numpy()
        masked = np.where(self._allowed, expected, -np.inf)
        pool = min(self._config.pool, int(self._allowed.sum()))
        top = np.argpartition(-masked, pool - 1, axis=1)[:, :pool]
        usable = np.zeros(masked.shape, dtype=np.bool_)
        np.put_along_axis(usable, top, values=True, axis=1)
        return usable & self._allowed

    def _tried(self, bases: Sequence[ReadPrompt], suffixes: Ids) -> tuple[Ids, int]:
        """Rows of suffixes that were tried in all orders, the best first; how many trials."""
        config = self._config
        quick = config.reading == "look"

        def look(order: int, rows: Ids) -> NDArray[np.float64]:
            found = self._reader.losses(bases[order], suffixes[rows], quick=quick)
            return found.answer + config.fluency * found.own

        least = max(config.verified, config.coordinates)
        trials = halved(len(suffixes), len(bases), look, share=config.abandon, least=least)
        return trials.rows, trials.tried

    def _verified(self, bases: Sequence[ReadPrompt], suffixes: Ids, trials: int) -> ChosenSuffix:
        """The best of some suffixes, read exactly in all orders, which the next step needs."""
        found: list[ChosenSuffix] = []
        for suffix in suffixes:
            own = tuple(int(token) for token in suffix)
            read = self.read([base.prompt for base in bases], own, bases)
            found.append(ChosenSuffix(own, self.value(read), read, trials))
        return min(found, key=lambda one: one.value)
