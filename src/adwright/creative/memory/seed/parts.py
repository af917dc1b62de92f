"""Which ads and briefs of the data a run learns from, watches, and holds out.

    parts = run_parts(data, config)
    parts.briefs_of(2, config)          # what the second round writes for

What is watched and held out are briefs whose original ad is known: of the labelled ads where there
are such, since the judges learned from people about ads like these, else of the pool. Ads and
briefs of their groups are in no other part, whether they are measured with or left over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adwright.core.errors import DataError
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.pool import KnownAd, SeedData
from adwright.creative.memory.seed.texts.brief import AdBrief, part_of

__all__ = ["RunParts", "run_parts"]


@dataclass(frozen=True)
class RunParts:
    """labelled, pool: ads to learn from. briefs: to write for. watch, held: originals."""

    labelled: tuple[KnownAd, ...]
    pool: tuple[KnownAd, ...]
    briefs: tuple[AdBrief, ...]
    watch: tuple[KnownAd, ...]
    held: tuple[KnownAd, ...]

    def briefs_of(self, at: int, config: SeedConfig) -> tuple[AdBrief, ...]:
        """The briefs of round `at`, in order: drawn anew for each round."""
        count = config.briefs or len(self.briefs)
        if count >= len(self.briefs):
            return self.briefs
        drawn = np.random.default_rng([config.seed, at]).choice(
            len(self.briefs), count, replace=False
        )
        return tuple(self.briefs[row] for row in sorted(drawn.tolist()))


def run_parts(data: SeedData, config: SeedConfig) -> RunParts:
    """Divide the data. Raises DataError where a part that is needed is empty."""

    def part(brief: AdBrief) -> str:
        return part_of(brief.held_by, watch=config.watch, held=config.held, seed=config.seed)

    judged = data.labelled or data.pool
    found = RunParts(
        labelled=tuple(ad for ad in data.labelled if part(ad.brief) == "train"),
        pool=tuple(ad for ad in data.pool if part(ad.brief) == "train"),
        briefs=tuple(one for one in data.every_brief if part(one) == "train"),
        watch=_some([ad for ad in judged if part(ad.brief) == "watch"], config.watch_most, config),
        held=_some([ad for ad in judged if part(ad.brief) == "held"], config.held_most, config),
    )
    for name, those in (
        ("to learn from", (*found.labelled, *found.pool)),
        ("to watch", found.watch),
        ("held out", found.held),
    ):
        if not those:
            raise DataError(
                f"of {len(data.ads)} ads none is {name}",
                hint="pass more brands, or other shares of watch and held",
            )
    return found


def _some(ads: Sequence[KnownAd], most: int, config: SeedConfig) -> tuple[KnownAd, ...]:
    """At most so many, chosen by the hashes of their ids, in order."""
    if not most or len(ads) <= most:
        return tuple(ads)
    rows = sorted(range(len(ads)), key=lambda row: _place(ads[row].brief.id, config.seed))
    return tuple(ads[row] for row in sorted(rows[:most]))


def _place(id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode()).digest()
