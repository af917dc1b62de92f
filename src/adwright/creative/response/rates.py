"""Click rates of creatives that were shown a few times: a Beta prior, and what each count tells.

    clicks_i | p_i ~ Binomial(n_i, p_i),  p_i ~ Beta(a, b)
    smoothed rate = (clicks + a) / (n + a + b)

(a, b) maximises the beta-binomial likelihood, by Newton steps in (log a, log b). The weight of a
creative is the share of the variance of its log rate that is no sampling noise:

    w_i = t / (t + (1 - m) / (n_i m)),  t = psi'(a) - psi'(a + b),  m = a / (a + b)

where t is the variance of log p under the prior and the other term that of the log of a share of n
draws. It depends on how often a creative was shown, never on how often it was clicked, which would
favour those that were lucky.

    prior = fit_prior(clicks, impressions)
    prior.smoothed(clicks, impressions), prior.weights(impressions)

Wang et al. (A Hybrid Bandit Model with Visual Priors for Creative Ranking, WWW 2021) smooth by such
a prior; that it is fitted by likelihood, and the weights, are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, DataError, ValueInvalidError

__all__ = ["BetaPrior", "fit_prior"]

Floats = npt.NDArray[np.float64]

_STEPS, _HALVINGS = 100, 30
#: a + b of creatives that do not differ at all: no more is to be had of any prior.
_LARGEST = 1e8


@dataclass(frozen=True)
class BetaPrior:
    """Beta(a, b) of click rates. Raises ConfigError where one of them is not above 0."""

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (0 < self.a < np.inf and 0 < self.b < np.inf):
            raise ConfigError("a prior has two numbers above 0", where=f"a {self.a}, b {self.b}")

    @property
    def mean(self) -> float:
        """a / (a + b)."""
        return self.a / (self.a + self.b)

    @property
    def log_variance(self) -> float:
        """t, the variance of log p."""
        first, both = torch.tensor([self.a, self.a + self.b], dtype=torch.float64)
        return float(_trigamma(first) - _trigamma(both))

    def smoothed(self, clicks: npt.ArrayLike, impressions: npt.ArrayLike) -> Floats:
        """float64 [N]: the expected rate of each after what was seen of it."""
        k, n = np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)
        found: Floats = (k + self.a) / (n + self.a + self.b)
        return found

    def weights(self, impressions: npt.ArrayLike) -> Floats:
        """float64 [N], w in (0, 1) of creatives that were shown so often."""
        n = np.asarray(impressions, np.float64)
        noise = (1 - self.mean) / (n * self.mean)
        found: Floats = self.log_variance / (self.log_variance + noise)
        return found


def fit_prior(clicks: npt.ArrayLike, impressions: npt.ArrayLike) -> BetaPrior:
    """The prior of greatest likelihood of clicks and impressions, whole numbers [N].

    Where the creatives differ less than chance alone would have them, a + b stops at 1e8. Raises
    ValueInvalidError for counts that cannot be, DataError where nobody or everybody clicked.
    """
    k, n = _counts(clicks, impressions)
    total, shown = float(k.sum()), float(n.sum())
    if total <= 0 or total >= shown:
        raise DataError(
            "click rates of 0 or 1 alone tell no prior",
            column="clicks",
            value=int(total),
            hint="pass creatives of which some were clicked",
        )
    at = torch.log(_first(k, n))
    value = _value(at, k, n)
    for _ in range(_STEPS):
        step = _newton(at, k, n)
        share = 1.0
        for _ in range(_HALVINGS):
            tried = at + share * step
            found = _value(tried, k, n)
            if found >= value:
                break
            share /= 2
        else:
            break
        moved = float((tried - at).abs().max())
        at, value = tried, found
        if moved < 1e-9 or float(at.exp().sum()) > _LARGEST:
            break
    a, b = at.exp().tolist()
    if a + b > _LARGEST:
        a, b = _LARGEST * total / shown, _LARGEST * (1 - total / shown)
    return BetaPrior(a, b)


def _counts(clicks: npt.ArrayLike, impressions: npt.ArrayLike) -> tuple[Tensor, Tensor]:
    k, n = np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)
    if k.shape != n.shape or k.ndim != 1:
        raise DataError("expected clicks and impressions of one length", value=(k.shape, n.shape))
    wrong = ~((k >= 0) & (k <= n) & (n >= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueInvalidError(
            "clicks lie between 0 and the impressions, of which there is one or more",
            row=row,
            value=f"{k[row]:g} of {n[row]:g}",
        )
    return torch.from_numpy(k), torch.from_numpy(n)


def _first(k: Tensor, n: Tensor) -> Tensor:
    """[a, b] by moments of the rates, at least roughly."""
    mean = k.sum() / n.sum()
    spread = (n * (k / n - mean) ** 2).sum() / n.sum()
    noise = mean * (1 - mean) * len(n) / n.sum()
    between = torch.clamp(spread - noise, min=float(mean * (1 - mean)) * 1e-6)
    strength = torch.clamp(mean * (1 - mean) / between - 1, 0.1, _LARGEST / 10)
    return torch.stack([mean * strength, (1 - mean) * strength])


def _value(at: Tensor, k: Tensor, n: Tensor) -> float:
    a, b = at.exp()
    own = torch.lgamma(k + a) + torch.lgamma(n - k + b) - torch.lgamma(n + a + b)
    return float((own - torch.lgamma(a) - torch.lgamma(b) + torch.lgamma(a + b)).sum())


def _newton(at: Tensor, k: Tensor, n: Tensor) -> Tensor:
    """The step in (log a, log b); along the gradient where the likelihood is not concave."""
    a, b = at.exp()
    both = torch.digamma(a + b) - torch.digamma(n + a + b)
    curved = _trigamma(a + b) - _trigamma(n + a + b)
    slope = torch.stack(
        [
            (torch.digamma(k + a) - torch.digamma(a) + both).sum(),
            (torch.digamma(n - k + b) - torch.digamma(b) + both).sum(),
        ]
    )
    own = torch.stack(
        [
            (_trigamma(k + a) - _trigamma(a) + curved).sum(),
            (_trigamma(n - k + b) - _trigamma(b) + curved).sum(),
        ]
    )
    scale = at.exp()
    gradient = slope * scale
    hessian = torch.diag(own * scale**2 + gradient)
    hessian[0, 1] = hessian[1, 0] = curved.sum() * a * b
    if float(torch.linalg.eigvalsh(hessian).max()) < 0:
        step: Tensor = -torch.linalg.solve(hessian, gradient)
        return step.clamp(-2, 2)
    return gradient / (float(gradient.norm()) + 1e-12)


def _trigamma(x: Tensor) -> Tensor:
    found: Tensor = torch.special.polygamma(1, x)
    return found
