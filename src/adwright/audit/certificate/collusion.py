"""The same bounds when several sellers work together, exactly.

    colluding_bounds(scores, 3)              # any three products, the worst three for each
    merchant_bounds(scores, merchants)       # the products of one seller, whoever it is

A helper can only change its own score, within [a_j - eps, a_j + eps]; it cannot touch another's
text. So to push product i up, the best that a helper can do is to step out of its way: it writes a
text that scores -eps. That helps where the helper stood above a_i + eps and can get to it or below.
To push i down, a helper raises itself to a_j + eps. Of m products that work together, one of which
is i in the first case and none in the second, ties counted for the attackers:

    above_i  = #{j != i: s_j > a_i + eps}        who stands above the best text of i
    forced_i = #{j != i: a_j - eps > a_i + eps}  who does so even with the worst text of its own
    best_i(m)  = 1 + max(above_i - (m - 1), forced_i)

    before_i = #{j != i: s_j >= s_i}             who stands before i already
    able_i   = #{j != i: a_j + eps >= s_i}       who can come before i with some text
    worst_i(m) = 1 + min(before_i + m, able_i)

Both are exact: every helper that can matter changes the count by one, and no more than the
helpers there are can. For a group that is given, such as the products of one seller, the sums run
over that group:

    best_i = 1 + #{j outside: s_j > a_i + eps} + #{j inside, j != i: a_j - eps > a_i + eps}

Cost: O(C log C). Letters: C products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.audit.certificate.bounds import RankBounds, count_above, count_at_least
from adwright.audit.certificate.scores import BoundedScores
from adwright.core.config import require_count
from adwright.core.errors import ValueInvalidError

__all__ = ["colluding_bounds", "merchant_bounds"]

Floats = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int64]


def colluding_bounds(scores: BoundedScores, m: int) -> RankBounds:
    """The bounds of every product where `m` products work together: for `best` it and the m - 1
    helpers that serve it most, for `worst` the m others that harm it most.

    m = 1 gives the `best` of `rank_bounds`, m = C - 1 its `worst`. Raises ConfigError for an m
    below 1.
    """
    require_count("m", m)
    honest, highest = scores.honest, scores.highest
    rank = 1 + count_above(honest, honest)
    forced = count_above(scores.lowest, highest)
    best = 1 + np.maximum(count_above(honest, highest) - (m - 1), forced)
    # Each product counts itself in both, as s_i >= s_i and a_i + eps >= s_i.
    before, able = count_at_least(honest, honest) - 1, count_at_least(highest, honest) - 1
    return RankBounds(rank, best, 1 + np.minimum(before + m, able))


def merchant_bounds(scores: BoundedScores, merchants: Sequence[str]) -> RankBounds:
    """The bounds of every product where merchants act as one.

    merchants: [C] names; an empty one is a merchant of its own for each product. best: all products
    of its merchant serve this one. worst: all other merchants turn on it, and the further products
    of its own stay as they are.
    Raises ValueInvalidError where there are not as many names as products.
    """
    if len(merchants) != len(scores):
        raise ValueInvalidError(
            f"there are {len(scores)} products and {len(merchants)} merchants",
            column="merchants",
            hint="give one a product, empty where it is unknown",
        )
    group = _groups(merchants)
    honest, highest = scores.honest, scores.highest
    rank = 1 + count_above(honest, honest)
    outside = count_above(honest, highest) - _within(honest, highest, group, "right")
    best = 1 + outside + _within(scores.lowest, highest, group, "right")
    # The product itself is among both counts of its group, so once in the sum, for the 1.
    others = count_at_least(highest, honest) - _within(highest, honest, group, "left")
    return RankBounds(rank, best, others + _within(honest, honest, group, "left"))


def _groups(merchants: Sequence[str]) -> Ranks:
    """[C] a number for each merchant."""
    numbers: dict[str, int] = {}
    keys = (name or f"\0{row}" for row, name in enumerate(merchants))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _within(values: Floats, limits: Floats, group: Ranks, side: Literal["left", "right"]) -> Ranks:
    """[C] how many values of its own group are above each limit (right), or at least it (left)."""
    every = np.unique(np.concatenate((values, limits)))
    # One key that sorts by group, then by value: all groups in one search.
    size = len(every) + 1
    ordered = np.sort(group * size + np.searchsorted(every, values))
    ends = np.searchsorted(ordered, (group + 1) * size, side="left")
    return ends - np.searchsorted(ordered, group * size + np.searchsorted(every, limits), side=side)
