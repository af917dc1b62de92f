"""How near a text is to those of the training: what stands apart is remembered otherwise.

near_numbers(vectors, train)                   # float32 [N, 4]
near_numbers(train, train, own=True)           # of the training itself, each without itself
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAREST", "near_numbers"]

#: Mean similarity to so many nearest texts; the last number of four is that to all.
NEAREST = (1, 3, 10)


def near_numbers(
    vectors: NDArray[np.float32], train: NDArray[np.float32], *, own: bool = False
) -> NDArray[np.float32]:
    """Mean cosine to the 1, 3 and 10 nearest training texts and to all: float32 [N, 4].

    vectors: [N, D] of length 1, NaN for no text, whose numbers are NaN. train: [M, D]. own:
    `vectors` is `train`, and a text is no neighbour of itself.
    """
    found = np.full((len(vectors), len(NEAREST) + 1), np.nan, np.float32)
    known = train[np.isfinite(train).all(axis=1)]
    there = np.isfinite(vectors).all(axis=1)
    if len(known) <= int(own):
        return found
    near = vectors[there] @ known.T  # [n, m]
    if own:
        np.fill_diagonal(near, np.nan)
    found[there, -1] = np.nanmean(near, axis=1)
    if own:
        np.fill_diagonal(near, -np.inf)
    most = min(max(NEAREST), near.shape[1] - int(own))
    nearest = -np.sort(-np.partition(near, -most, axis=1)[:, -most:], axis=1)  # [n, most]
    for place, many in enumerate(NEAREST):
        found[there, place] = nearest[:, :many].mean(1)
    return found
