"""What a click rate is trained on: the order within each test, and the level over all creatives.

With scores s (log rates), smoothed rates p and weights w of the creatives of test t:

    q_i = p_i / sum_t p,   L_t = (mean_t w) n_t KL(q || softmax_t(s))
    L = sum_t L_t + (g / 2) sum_i w_i (s_i - log p_i)^2

n_t is the number of creatives of the test. The first term does not change where a test's scores all
grow by a constant: it asks which share of the clicks each creative would have if all were shown
alike. The second sets the level; g is small, since between tests rates differ by audience and day.
A creative that was in no test has the second term alone.

Listwise softmax with a squared error on smoothed rates is the loss of Wang et al. (WWW 2021);
there the error is of rates and g is 1. That it is of log rates, and the weights, are our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.core.errors import ConfigError

__all__ = ["click_rate_loss", "listwise_loss", "regression_loss"]


def click_rate_loss(
    scores: Tensor, rates: Tensor, weights: Tensor, tests: Tensor, *, regression: float
) -> Tensor:
    """L, [] of scores, rates and weights [B]. tests: int64 [B], below 0 for none; a test stands in
    one batch whole. regression: g. Raises ConfigError where it is negative."""
    if not regression >= 0:
        raise ConfigError("the share of the regression is not negative", where=str(regression))
    level = regression_loss(scores, rates, weights)
    return listwise_loss(scores, rates, weights, tests) + regression * level


def regression_loss(scores: Tensor, rates: Tensor, weights: Tensor) -> Tensor:
    """1/2 sum_i w_i (s_i - log p_i)^2, []."""
    return (weights * (scores - rates.log()) ** 2).sum() / 2


def listwise_loss(scores: Tensor, rates: Tensor, weights: Tensor, tests: Tensor) -> Tensor:
    """sum_t L_t, []."""
    inside = tests >= 0
    if not bool(inside.any()):
        return scores.sum() * 0
    scores, rates, weights = scores[inside], rates[inside], weights[inside]
    names, code = torch.unique(tests[inside], return_inverse=True)
    count = len(names)
    found = scores - _log_sum(scores, code, count)[code]
    wanted = rates.log() - _log_sum(rates.log(), code, count)[code]
    gaps = _sums(wanted.exp() * (wanted - found), code, count)
    return (_sums(weights, code, count) * gaps).sum()


def _sums(values: Tensor, code: Tensor, count: int) -> Tensor:
    """[T]."""
    return values.new_zeros(count).index_add(0, code, values)


def _log_sum(values: Tensor, code: Tensor, count: int) -> Tensor:
    """log sum exp of each test, [T]."""
    highest = values.new_full((count,), -torch.inf)
    highest = highest.scatter_reduce(0, code, values.detach(), "amax")
    return _sums((values - highest[code]).exp(), code, count).log() + highest
