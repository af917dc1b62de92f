"""Dice, the activation of the Deep Interest Network (Zhou et al., KDD 2018, equation 9).

    f(s) = p(s) s + (1 - p(s)) alpha s,    p(s) = sigmoid((s - E[s]) / sqrt(Var[s] + eps))

PReLU whose corner moves with the data. E and Var are per unit, over the mini-batch in
training and moving averages at inference; alpha is per unit, learned and starts at 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["EPS", "Dice", "MovingMoments", "sum_over_ranks"]

EPS = 1e-8


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of `values` over the processes of a distributed run, with its gradient; without one,
    `values` itself. Statistics are thus of the whole batch, however it is divided."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        reduced: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return reduced
    return values


class _Sum(torch.autograd.Function):
    """The gradient of a sum that all processes use is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


class MovingMoments(nn.Module):
    """Mean and variance per unit: of the batch in training, their moving averages otherwise.

    momentum: share of the new value in each update (our choice: 0.01; the paper leaves it
    open). The averages are corrected for their start at zero, as in Adam, so that they are
    right after few batches too.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor

    def __init__(self, units: int, *, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("variance", torch.zeros(units))
        self.register_buffer("weight", torch.zeros(()))

    def forward(self) -> tuple[Tensor, Tensor]:
        """The moving (mean [H], variance [H]); 0 and 1 before any batch."""
        seen = self.weight.clamp(min=1e-12)
        variance = torch.where(self.weight > 0, self.variance / seen, 1.0)
        return self.mean / seen, variance

    def update(self, count: Tensor, total: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Update the moving averages with the batch's (mean [H], variance [H]), which are returned.

        count []: number of values per unit. total, squares [H]: sum of the values, of their
        squares. Gradients flow through the returned moments, as in batch normalisation.
        """
        sums = sum_over_ranks(torch.cat([count.reshape(1), total, squares]))
        units = total.numel()
        n = sums[0].clamp(min=1)
        mean = sums[1 : units + 1] / n
        variance = (sums[units + 1 :] / n - mean * mean).clamp(min=0)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
            self.variance.lerp_(variance.to(self.mean.dtype), self.momentum)
            self.weight.lerp_(torch.ones_like(self.weight), self.momentum)
        return mean, variance


class Dice(nn.Module):
    """Dice over rows: x [T, H] to [T, H].

    >>> Dice(3)(torch.zeros(4, 3)).shape
    torch.Size([4, 3])
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(units))
        self.moments = MovingMoments(units)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, H] to Dice(x) [T, H]."""
        if self.training:
            # float64 sums: the square of a mean is subtracted from a mean of squares.
            wide = x.double()
            count = torch.tensor(float(x.shape[0]), dtype=torch.float64)
            mean, variance = self.moments.update(count, wide.sum(0), (wide * wide).sum(0))
        else:
            mean, variance = self.moments()
        scaled = (x - mean.to(x.dtype)) * torch.rsqrt(variance.to(x.dtype) + EPS)
        gate = torch.sigmoid(scaled)
        return x * (gate + self.alpha * (1 - gate))
