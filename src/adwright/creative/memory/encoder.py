"""The encoder form: frozen encoders and a small head, in two parts that add up.

    head = fit_head(blocks, keys, targets, groups)
    parts = head.parts(blocks, keys)
    parts.value                                     # brand + content, float64 [N]

First what the brand explains (`lift`), then a stack of ridges on what it leaves: the content, read
by `ad_blocks` beside how near the text is to those of the training. An ad of a brand never seen
gets what the brand's name and its content say; that is what folds by brand measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.creative.memory.ad_blocks import BRAND_BLOCKS
from adwright.creative.memory.block_ridge import BlockRidge, fit_blocks
from adwright.creative.memory.lift import BrandPart, fit_brand
from adwright.creative.memory.nearness import near_numbers

__all__ = ["MemoryHead", "MemoryParts", "fit_head"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SENTENCE, _NEAR = "sentence", "near"


@dataclass(frozen=True, eq=False)
class MemoryParts:
    """Of N ads, in the unit of the targets. brand: what the brand is worth, with the mean of all
    ads in it. content: what the ad adds. Both float64 [N]."""

    brand: Floats
    content: Floats

    @property
    def value(self) -> Floats:
        """float64 [N], their sum."""
        return self.brand + self.content


@dataclass(frozen=True, eq=False)
class MemoryHead:
    """What was learned. brand, content: the two parts. texts: float32 [M, D], vectors of the
    training texts, which nearness is measured to."""

    brand: BrandPart
    content: BlockRidge
    texts: NDArray[np.float32]

    def parts(self, blocks: Mapping[str, NDArray[np.float32]], keys: Sequence[str]) -> MemoryParts:
        """Both parts of N ads. blocks: of `AdBlocks`. keys: of `brand_key`.

        Raises ValueInvalidError for a block of another width than in training.
        """
        vectors = blocks.get(BRAND_BLOCKS[0])
        brand = self.brand.predict(vectors, keys)
        content = _content(blocks, self.texts)
        if not content:
            return MemoryParts(brand, np.full(len(keys), self.content.intercept))
        return MemoryParts(brand, self.content.predict(content))


def fit_head(
    blocks: Mapping[str, NDArray[np.float32]],
    keys: Sequence[str],
    targets: Floats,
    groups: Ints,
    *,
    weights: Floats | None = None,
    seed: int = 0,
) -> MemoryHead:
    """Fit the brand's part, and the content on what it leaves. blocks: of N ads. keys, groups: the
    brand of each. targets: float64 [N]. weights, seed: as in `fit_blocks`.

    Raises DataError with fewer brands than inner folds.
    """
    vectors = blocks.get(BRAND_BLOCKS[0])
    brand = fit_brand(vectors, keys, targets, groups, weights=weights, seed=seed)
    texts = blocks.get(_SENTENCE, np.zeros((0, 1), np.float32))
    content = _content(blocks, texts, own=True)
    left = targets - brand.unseen
    fitted = fit_blocks(content, left, groups, weights=weights, seed=seed)
    return MemoryHead(brand, fitted, texts[np.isfinite(texts).all(axis=1)])


def _content(
    blocks: Mapping[str, NDArray[np.float32]], texts: NDArray[np.float32], *, own: bool = False
) -> dict[str, NDArray[np.float32]]:
    """The blocks without the brand's, and nearness."""
    found = {name: block for name, block in blocks.items() if name not in BRAND_BLOCKS}
    if _SENTENCE in found:
        found[_NEAR] = near_numbers(found[_SENTENCE], texts, own=own)
    return found
