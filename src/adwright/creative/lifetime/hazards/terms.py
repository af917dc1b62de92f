"""Two terms of a life: the edges of the bins in which it is watched, given or from the data.

A head is a row of half-open bins (t_0, t_1], (t_1, t_2], ... of ages. The short head sees cut-outs
with fine bins, the long one wear-outs with wide bins; they overlap.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError

__all__ = ["LifeTerms"]

#: Share of the observed endings that edges chosen from the data cover.
_REACH = 0.99


@settings
class LifeTerms:
    """Edges of the bins of each head, ages in weeks or days; the paper's days by default.

    short: at least two, ascending. long: likewise, beginning inside the short head and reaching
    beyond it; () for one head alone.
    """

    short: tuple[float, ...] = (1.0, 3.0, 5.0, 7.0, 10.0)
    long: tuple[float, ...] = (1.0, 10.0, 30.0, 60.0, 90.0, 120.0)

    def __post_init__(self) -> None:
        for name, edges in (("short", self.short), ("long", self.long)):
            if not edges and name == "long":
                continue
            rising = all(a < b for a, b in pairwise(edges))
            finite = all(0 <= edge < np.inf for edge in edges)
            if len(edges) < 2 or not rising or not finite:
                raise ConfigError(
                    f"the edges of the {name} head are two or more ages that rise from 0 on",
                    where=f"{name} {edges}",
                )
        if self.long and not self.long[0] <= self.short[-1] < self.long[-1]:
            raise ConfigError(
                "the long head begins inside the short one and ends after it",
                where=f"short {self.short}, long {self.long}",
                hint="leave no gap between them, or leave the long head out: long=()",
            )

    @property
    def heads(self) -> tuple[tuple[float, ...], ...]:
        """The edges of each head, one or two."""
        return (self.short, self.long) if self.long else (self.short,)

    @property
    def joined(self) -> tuple[float, ...]:
        """Edges of the one curve: those of the short head, then those of the long one beyond."""
        return (*self.short, *(edge for edge in self.long if edge > self.short[-1]))

    @property
    def one_head(self) -> LifeTerms:
        """The same curve's edges in one head."""
        return LifeTerms(short=self.joined, long=())

    @classmethod
    def of(
        cls,
        entry: NDArray[np.floating],
        time: NDArray[np.floating],
        cause: NDArray[np.integer],
        *,
        short_bins: int = 4,
        long_bins: int = 5,
        short_share: float = 0.75,
    ) -> LifeTerms:
        """Edges from lives [N]: quantiles of the times of those that ended.

        The first edge is the least entry. The short head ends where `short_share` of the endings
        have happened, the long one where 99% have; inside, each bin of a head holds an equal
        share, but that the long head's first bin is all of the short term. Ties merge bins, so
        there may be fewer. Where the long head would end with the short one, there is one head.

        Raises ConfigError where no unit ended, and for settings out of range.
        """
        if short_bins < 1 or long_bins < 2 or not 0 < short_share < _REACH:
            raise ConfigError(
                f"short_bins is at least 1, long_bins 2, and short_share between 0 and {_REACH}",
                where=f"{short_bins}, {long_bins}, {short_share}",
            )
        first = float(np.min(entry)) if len(entry) else 0.0
        ended = np.asarray(time[(cause > 0) & (time > first)], np.float64)
        if not len(ended):
            raise ConfigError(
                "no unit ended, so that no edges of bins can be chosen",
                where=f"{len(time):,} units",
                hint="give the edges: LifeTerms(short=..., long=...)",
            )
        fine = np.linspace(0, short_share, short_bins + 1)[1:]
        wide = np.linspace(short_share, _REACH, long_bins)
        short = _distinct(first, np.quantile(ended, fine, method="inverted_cdf"))
        long = _distinct(first, np.quantile(ended, wide, method="inverted_cdf"))
        return cls(short=short, long=long if long[-1] > short[-1] else ())

    def __str__(self) -> str:
        named = zip(("short", "long"), self.heads, strict=False)
        return "; ".join(f"{name} {', '.join(f'{e:g}' for e in edges)}" for name, edges in named)


def _distinct(first: float, edges: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.unique([first, *edges]).tolist())
