"""Give up candidates early: all are tried in one order, the better ones in the next.

    trials = halved(64, 3, look, share=0.25)     # 64, then 16, then 4
    trials.rows[0]                               # the best of those that were tried in all orders

Successive halving: the loss of a candidate in one order says much of its loss in the others, so
that three orders cost 84 looks instead of 192.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HalvedTrials:
    """rows: candidates that were tried in all orders, the best first [S]. means: of their losses
    over the orders [S]. tried: in all orders together."""

    rows: Rows
    means: NDArray[np.float64]
    tried: int


def halved(
    count: int,
    orders: int,
    look: Callable[[int, Rows], NDArray[np.float64]],
    *,
    share: float,
    least: int = 1,
) -> HalvedTrials:
    """Try `count` candidates.

    look: losses of some rows in one order. share: of them that goes on to the next order, at least
    `least`.
    """
    rows = np.arange(count)
    sums, tried = np.zeros(count), 0
    for order in range(orders):
        if order:
            keep = max(min(least, len(rows)), math.ceil(share * len(rows)))
            rows = rows[np.argsort(sums[rows], kind="stable")[:keep]]
        sums[rows] += look(order, rows)
        tried += len(rows)
    rows = rows[np.argsort(sums[rows], kind="stable")]
    return HalvedTrials(rows, sums[rows] / orders, tried)
