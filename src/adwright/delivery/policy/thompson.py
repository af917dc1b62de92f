"""Thompson sampling without sampling: the exact chance that each item is drawn best.

Thompson sampling draws a value for each item from what is believed about it and shows the item
with the highest draw (Thompson, Biometrika 1933). With independent beliefs of density f_a and
distribution function F_a, item a is shown with probability

    P_a = integral f_a(x) prod_{b != a} F_b(x) dx

and an item drawn from P is distributed as the winner of the draws. So the policy computes P by
quadrature and draws once from it: the logged propensity is the very number that the choice was
made with. (Monte Carlo propensities, the usual way, are off by 1/sqrt(draws), and are 0 for
an item that was shown but won no draw.)

Quadrature: one even grid for all items, from where some F_b still vanishes to where every
density has died out. The integrand dies out at both ends, so the trapezoid rule converges
geometrically; the F_b are cumulative trapezoids corrected by the slopes at both ends of each
step, error h^4/720 f'''. With eight steps to the smallest spread the chances are exact to
about 1e-6; tails below 1e-12 count as 0.

Letters: C items, X points of the grid. Cost: C X evaluations of a density.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError

__all__ = ["LEAST_COUNT", "beta_chances", "normal_chances"]

Floats = NDArray[np.float64]

#: Beta beliefs with less are spread over more log-odds than a grid can hold.
LEAST_COUNT = 0.05

_STEPS = 8.0  # steps of the grid to the smallest spread
_POINTS = 8192  # of the grid at most; beyond, the narrowest beliefs are read as a bit wider
_REACH = 7.1  # spreads beyond which a normal belief holds less than 1e-12
_TAIL = 28.0  # -log 1e-12


def normal_chances(mean: Floats, spread: Floats) -> Floats:
    """P_a of beliefs N(mean_a, spread_a^2), each [C], finite, spreads above 0; sums to 1.

    Where the spreads are further apart than the grid resolves (a factor of about 70), the
    narrowest beliefs are read as a thousandth of the range that matters.
    """
    _check("mean", mean, np.isfinite(mean), "a mean is not finite")
    _check("spread", spread, np.isfinite(spread) & (spread > 0), "a spread must be above 0")
    return _chances(_Normals(mean, spread))


def beta_chances(successes: Floats, failures: Floats, shift: Floats) -> Floats:
    """P_a of beliefs Beta(successes_a, failures_a) about a probability; sums to 1.

    successes, failures: [C], at least LEAST_COUNT. shift: [C], finite, added to the log-odds of
    each draw before they are compared; zeros for plain Thompson sampling.

    Works on log-odds t, where the density is exp(a t - (a + b) log(1 + e^t)) / B(a, b), smooth
    and without ends, also for a below 1. Beliefs too narrow for the grid are read as beliefs
    from fewer observations with the same share.
    """
    for name, values in (("successes", successes), ("failures", failures)):
        right = np.isfinite(values) & (values >= LEAST_COUNT)
        _check(name, values, right, f"{name} must be at least {LEAST_COUNT}")
    _check("shift", shift, np.isfinite(shift), "a shift is not finite")
    return _chances(_Betas(successes, failures, shift))


class _Beliefs(Protocol):
    """Independent beliefs about C items on one real axis."""

    @property
    def spread(self) -> Floats: ...
    def ends(self) -> tuple[Floats, Floats]: ...
    def at_least(self, spread: float) -> _Beliefs: ...
    def take(self, rows: NDArray[np.intp]) -> _Beliefs: ...
    def density(self, x: Floats) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, eq=False)
class _Normals:
    mean: Floats
    spread: Floats

    def ends(self) -> tuple[Floats, Floats]:
        """Where the tails count as 0, [C] each."""
        return self.mean - _REACH * self.spread, self.mean + _REACH * self.spread

    def at_least(self, spread: float) -> _Normals:
        return _Normals(self.mean, np.maximum(self.spread, spread))

    def take(self, rows: NDArray[np.intp]) -> _Normals:
        return _Normals(self.mean[rows], self.spread[rows])

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """Densities and their slopes, [C, X] each."""
        width = self.spread[:, None]
        z = (x - self.mean[:, None]) / width
        height = np.exp(-0.5 * z * z) / (width * math.sqrt(2 * math.pi))
        return height, -height * z / width


@dataclass(frozen=True, eq=False)
class _Betas:
    """On log-odds, moved by shift."""

    successes: Floats
    failures: Floats
    shift: Floats

    @property
    def spread(self) -> Floats:
        """Spread of the normal that touches the density at its mode."""
        return np.sqrt(1 / self.successes + 1 / self.failures)

    def ends(self) -> tuple[Floats, Floats]:
        """Wide enough for the exponential tails of few observations."""
        centre = np.log(self.successes) - np.log(self.failures) + self.shift
        reach = _REACH * self.spread
        return centre - reach - _TAIL / self.successes, centre + reach + _TAIL / self.failures

    def at_least(self, spread: float) -> _Betas:
        share = np.minimum(1.0, (self.spread / spread) ** 2)
        return _Betas(share * self.successes, share * self.failures, self.shift)

    def take(self, rows: NDArray[np.intp]) -> _Betas:
        return _Betas(self.successes[rows], self.failures[rows], self.shift[rows])

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """Densities and their slopes, [C, X] each."""
        a, b = self.successes[:, None], self.failures[:, None]
        pairs = zip(self.successes.tolist(), self.failures.tolist(), strict=True)
        norm = [math.lgamma(p) + math.lgamma(q) - math.lgamma(p + q) for p, q in pairs]
        t = x - self.shift[:, None]
        growth = np.logaddexp(0.0, t)
        height = np.exp(a * t - (a + b) * growth - np.array(norm)[:, None])
        return height, height * (a - (a + b) * np.exp(t - growth))


def _chances(beliefs: _Beliefs) -> Floats:
    # Below the highest low end its item has no mass, so nobody wins there; items that end
    # below it never win.
    low, high = beliefs.ends()
    rows = np.flatnonzero(high > low.max())
    chances = np.zeros(len(low))
    beliefs = beliefs.take(rows)
    start, end = _range(beliefs)
    least = float(beliefs.spread.min())
    if least < (end - start) * _STEPS / _POINTS:
        least = (end - start) * _STEPS / _POINTS
        beliefs = beliefs.at_least(least)
        start, end = _range(beliefs)
    x = np.linspace(start, end, 1 + math.ceil((end - start) * _STEPS / least))
    step = x[1] - x[0]
    height, slope = beliefs.density(x)
    piece = step / 2 * (height[:, :-1] + height[:, 1:])
    piece += step**2 / 12 * (slope[:, :-1] - slope[:, 1:])
    above = np.zeros_like(height)
    above[:, :-1] = piece[:, ::-1].cumsum(1)[:, ::-1]
    logs = np.log(np.clip(1.0 - above, 1e-300, 1.0))
    won = (height * np.exp(logs.sum(0) - logs)).sum(1)
    chances[rows] = won / won.sum()
    return chances


def _range(beliefs: _Beliefs) -> tuple[float, float]:
    low, high = beliefs.ends()
    return float(low.max()), float(high.max())


def _check(name: str, values: Floats, right: NDArray[np.bool_], what: str) -> None:
    if not right.all():
        row = int(np.argmin(right))
        raise ValueInvalidError(what, row=row, column=name, value=float(values[row]))
