"""A ridge per block of numbers, and one of all, weighted by how well each predicts what it has not
seen.

    fitted = fit_blocks(blocks, targets, groups)
    fitted.predict(blocks)                          # float64 [N]
    fitted.unseen                                   # float64 [N], of the training rows, out of fold

Each column is standardised and clipped, each block divided by the size of its rows, so that a block
counts the same whatever its width. For a block X and targets y, both centred,

    b = argmin |y - X b|^2_W + alpha |b|^2

for alpha of a grid, chosen by the error in inner folds that keep groups whole. The members are each
block and all blocks side by side. With few ads only the last is taken; otherwise the members'
out-of-fold predictions are combined by the non-negative weights of least error (Wolpert 1992;
Breiman 1996). With few rows such weights are noisier than what they gain (our choice: below 300).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import DataError, ValueInvalidError
from adwright.creative.response.protocol.stories import story_folds

__all__ = ["BlockRidge", "ScaledBlock", "fit_blocks", "group_folds", "non_negative"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ALPHAS = 10.0 ** np.arange(-2, 4.1, 0.5)
_INNER = 5
_CLIP = 4.0
#: Fewer rows have the member of all blocks alone.
_FEW = 300
#: A column that moves less than this is constant.
_STILL = 1e-9


@dataclass(frozen=True, eq=False)
class ScaledBlock:
    """How a block is scaled, and what is learned of it. mean, spread, coefficients: float64 [D].
    size: the length of a usual row after `mean` and `spread`; what stands still has an endless
    spread."""

    mean: Floats
    spread: Floats
    size: float
    coefficients: Floats

    def scaled(self, block: NDArray[np.float32]) -> Floats:
        """float64 [N, D] of a block [N, D]; rows have on average a squared length of 1, and NaN is
        as the mean."""
        found = np.nan_to_num(np.clip((block - self.mean) / self.spread, -_CLIP, _CLIP))
        return np.asarray(found / self.size)


@dataclass(frozen=True, eq=False)
class BlockRidge:
    """Blocks -> a number. blocks: by name. intercept: at the mean of all. weights: of each member,
    a block's name or "all". unseen: float64 [N], of the training rows by folds that had not seen
    their groups; empty in one that was loaded."""

    blocks: Mapping[str, ScaledBlock]
    intercept: float
    weights: Mapping[str, float]
    unseen: Floats

    def predict(self, blocks: Mapping[str, NDArray[np.float32]]) -> Floats:
        """float64 [N] of N ads; a block that is missing counts as its mean.

        Raises ValueInvalidError for a block of another width.
        """
        rows = len(next(iter(blocks.values()))) if blocks else 0
        found = np.full(rows, self.intercept)
        for name, own in self.blocks.items():
            if name not in blocks:
                continue
            if blocks[name].shape[1] != len(own.mean):
                raise ValueInvalidError(
                    "a block has another width than in training",
                    column=name,
                    value=blocks[name].shape[1],
                    hint=f"encode with the same config; it had {len(own.mean)}",
                )
            found += own.scaled(blocks[name]) @ own.coefficients
        return found


def group_folds(groups: Ints, folds: int, *, seed: int = 0) -> Ints:
    """Fold of each of N rows, int64 [N]; the rows of a group share it, folds are of like size.

    Raises DataError where there are fewer groups than folds.
    """
    if len(np.unique(groups)) < folds:
        raise DataError(
            f"{len(np.unique(groups))} brands cannot stand in {folds} folds",
            hint="give ads of more brands, or ask for fewer folds",
        )
    return story_folds(groups, folds, seed=seed)


def fit_blocks(
    blocks: Mapping[str, NDArray[np.float32]],
    targets: Floats,
    groups: Ints,
    *,
    weights: Floats | None = None,
    seed: int = 0,
    few: int = _FEW,
) -> BlockRidge:
    """Fit the members and their weights on N ads.

    blocks: name -> float32 [N, D], NaN in rows that lack it; a block that does not vary is left
    out. targets: float64 [N].
    groups: int64 [N], kept whole by the inner folds, which `seed` draws. weights: float64 [N] of
    the rows, None for equal ones. few: with fewer rows the member of all blocks stands alone.
    Raises DataError with fewer groups than inner folds.
    """
    share = np.ones(len(targets)) if weights is None else np.asarray(weights, float)
    centre = float(np.average(targets, weights=share))
    own = {name: made for name, block in blocks.items() if (made := _scales(block, share))}
    parts = {name: own[name].scaled(blocks[name]) for name in own}
    folds = group_folds(groups, _INNER, seed=seed)
    if not parts:
        return BlockRidge({}, centre, {}, _means(targets, share, folds))
    members = [*parts, "all"] if len(targets) >= few and len(parts) > 1 else ["all"]
    fits = {}
    for name in members:
        matrix = np.hstack(list(parts.values())) if name == "all" else parts[name]
        fits[name] = _ridge(matrix, targets, share, folds)
    unseen = np.stack([fits[name].unseen for name in members], axis=1)  # [N, M]
    base = _means(targets, share, folds)
    found = np.ones(1)
    if len(members) > 1:
        root = np.sqrt(share)[:, None]
        found = non_negative((unseen - base[:, None]) * root, (targets - base) * root[:, 0])
    whole = _joined(parts, members, found, fits)
    return BlockRidge(
        {name: replace(own[name], coefficients=whole[name]) for name in own},
        centre,
        dict(zip(members, map(float, found), strict=True)),
        base + (unseen - base[:, None]) @ found,
    )


def non_negative(matrix: Floats, targets: Floats, *, rounds: int = 500) -> Floats:
    """argmin over w >= 0 of |matrix w - targets|^2, of matrix [N, M]: float64 [M].

    By cyclic coordinate descent, which reaches the minimum of this convex problem (Franc, Hlavac
    and Navara 2005).
    """
    gram, right = matrix.T @ matrix, matrix.T @ targets
    found = np.zeros(matrix.shape[1])
    for _ in range(rounds):
        before = found.copy()
        for at in np.flatnonzero(np.diag(gram) > 0):
            step = (right[at] - gram[at] @ found) / gram[at, at]
            found[at] = max(0.0, found[at] + step)
        if np.abs(found - before).max(initial=0.0) < 1e-10:
            break
    return found


class _Fit(NamedTuple):
    """coefficients: [D]. unseen: [N]."""

    coefficients: Floats
    unseen: Floats


def _scales(block: NDArray[np.float32], share: Floats) -> ScaledBlock | None:
    """How a block is scaled; None where nothing in it varies."""
    there = np.isfinite(block).all(axis=1)
    if not there.any():
        return None
    values, own = block[there].astype(np.float64), share[there]
    mean = np.average(values, axis=0, weights=own)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=own))
    moves = spread > _STILL
    if not moves.any():
        return None
    spread = np.where(moves, spread, np.inf)
    scaled = np.clip((values - mean) / spread, -_CLIP, _CLIP)
    size = np.sqrt(np.average((scaled**2).sum(1), weights=own))
    return ScaledBlock(mean, spread, float(size), np.zeros(len(mean)))


def _ridge(matrix: Floats, targets: Floats, share: Floats, folds: Ints) -> _Fit:
    """A ridge whose alpha has the least error in the folds."""
    guesses = np.empty((len(_ALPHAS), len(targets)))
    for fold in range(_INNER):
        held = folds == fold
        kept = ~held
        centre = np.average(targets[kept], weights=share[kept])
        middle = np.average(matrix[kept], axis=0, weights=share[kept])
        paths = _paths(matrix[kept] - middle, targets[kept] - centre, share[kept], _ALPHAS)
        guesses[:, held] = centre + paths @ (matrix[held] - middle).T
    errors = ((guesses - targets) ** 2) @ share
    best = int(errors.argmin())
    centre = np.average(targets, weights=share)
    (found,) = _paths(matrix, targets - centre, share, _ALPHAS[best : best + 1])
    return _Fit(found, guesses[best])


def _paths(matrix: Floats, targets: Floats, share: Floats, alphas: Floats) -> Floats:
    """Coefficients [A, D] of A alphas, by one eigendecomposition of the smaller side."""
    root = np.sqrt(share)
    left, right = matrix * root[:, None], targets * root
    if len(left) >= left.shape[1]:
        values, vectors = np.linalg.eigh(left.T @ left)
        shrunk = (vectors.T @ (left.T @ right)) / (np.maximum(values, 0) + alphas[:, None])
        return np.asarray(shrunk @ vectors.T)
    values, vectors = np.linalg.eigh(left @ left.T)
    shrunk = (vectors.T @ right) / (np.maximum(values, 0) + alphas[:, None])
    return np.asarray((shrunk @ vectors.T) @ left)


def _means(targets: Floats, share: Floats, folds: Ints) -> Floats:
    """The mean of the other folds, of each row."""
    found = np.empty(len(targets))
    for fold in range(_INNER):
        held = folds == fold
        found[held] = np.average(targets[~held], weights=share[~held])
    return found


def _joined(
    parts: Mapping[str, Floats],
    members: Sequence[str],
    weights: Floats,
    fits: Mapping[str, _Fit],
) -> dict[str, Floats]:
    """The coefficients of each block in the weighted sum of the members."""
    ends = np.cumsum([part.shape[1] for part in parts.values()])[:-1]
    found = {name: np.zeros(part.shape[1]) for name, part in parts.items()}
    for member, weight in zip(members, weights, strict=True):
        if member == "all":
            split = np.split(fits[member].coefficients, ends)
            for name, own in zip(parts, split, strict=True):
                found[name] += weight * own
        else:
            found[member] += weight * fits[member].coefficients
    return found
