"""Intervals over products, runs and orders: every run of a product is tried in every order.

The published intervals of "Manipulating LLMs to Increase Product Visibility" take the pooled pairs
of product and order as independent, which they are not: some products are easily pushed, and some
orders are easy for all. So both are resampled, the pigeonhole bootstrap (Owen, Annals of Applied
Statistics 2007): a draw takes products with replacement and orders with replacement, and a pair
counts as often as its product times its order was drawn,

    value_r = sum_po c_rp d_ro x_po / sum_po c_rp d_ro.

A product may have been attacked several times, with other seeds. Its runs are resampled too, within
each product that was drawn, x being the mean of the runs that were, so that the interval speaks of
the attack with other seeds too, and not of these texts alone.

It errs on the wide side where products and orders hardly interact. With one product it is the
interval of that product over orders and runs. Where all pairs agree it has no width: of few pairs
that is no certainty. One run of each says nothing of how runs differ, two or three say little.

Letters: K runs, P products, O orders, R draws.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.bootstrap import Interval, draw_counts, interval_of

__all__ = ["crossed_interval"]

Floats = npt.NDArray[np.float64]


def crossed_interval(
    values: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of values [P, O], or of runs [K, P, O], with its interval.

    NaN: not tried, which counts for nothing; a product of fewer runs than others is NaN in the
    rest, and weighs as much. Raises DataError where the values are no such table, or hold no
    number.
    """
    table = np.asarray(values, np.float64)
    if table.ndim not in (2, 3) or not np.isfinite(table).any():
        raise DataError(
            f"expected numbers [P, O] or [K, P, O] and found shape {table.shape}",
            hint="a row a product, a column an order",
        )
    table = table.reshape(-1, *table.shape[-2:])
    there = np.isfinite(table)
    made: npt.NDArray[np.bool_] = np.any(there, axis=2)  # [K, P]
    flat = np.where(there, table, 0.0).reshape(-1, table.shape[2])  # [K P, O]
    known = there.reshape(flat.shape).astype(np.float64)
    drawn = []
    products = draw_counts(table.shape[1], draws, rng)
    # Generators of their own, so that the chunks of one do not move the draws of the others.
    of_orders, *of_runs = rng.spawn(2 if len(table) > 1 else 1)
    orders = np.concatenate([*draw_counts(table.shape[2], draws, of_orders)])
    at = 0
    for counts in products:
        shares = orders[at : at + len(counts)]
        at += len(counts)
        runs = _drawn_runs(made, len(counts), of_runs[0]) if of_runs else made[None]
        weights = (counts[:, None] * runs / np.maximum(made.sum(0), 1)).reshape(len(counts), -1)
        top = np.einsum("ro,ro->r", weights @ flat, shares)
        bottom = np.einsum("ro,ro->r", weights @ known, shares)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn.append(top / bottom)
    rest = (made / np.maximum(made.sum(0), 1)).reshape(-1)
    value = float((rest @ flat).sum() / (rest @ known).sum())
    return interval_of(value, np.concatenate(drawn), confidence=confidence)


def _drawn_runs(made: npt.NDArray[np.bool_], draws: int, rng: np.random.Generator) -> Floats:
    """How often each run of a product is drawn, [R, K, P], of as many as the product has; made
    [K, P]: runs that there are."""
    runs = made.sum(0)
    place = np.where(made, np.cumsum(made, axis=0) - 1, -1)
    found = np.zeros((draws, *made.shape))
    for drawn in range(len(made)):
        chosen = np.floor(rng.random((draws, 1, made.shape[1])) * runs)
        found += (chosen == place) & (drawn < runs)
    return found
