"""Logistic regression with weights of rows and a ridge, by Newton's method.

    weights = fit_logistic(features, labels, rows, ridge=0.01)
    scores = features @ weights[1:] + weights[0]

Minimises  sum_n w_n log(1 + exp(-y_n x_n' b)) / sum_n w_n + ridge / 2 |b without the intercept|^2
with y in {-1, 1}. A guard has some thirty features: each step solves one small system. Letters: N
rows, F features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]

_STEPS, _SMALL = 50, 1e-8


def fit_logistic(features: Floats, labels: Floats, rows: Floats, *, ridge: float = 0.01) -> Floats:
    """[1 + F]: the intercept and a weight for each feature.

    features: [N, F], labels: [N] of 0 and 1, rows: [N] weights above 0. Raises DataError without
    both labels, ConfigError for a ridge that is not above 0: then the best may be at infinity.
    """
    if not ridge > 0:
        raise ConfigError("ridge is above 0", where=f"ridge {ridge!r}", hint="such as 0.01")
    if not (labels == 0).any() or not (labels == 1).any():
        raise DataError("there is one label only", column="labels", hint="give rows of both")
    x = np.concatenate((np.ones((len(features), 1)), features), axis=1)
    share = rows / rows.sum()
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-10
    weights = np.zeros(x.shape[1])
    loss = _loss(x, labels, share, penalty, weights)
    for _ in range(_STEPS):
        chance = 0.5 * (1 + np.tanh(0.5 * (x @ weights)))
        slope = x.T @ (share * (chance - labels)) + penalty * weights
        curve = (x * (share * chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        # Half the step until the loss falls: Newton's may go too far from afar.
        size = 1.0
        while (then := _loss(x, labels, share, penalty, weights - size * step)) > loss:
            size /= 2
            if size < _SMALL:
                return weights
        weights, fell, loss = weights - size * step, loss - then, then
        if fell < _SMALL * max(loss, _SMALL):
            break
    return weights


def _loss(x: Floats, labels: Floats, share: Floats, penalty: Floats, weights: Floats) -> float:
    margin = (2 * labels - 1) * (x @ weights)
    return float(share @ np.logaddexp(0, -margin) + 0.5 * penalty @ weights**2)
