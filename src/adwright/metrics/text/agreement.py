"""Do people who judge the same texts agree? Krippendorff's alpha.

    alpha = 1 - observed disagreement / disagreement expected by chance

1 is agreement in everything, 0 what chance would bring, below 0 people who differ on purpose.
Any number of raters, any of whom may have left units out; units that fewer than two judged count
for nothing. With m_u values of unit u, the coincidences of values c and k are

    o_ck = sum over u of (ordered pairs of values c, k of two raters in u) / (m_u - 1)
    n_c = sum over k of o_ck,   n = sum of n_c
    alpha = 1 - (n - 1) sum o_ck d_ck / sum n_c n_k d_ck

d is 0 or 1 for nominal values, (c - k)^2 for those of an interval scale, and for ranks
(n_c / 2 + sum of n_g for g strictly between + n_k / 2)^2.
Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.

Letters: U units, R raters, V distinct values, D draws.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.config import choices_of, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.bootstrap import Interval, bootstrap_sums

#: What a difference of two values means: nothing but that they differ, their order, their distance.
Scale = Literal["nominal", "ordinal", "interval"]
Floats = npt.NDArray[np.float64]

_MOST_VALUES = 64


@settings
class Agreement:
    """alpha: with its interval over units; None where all that was judged got one value, which
    tells nothing of agreement. units: judged by two raters or more. values: given in these."""

    alpha: Interval | None
    scale: Scale
    units: int
    values: int

    def text(self) -> str:
        """`0.743 (0.5 to 0.9)`, or why there is none."""
        return "all values are the same" if self.alpha is None else self.alpha.text(".3f")


def krippendorff_alpha(
    ratings: npt.ArrayLike,
    *,
    scale: Scale,
    rng: np.random.Generator,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Agreement:
    """Alpha of ratings [R, U], NaN where a rater left a unit out.

    Nominal values are numbers, too, as codes; at most 64 distinct ones. The interval is that of
    resampled units (our choice: it asks what other things to judge would have shown; Krippendorff
    resamples pairs of values). Draws in which all values are one are left out of it.

    Raises DataError where no unit has two ratings; ConfigError for another scale;
    ValueInvalidError for infinite or too many values.
    """
    if scale not in choices_of(Scale):
        raise ConfigError(
            f"scale cannot be {scale!r}", where="scale", hint=f"use one of {choices_of(Scale)}"
        )
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise ValueInvalidError(
            "ratings are a table of numbers, a row a rater and a column a unit",
            column="ratings",
            value=str(table.shape),
        )
    table = table[:, (~np.isnan(table)).sum(0) >= 2]
    if not table.shape[1]:
        raise DataError(
            "no unit was judged by two raters",
            column="ratings",
            hint="let at least two raters judge the same things",
        )
    levels = np.unique(table[~np.isnan(table)])
    if len(levels) > _MOST_VALUES:
        raise ValueInvalidError(
            f"there are more than {_MOST_VALUES} distinct values",
            column="ratings",
            value=len(levels),
            hint="round the ratings to the steps of the scale",
        )
    counts = (table[:, :, None] == levels).sum(0).astype(np.float64)  # [U, V]
    number = int(counts.sum())
    if len(levels) == 1:
        return Agreement(None, scale, table.shape[1], number)

    def alpha(totals: Floats) -> Floats:
        return _alpha(totals, levels, scale)

    found = bootstrap_sums(_coincidences(counts), alpha, rng, draws=draws, confidence=confidence)
    return Agreement(found, scale, table.shape[1], number)


def _coincidences(counts: Floats) -> Floats:
    """o of each unit, [U, V V], from how often it got each value [U, V]."""
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs -= counts[:, :, None] * np.eye(counts.shape[1])  # nobody is paired with himself
    pairs /= counts.sum(1)[:, None, None] - 1
    return pairs.reshape(len(counts), -1)


def _alpha(totals: Floats, levels: Floats, scale: Scale) -> Floats:
    """Alpha [D] of summed coincidences [D, V V]."""
    together = totals.reshape(len(totals), len(levels), len(levels))
    of_value = together.sum(2)
    number = of_value.sum(1)
    apart = _distances(of_value, levels, scale)
    observed = (together * apart).sum((1, 2))
    expected = (of_value[:, :, None] * of_value[:, None, :] * apart).sum((1, 2))
    found: Floats = 1 - (number - 1) * observed / expected
    return found


def _distances(of_value: Floats, levels: Floats, scale: Scale) -> Floats:
    """d [D or 1, V, V]; that of ranks depends on how often [D, V] each value was given."""
    if scale == "nominal":
        return 1 - np.eye(len(levels))[None]
    if scale == "interval":
        squares: Floats = (levels[:, None] - levels) ** 2
        return squares[None]
    middle = np.cumsum(of_value, 1) - of_value / 2
    ranks: Floats = (middle[:, :, None] - middle[:, None, :]) ** 2
    return ranks
