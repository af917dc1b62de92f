"""Which suffixes to try next: swaps of tokens that the gradient speaks for.

    best = best_tokens(gradient, allowed, 256)                    # int64 [L, k]
    suffixes = draw_candidates(current, best, 64, rng, keeps=place.survives)     # int64 [<= 64, L]

Greedy coordinate gradient (Zou et al. 2023, algorithm 1): the loss after token l becomes v is
about loss + gradient[l, v] - gradient[l, current], so that the k tokens of the lowest gradient are
the promising ones of a position. A candidate takes one of them, at random, in one random position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

#: Times that candidates are drawn again for those that did not survive.
_ROUNDS = 4

Ids = NDArray[np.int64]


def best_tokens(gradient: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Ids:
    """The k tokens of the lowest gradient in each position, the lowest first: int64 [L, k].

    gradient: [L, V]. allowed: [V], or [L, V]; fewer than k are returned where a position has fewer.
    """
    masked = np.where(allowed, gradient, np.inf)
    k = max(min(k, int(np.broadcast_to(allowed, gradient.shape).sum(1).min())), 1)
    found = np.sort(np.argpartition(masked, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(np.take_along_axis(masked, found, 1), axis=1, kind="stable")
    return np.take_along_axis(found, order, 1).astype(np.int64)


def draw_candidates(
    current: Sequence[int],
    best: Ids,
    count: int,
    rng: np.random.Generator,
    *,
    swaps: int = 1,
    keeps: Callable[[Sequence[int]], bool],
) -> Ids:
    """At most `count` different suffixes int64 [C, L], none the current one.

    best: [L, k] by position. swaps: positions that each changes. keeps: whether tokens survive as
    text; those that do not are drawn again, a few times.
    """
    L, k = best.shape
    seen: set[tuple[int, ...]] = {tuple(current)}
    found: list[Ids] = []
    for _ in range(_ROUNDS):
        for _ in range(count):
            if len(found) == count:
                break
            one = np.array(current, dtype=np.int64)
            places = rng.permutation(L)[:swaps]
            one[places] = best[places, rng.integers(k, size=swaps)]
            key = tuple(one.tolist())
            if key not in seen:
                seen.add(key)
                if keeps(key):
                    found.append(one)
    return np.stack(found) if found else np.empty((0, L), dtype=np.int64)


def merged_candidates(
    current: Sequence[int], best: Ids, keeps: Callable[[Sequence[int]], bool]
) -> Ids:
    """The changes of the best candidates [k, L] together: the first two, the first three and so on,
    int64 [<= k - 1, L]. Of two that change one position the better one counts.

    As the multi-coordinate variant of the released code of 2404.07981.
    """
    start = np.asarray(current, dtype=np.int64)
    whole, found = best[0].copy(), []
    for one in best[1:]:
        free = (whole == start) & (one != start)
        whole = np.where(free, one, whole)
        if free.any() and keeps(tuple(whole.tolist())):
            found.append(whole.copy())
    return np.stack(found) if found else np.empty((0, len(start)), dtype=np.int64)
