"""What an ad's brand says about how well it is remembered, apart from what the ad does.

    brand = fit_brand(vectors, keys, targets, groups)
    brand.predict(vectors, keys)                   # float64 [N], of brands seen or not
    targets - brand.unseen                         # what is left for the content to explain

Brand is the main confounder of memorability: people remember ads of brands that they know. So it is
predicted first, in two parts. Of a brand never seen there is only its name, by a ridge on the
name's vector. To a brand with n ads of mean residual m that adds

    n / (n + k) m,    k = s_within^2 / s_between^2

the shrunken mean of a random effect (Searle, Casella and McCulloch, "Variance Components", 1992),
with both variances by the method of moments; 0 where brands differ by no more than their ads do.
For the training rows themselves all of it comes from other rows: the name's part from folds without
the brand, the mean from the brand's other ads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.creative.memory.block_ridge import BlockRidge, fit_blocks

__all__ = ["BrandPart", "brand_key", "fit_brand", "shrinkage"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BrandPart:
    """What a brand is worth. name: of its name's vector. effects: key of a brand -> what its ads
    add to that. unseen: float64 [N], of the training rows by other rows; empty where loaded."""

    name: BlockRidge
    effects: Mapping[str, float]
    unseen: Floats

    def predict(self, vectors: NDArray[np.float32] | None, keys: Sequence[str]) -> Floats:
        """float64 [N] of N ads. vectors: of their brands' names [N, D], None where there are
        none. keys: of `brand_key`."""
        blocks = {} if vectors is None else {"brand": vectors}
        base = self.name.predict(blocks) if blocks else np.full(len(keys), self.name.intercept)
        found: Floats = base + np.array([self.effects.get(key, 0.0) for key in keys])
        return found


def brand_key(brand: str) -> str:
    """A brand by what its name says: case and blanks around it do not count."""
    return brand.strip().casefold()


def fit_brand(
    vectors: NDArray[np.float32] | None,
    keys: Sequence[str],
    targets: Floats,
    groups: Ints,
    *,
    weights: Floats | None = None,
    seed: int = 0,
) -> BrandPart:
    """Fit both parts on N ads. vectors, keys: as in `predict`, NaN and "" for no brand. targets:
    float64 [N]. groups: int64 [N], whose folds the name's part is learned in. weights,
    seed: as in `fit_blocks`."""
    share = np.ones(len(targets)) if weights is None else weights
    blocks = {} if vectors is None else {"brand": vectors}
    name = fit_blocks(blocks, targets, groups, weights=share, seed=seed)
    left = targets - name.unseen
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key:
            rows.setdefault(key, []).append(row)
    ratio = shrinkage([left[at] for at in rows.values()])
    effects, others = {}, np.zeros(len(targets))
    for key, at in rows.items():
        own, total = left[at], float(left[at].sum())
        effects[key] = total / (len(at) + ratio)
        # Of a brand's only ad nothing is known from its others.
        others[at] = (total - own) / (len(at) - 1 + ratio) if len(at) > 1 else 0.0
    # The effects were found beside the part that had not seen the brand.
    told = {key: value for key, value in effects.items() if value}
    return BrandPart(name, told, name.unseen + others)


def shrinkage(residuals: Sequence[Floats]) -> float:
    """k = s_within^2 / s_between^2 of the residuals of each brand; infinite where brands do not
    differ beyond their ads, or none has two.

    By moments: s_between^2 = (MS_between - MS_within) / n0, n0 = (N - sum n_i^2 / N) / (B - 1), of
    B brands with n_i of N ads.
    """
    sizes = np.array([len(one) for one in residuals], float)
    total, brands = sizes.sum(), len(sizes)
    if brands < 2 or total <= brands:
        return float("inf")
    means = np.array([one.mean() for one in residuals])
    middle = float(sizes @ means / total)
    within = sum(float(((one - one.mean()) ** 2).sum()) for one in residuals) / (total - brands)
    between = float(sizes @ (means - middle) ** 2) / (brands - 1)
    usual = (total - (sizes**2).sum() / total) / (brands - 1)
    spread = (between - within) / usual
    return within / spread if spread > 0 else float("inf")
