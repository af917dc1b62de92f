"""How well recall is predicted: brands seen, brands held out, and content beyond the brand.

    report = measure_memory(table, AdBlocks(BlockConfig()).of(table.records), rng=rng)
    report.brands_out.text(".2f")                  # "0.81 (0.77 to 0.84)"

Of each seed, five folds; every ad is predicted once, by a head that saw none of its fold.
Spearman's rho is that of all these predictions together with what was found, and the mean of it
over seeds.

    brands_seen    folds of single ads: the brand's other ads may have been seen
    brands_out     folds of whole brands: what to expect of a new advertiser
    content_lift   folds of single ads: the content's part with what the brand's part leaves
    brand_share    of the variance that brand and content explain, the part that the brand alone
                   explains, both out of fold: r2_brand / r2_both, from 0 to 1

Where every brand has one ad, the two kinds of folds are one. Intervals resample brands, and are
widened by what the seeds show (`metrics.two_level`). Nothing is chosen by these folds: the ridges'
strengths and the members' weights come from inner folds of the training ads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import require_count
from adwright.core.errors import DataError
from adwright.creative.memory.block_ridge import group_folds
from adwright.creative.memory.encoder import MemoryParts, fit_head
from adwright.creative.memory.lift import brand_key
from adwright.creative.memory.outcomes import RecallTable
from adwright.metrics.bootstrap import Interval, draw_counts
from adwright.metrics.rank_correlation import spearman
from adwright.metrics.two_level import MethodInterval, with_seeds

__all__ = [
    "MemoryReport",
    "Split",
    "brand_share_of",
    "cross_fitted",
    "measure_memory",
    "rho_interval",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Split = Literal["brands_seen", "brands_out"]
_FOLDS, _SEEDS = 5, (0, 1, 2)


@dataclass(frozen=True)
class MemoryReport:
    """What the module's head lists. ads, brands: how many. brand_share: NaN where nothing is
    explained. brand_rho: of the brand's part alone, brands held out. seeds: of the folds."""

    ads: int
    brands: int
    brands_seen: MethodInterval
    brands_out: MethodInterval
    content_lift: MethodInterval
    brand_rho: MethodInterval
    brand_share: float
    seeds: tuple[int, ...]


def cross_fitted(
    table: RecallTable,
    blocks: Mapping[str, NDArray[np.float32]],
    *,
    split: Split = "brands_out",
    folds: int = _FOLDS,
    seed: int = 0,
) -> MemoryParts:
    """Both parts of each of N ads, by a head that had not seen its fold.

    Raises DataError for fewer brands (ads, where `split` is brands_seen) than folds.
    """
    groups = table.groups
    apart = groups if split == "brands_out" else np.arange(len(table))
    of, keys = group_folds(apart, folds, seed=seed), [brand_key(one) for one in table.brands]
    brand, content = np.empty(len(table)), np.empty(len(table))
    weights = table.weights
    for fold in range(folds):
        kept, held = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        head = fit_head(
            _rows(blocks, kept),
            [keys[row] for row in kept],
            table.targets[kept],
            groups[kept],
            weights=weights[kept],
            seed=seed,
        )
        parts = head.parts(_rows(blocks, held), [keys[row] for row in held])
        brand[held], content[held] = parts.brand, parts.content
    return MemoryParts(brand, content)


def measure_memory(
    table: RecallTable,
    blocks: Mapping[str, NDArray[np.float32]],
    *,
    rng: np.random.Generator,
    folds: int = _FOLDS,
    seeds: Sequence[int] = _SEEDS,
    draws: int = 1000,
) -> MemoryReport:
    """The report on N ads. blocks: of `AdBlocks`. rng: draws brands for the intervals.

    Raises DataError for fewer brands than folds and inner folds take.
    """
    require_count("draws", draws)
    if not seeds:
        raise DataError("folds need a seed", hint="seeds=(0, 1, 2)")
    out = [cross_fitted(table, blocks, folds=folds, seed=seed) for seed in seeds]
    single = len(np.unique(table.groups)) == len(table)
    seen = (
        out
        if single
        else [
            cross_fitted(table, blocks, split="brands_seen", folds=folds, seed=seed)
            for seed in seeds
        ]
    )
    found, groups = table.targets, table.groups

    def interval(predicted: Sequence[Floats], left: Sequence[Floats]) -> MethodInterval:
        return rho_interval(np.stack(predicted), np.stack(left), groups, rng, draws=draws)

    every = [found] * len(seeds)
    return MemoryReport(
        ads=len(table),
        brands=len(np.unique(groups)),
        brands_seen=interval([one.value for one in seen], every),
        brands_out=interval([one.value for one in out], every),
        content_lift=interval([one.content for one in seen], [found - one.brand for one in seen]),
        brand_rho=interval([one.brand for one in out], every),
        brand_share=brand_share_of(seen, found),
        seeds=tuple(seeds),
    )


def rho_interval(
    predicted: Floats,
    found: Floats,
    groups: Ints,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> MethodInterval:
    """Mean over S seeds of Spearman's rho of `predicted` [S, N] with `found` [S, N] or [N].

    groups: int64 [N], whose members are drawn together. A prediction that never varies has rho 0.
    """
    target = np.broadcast_to(found, predicted.shape)
    values = np.array([_rho(*pair) for pair in zip(predicted, target, strict=True)])
    _, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    members = np.split(order, ends[:-1])
    counts = np.concatenate(list(draw_counts(len(members), draws, rng)))
    drawn = np.empty(len(counts))
    for at, count in enumerate(counts):
        rows = np.concatenate(
            [np.tile(members[one], int(count[one])) for one in np.flatnonzero(count)]
        )
        drawn[at] = np.mean(
            [_rho(one[rows], two[rows]) for one, two in zip(predicted, target, strict=True)]
        )
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    people = Interval(float(values.mean()), float(low), float(high))
    return with_seeds(people, values, confidence=confidence)


def _rho(predicted: Floats, found: Floats) -> float:
    rho = spearman(predicted, found)
    return 0.0 if np.isnan(rho) else rho


def brand_share_of(parts: Sequence[MemoryParts], found: Floats) -> float:
    """r2 of the brand's part over that of both, from 0 to 1, both means over seeds; NaN where both
    explain nothing.

    r2 is the squared correlation, 0 where it is negative: what a line of best fit would explain, so
    that too wide or too narrow a prediction does not count against its order.
    """
    brand = float(np.mean([_explained(one.brand, found) for one in parts]))
    explained = max(brand, float(np.mean([_explained(one.value, found) for one in parts])))
    return brand / explained if explained > 0 else float("nan")


def _explained(predicted: Floats, found: Floats) -> float:
    if np.ptp(predicted) == 0 or np.ptp(found) == 0:
        return 0.0
    return max(float(np.corrcoef(predicted, found)[0, 1]), 0.0) ** 2


def _rows(blocks: Mapping[str, NDArray[np.float32]], rows: Ints) -> dict[str, NDArray[np.float32]]:
    return {name: block[rows] for name, block in blocks.items()}
