"""The rules that every table of results lists: they are hard to beat on repeat buyers.

popularity   how often the item was taken before, by anyone
frequency    how often this user took it before, log(1 + n)
logistic     a logistic regression on log(1 + popularity) and log(1 + frequency), and where it is
             given the log(1 + item-item score), with their squares and products, fitted by
             Newton's method
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticBaseline:
    """Coefficients [F] of `baseline_features`."""

    coefficients: tuple[float, ...]

    def __call__(
        self, popularity: Floats, frequency: Floats, item_item: Floats | None = None
    ) -> Floats:
        """Counts, and item-item scores where it was fitted on them, [N] each, to probabilities
        [N]."""
        features = baseline_features(popularity, frequency, item_item)
        logits = features @ np.asarray(self.coefficients)
        probabilities: Floats = 1 / (1 + np.exp(-logits))
        return probabilities


def baseline_features(
    popularity: Floats, frequency: Floats, item_item: Floats | None = None
) -> Floats:
    """Counts [N], [N] to features [N, 6]: 1, p, f, p^2, f^2, p f of their log(1 + n); with
    item-item scores [N] to [N, 10]: t, t^2, p t, f t beside them."""
    p, f = np.log1p(popularity) / 10, np.log1p(frequency)
    features = [np.ones_like(p), p, f, p * p, f * f, p * f]
    if item_item is not None:
        t = np.log1p(item_item)
        features += [t, t * t, p * t, f * t]
    return np.stack(features, axis=1)


def fit_logistic(
    popularity: Floats,
    frequency: Floats,
    labels: NDArray[np.int8],
    weights: Floats | None = None,
    *,
    item_item: Floats | None = None,
) -> LogisticBaseline:
    """Maximum likelihood by Newton's method with a ridge of 1e-6 per row.

    popularity, frequency: counts [N]. item_item: scores [N], or None. labels: 0 or 1 [N].
    weights: of the rows [N], 1 if None.
    Raises ValueInvalidError where the labels hold one class only.
    """
    if labels.min() == labels.max():
        raise ValueInvalidError("the labels hold a single class", column="label", value=labels[0])
    x = baseline_features(popularity, frequency, item_item)
    w = np.ones(len(x)) if weights is None else weights
    ridge = 1e-6 * w.sum() * np.eye(x.shape[1])
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ beta)))
        gradient = x.T @ (w * (labels - p)) - ridge @ beta
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-10:
            break
    return LogisticBaseline(tuple(float(b) for b in beta))
