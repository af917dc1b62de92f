"""The likelihood of lives in bins: discrete hazards with censoring, delayed entry and causes.

A head has J bins (t_{j-1}, t_j] and, for C causes, logits a_{j,c}. In a bin that is reached a unit
survives or ends of one cause,

    P(survive) = 1 / Z_j,  h_{j,c} = exp(a_{j,c}) / Z_j,  Z_j = 1 + sum_c exp(a_{j,c})

so that one cause gives h_j = sigmoid(a_j) (Kitada et al., Applied Sciences 12(7):3594, 2022; causes
as of Tutz and Schmid, Modeling Discrete Time-to-Event Data, 2016, chapter 8). A unit that ends of
cause c in bin k, and one that is censored, cost

    -log h_{k,c} - sum_{j in R, j < k} log(1 - h_j),    - sum_{j in R} log(1 - h_j)

with R the bins that the unit was at risk in and seen through: those that begin at its entry or
later, and that it survived in whole. A bin of which it saw a part alone, because it came or was
lost in its midst, says nothing; neither does an ending in the bin of its entry. A unit that lives
beyond the last edge survived all bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["BinTargets", "hazard_loss", "log_hazards", "marginal_logits"]


@dataclass(frozen=True)
class BinTargets:
    """What a head learns of B units: at risk in the bins first..stop - 1.

    first, stop: int64 [B], first <= stop. cause: int64 [B], of the ending in bin stop - 1; 0 where
    all bins at risk were survived.
    """

    first: Tensor
    stop: Tensor
    cause: Tensor

    @classmethod
    def of(
        cls,
        edges: Sequence[float],
        entry: NDArray[np.float32],
        time: NDArray[np.float32],
        cause: NDArray[np.integer],
    ) -> BinTargets:
        """Lives [N] in the bins between `edges` [J + 1]. cause: 0 censored, 1.. of the ending."""
        left, right = np.array(edges[:-1], np.float32), np.array(edges[1:], np.float32)
        first = np.searchsorted(left, entry, side="left")
        within = (cause > 0) & (time > left[0]) & (time <= right[-1])
        survived = np.searchsorted(right, time, side="right")
        stop = np.where(within, np.searchsorted(right, time, side="left") + 1, survived)
        seen = within & (stop > first)
        return cls(
            torch.from_numpy(first.astype(np.int64)),
            torch.from_numpy(np.maximum(stop, first).astype(np.int64)),
            torch.from_numpy(np.where(seen, cause, 0).astype(np.int64)),
        )

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: Tensor) -> BinTargets:
        """The units `rows`, int64 [R]."""
        return BinTargets(self.first[rows], self.stop[rows], self.cause[rows])

    def at_risk(self, bins: int) -> Tensor:
        """bool [B, J]: the bins that count."""
        bin_ = torch.arange(bins)
        return (bin_ >= self.first[:, None]) & (bin_ < self.stop[:, None])

    def ended(self, bins: int) -> Tensor:
        """bool [B, J]: the bin of the ending."""
        return (torch.arange(bins) == self.stop[:, None] - 1) & (self.cause > 0)[:, None]


def hazard_loss(logits: Tensor, targets: BinTargets) -> Tensor:
    """Minus the log-likelihood [B] of each unit. logits: [B, J, C].

    With one cause it is the binary cross-entropy over the bins at risk.
    """
    bins, causes = logits.shape[1:]
    weight, ended = targets.at_risk(bins).to(logits.dtype), targets.ended(bins)
    if causes == 1:
        return functional.binary_cross_entropy_with_logits(
            logits[:, :, 0], ended.to(logits.dtype), weight=weight, reduction="none"
        ).sum(1)
    log_p = functional.log_softmax(functional.pad(logits, (1, 0)), dim=2)
    chosen = ended * targets.cause[:, None]
    return -(log_p.gather(2, chosen[:, :, None])[:, :, 0] * weight).sum(1)


def log_hazards(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(log(1 - h_j) [B, J], share of each cause in h_j [B, J, C]) of logits [B, J, C]."""
    if logits.shape[2] == 1:
        return -functional.softplus(logits[:, :, 0]), torch.ones_like(logits)
    padded = functional.pad(logits, (1, 0))
    return functional.log_softmax(padded, dim=2)[:, :, 0], torch.softmax(logits, dim=2)


def marginal_logits(targets: BinTargets, bins: int, causes: int) -> Tensor:
    """Logits [J, C] of the hazards that the units have on the whole; half an ending and half a
    survival are added to each, so that none is infinite."""
    at_risk = targets.at_risk(bins).sum(0)
    cell = (targets.stop - 1) * causes + targets.cause - 1
    ended = torch.bincount(cell[targets.cause > 0], minlength=bins * causes).view(bins, causes)
    survived = at_risk - ended.sum(1)
    return torch.log((ended + 0.5) / (survived + 0.5)[:, None])
