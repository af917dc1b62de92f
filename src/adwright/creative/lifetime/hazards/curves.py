"""Predicted lives: one survival curve a unit from two heads, its quantiles, risks and causes.

The curve is that of the short head up to its last edge t*, then S(t*) S_long(t) / S_long(t*).
Inside a bin the hazard is constant, so log S is a straight line there: S falls everywhere and
jumps nowhere. In logs the curve is a sum over bins, of which the short head gives those up to t*
and the long one those beyond, the one that t* lies in by its part. A unit that is alive at age
`entry` has S(t) / S(entry), 1 up to there. Before the first edge nothing is known: S is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.creative.lifetime.hazards.terms import LifeTerms

__all__ = ["LifeCurves"]

Floats = NDArray[np.float32]
Term = Literal["short", "long", "all"]


@settings(eq=False)
class LifeCurves:
    """Curves of N units that are alive at `entry`.

    terms: edges of the heads. causes: C names. entry: float32 [N], ages. steps: log(1 - h_j) of
    each head, [N, J]. shares: of each cause in h_j, [N, J, C]; None with one cause. typical: the
    share of all units, of which these are some, that has ended by each edge of the curve, [T];
    None where nobody knows.
    """

    terms: LifeTerms
    causes: tuple[str, ...]
    entry: Floats
    steps: tuple[Floats, ...]
    shares: tuple[Floats, ...] | None = None
    typical: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.entry)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> LifeCurves:
        """The units `rows`."""
        steps = tuple(part[rows] for part in self.steps)
        shares = None if self.shares is None else tuple(part[rows] for part in self.shares)
        return replace(self, entry=self.entry[rows], steps=steps, shares=shares)

    def given(self, age: float) -> LifeCurves:
        """The same units if they are still alive at `age`, from there on."""
        entry = np.maximum(self.entry, np.float32(age))
        return replace(self, entry=entry)

    @cached_property
    def edges(self) -> Floats:
        """[T], ages; the columns of `survival` and `incidence`."""
        return np.array(self.terms.joined, np.float32)

    @cached_property
    def survival(self) -> Floats:
        """S [N, T] at the edges, given survival to entry; never rising, 1 at the first edge."""
        return _survival(self._joined, self.edges, self.entry)

    @cached_property
    def incidence(self) -> Floats:
        """[N, T, C]: the probability of having ended of each cause by each edge, given survival to
        entry. The causes sum to 1 - S."""
        fallen = np.maximum(self.survival[:, :-1] - self.survival[:, 1:], 0)
        parts = fallen[:, :, None] * self.share
        return np.concatenate([np.zeros_like(parts[:, :1]), np.cumsum(parts, 1)], 1)

    @cached_property
    def share(self) -> Floats:
        """[N, T - 1, C]: the part of each cause in the hazard of each bin of the curve."""
        if self.shares is None:
            return np.ones((*self._joined.shape, 1), np.float32)
        return np.concatenate([self.shares[0], *(s[:, self._beyond] for s in self.shares[1:])], 1)

    @cached_property
    def hazard(self) -> Floats:
        """h [N, T - 1, C]: of ending in a bin of the curve of each cause, once it is reached."""
        found: Floats = -np.expm1(self._joined)[:, :, None] * self.share
        return found

    def at(self, times: Sequence[float] | Floats) -> Floats:
        """S [N, K] at ages `times` [K], given survival to entry.

        Raises ConfigError for an age beyond the last edge, of which the model knows nothing.
        """
        ages = np.asarray(times, np.float32)
        last = float(self.edges[-1])
        if ages.size and not ages.max() <= last:
            raise ConfigError(
                "the curves end before this age",
                where=f"age {ages.max():g}, last edge {last:g}",
                hint="ask for an earlier age, or train with later edges",
            )
        found = np.empty((len(self), len(ages)), np.float32)
        for k, age in enumerate(ages):
            lived = _lived(self.edges, self.entry, np.full(1, age))
            found[:, k] = np.exp(np.einsum("nj,nj->n", self._joined, lived))
        return found

    def remaining(self, share: float = 0.5) -> Floats:
        """[N]: time from entry until so great a share of such units has ended; infinite where
        fewer have by the last edge. remaining(0.5) is the median of what is left.

        Raises ConfigError for a share outside of (0, 1).
        """
        if not 0 < share < 1:
            raise ConfigError("the share lies between 0 and 1", where=f"share {share}")
        whole = _lived(self.edges, self.entry, self.edges[-1:])
        log_s = np.cumsum(self._joined * whole, 1)
        wanted = np.log1p(np.float32(-share))
        reached = log_s <= wanted
        bin_ = np.argmax(reached, 1)
        row = np.arange(len(self))
        before = np.where(bin_ > 0, log_s[row, np.maximum(bin_ - 1, 0)], 0)
        step = self._joined[row, bin_] / np.diff(self.edges)[bin_]
        start = np.maximum(self.edges[bin_], self.entry)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = start + (wanted - before) / step - self.entry
        return np.where(reached.any(1), left, np.inf).astype(np.float32)

    def risk(self, term: Term = "all", *, until: float | None = None) -> Floats:
        """[N]: higher ends sooner; the score for concordance.

        It is minus the chance to outlive a typical unit that ends in the term, times the share of
        such units: the sum over bins of S in their middle, (S(left) + S(right)) / 2, times the
        share of all that ends there, with S given survival to entry. A concordance asks just that
        of pairs of units. Without `typical` it is minus the mean time lived in the term: the
        widths of the bins stand in for the shares.
        "all": the whole curve, or up to the age `until`. "short": up to the last edge of the short
        head. "long": the long head's own curve over its own bins; with one head the whole curve.
        Raises ConfigError for `until` with another term than "all", and beyond the last edge.
        """
        if until is not None and term != "all":
            raise ConfigError("until is of the whole curve", where=f"term {term!r}", hint="use all")
        match term:
            case "short":
                return self._risk_until(self.terms.short[-1])
            case "long" if self.terms.long:
                edges = np.array(self.terms.long, np.float32)
                return self._risk_of(_survival(self.steps[1], edges, self.entry), edges)
            case "long" | "all":
                return self._risk_until(self.terms.joined[-1] if until is None else until)
            case other:
                raise ConfigError(
                    f"term cannot be {other!r}", where="term", hint="use short, long or all"
                )

    def _risk_until(self, age: float) -> Floats:
        number = int(np.searchsorted(self.edges, np.float32(age), side="right"))
        edges, survival = self.edges[:number], self.survival[:, :number]
        if not number or edges[-1] < age:
            edges = np.append(edges, np.float32(age))
            survival = np.concatenate([survival, self.at([age])], 1)
        return self._risk_of(survival, edges)

    def _risk_of(self, survival: Floats, edges: Floats) -> Floats:
        """Of a curve S [N, T] at the edges [T]."""
        if self.typical is None:
            sizes = np.diff(edges)
        else:
            sizes = np.diff(np.interp(edges, self.edges, self.typical)).astype(np.float32)
        risk: Floats = ((survival[:, :-1] + survival[:, 1:]) @ sizes / -2).astype(np.float32)
        return risk

    @cached_property
    def _beyond(self) -> slice:
        """The bins of the long head that end after the short head does."""
        first = int(np.searchsorted(self.terms.long[1:], self.terms.short[-1], side="right"))
        return slice(first, None)

    @cached_property
    def _joined(self) -> Floats:
        """log(1 - h) [N, T - 1] of the bins of the curve."""
        if not self.terms.long:
            return self.steps[0]
        beyond, long = self.steps[1][:, self._beyond].copy(), self.terms.long
        left, right = long[self._beyond.start], long[self._beyond.start + 1]
        # Of the bin in which the short head ends, the part that lies behind it.
        beyond[:, 0] *= (right - self.terms.short[-1]) / (right - left)
        return np.concatenate([self.steps[0], beyond], 1)


def _lived(edges: Floats, entry: Floats, until: Floats) -> Floats:
    """[N, J]: part of each bin that lies between entry [N] and the age `until` [1]."""
    left, right = edges[:-1], edges[1:]
    begun = np.maximum(left, entry[:, None])
    found: Floats = np.clip((np.minimum(right, until) - begun) / (right - left), 0, 1)
    return found


def _survival(steps: Floats, edges: Floats, entry: Floats) -> Floats:
    """S [N, J + 1] at the edges of log(1 - h) [N, J], given survival to entry [N]."""
    if len(entry) and entry.max() > edges[0]:
        steps = steps * _lived(edges, entry, edges[-1:])
    found = np.ones((len(steps), len(edges)), np.float32)
    np.exp(np.cumsum(steps, 1), out=found[:, 1:])
    return found
