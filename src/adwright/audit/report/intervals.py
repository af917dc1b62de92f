"""Intervals over products and orders, which are crossed: every product is tried in every order.

The published intervals of "Manipulating LLMs to Increase Product Visibility" take the pooled pairs
of product and order as independent, which they are not: some products are easily pushed, and some
orders are easy for all. So both are resampled, the pigeonhole bootstrap (Owen, Annals of Applied
Statistics 2007): a draw takes products with replacement and orders with replacement, and a pair
counts as often as its product times its order was drawn,

    value_r = sum_po c_rp d_ro x_po / sum_po c_rp d_ro.

It errs on the wide side where products and orders hardly interact. With one product it is the
interval of that product over orders. Where all pairs agree it has no width: of few pairs that is no
certainty.

Runs of a product, by other seeds, are averaged before. Products are attacked apart, so that what a
draw of products brings holds the noise of their runs too: with pure noise of two or three runs and
ten products intervals of 95% held the truth in 91% and 92% of cases, and in 98% and more where runs
were drawn a second time within their products. Of one product its runs may stand for products.

Letters: P products, O orders, R draws.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.bootstrap import Interval, draw_counts, interval_of


def crossed_interval(
    values: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of values [P, O] with its interval over products and orders.

    NaN: the product was not tried in that order; it counts for nothing. Raises DataError where the
    values are no such table, or hold no number.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not np.isfinite(table).any():
        raise DataError(
            f"expected numbers [P, O] and found shape {table.shape}",
            hint="a row a product, a column an order",
        )
    there = np.isfinite(table)
    filled = np.where(there, table, 0.0)
    drawn = []
    products = draw_counts(len(table), draws, rng)
    # A generator of its own, so that the chunks of one do not move the draws of the other.
    orders = np.concatenate([*draw_counts(table.shape[1], draws, rng.spawn(1)[0])])
    at = 0
    for counts in products:
        shares = orders[at : at + len(counts)]
        at += len(counts)
        top = np.einsum("ro,ro->r", counts @ filled, shares)
        bottom = np.einsum("ro,ro->r", counts @ there.astype(np.float64), shares)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn.append(top / bottom)
    return interval_of(float(table[there].mean()), np.concatenate(drawn), confidence=confidence)
