"""The same bounds when several sellers work together, exactly.

    colluding_bounds(scores, 3)              # any three products, the worst three for each

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
helpers there are can.

Cost: O(C log C). Letters: C products.
"""

from __future__ import annotations

import numpy as np

from adwright.audit.certificate.bounds import RankBounds, count_above, count_at_least
from adwright.audit.certificate.scores import BoundedScores
from adwright.core.config import require_count


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
