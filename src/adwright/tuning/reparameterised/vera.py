"""VeRA: one random pair of matrices for all layers, and two learned vectors for each map.

Kopiczko et al., ICLR 2024, arXiv 2310.11454:

    y = W x + b * (B (d * (A x)))        A [r, in], B [out, r] random, shared, frozen
    count = sum over maps of r + out     d [r] = d_0, b [out] = 0 at first

A and B are drawn for the largest map; a smaller one takes their first columns and rows. Ours:
they are saved with the vectors, as a seed draws the same values only in one version of torch.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, zeros
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["VeRA", "VeRALinear"]


@settings
class VeRA(TuningMethod):
    """rank: r, larger than in LoRA. start: d_0. Memory: two vectors per map, one random pair."""

    default_rate: ClassVar[float] = 3e-2
    variants: ClassVar[Variants] = (Variant("VeRA", "reparameterised: low rank"),)
    mergeable: ClassVar[bool] = True
    rank: Count = 64
    start: float = 0.1
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of r + out."""
        return sum(self.rank + rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `VeRALinear` in the place of each map."""
        shapes = tuned.sizes.of_linear(self.targets)
        rows, columns = max(rows for rows, _ in shapes), max(columns for _, columns in shapes)
        # He's initialisation, as in the paper.
        a = tuned.normal(self.rank, columns, std=math.sqrt(2 / columns))
        b = tuned.normal(rows, self.rank, std=math.sqrt(2 / self.rank))
        a.requires_grad = b.requires_grad = False
        for place in tuned.places(self.targets):
            place.put(VeRALinear(place.linear, a, b, self.start))


class VeRALinear(TunedLinear):
    """W x + bias + b * (B (d * (A x))). inner: d [r]. outer: b [out]."""

    def __init__(self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, start: float) -> None:
        super().__init__(base)
        self.a, self.b = a, b
        self.inner, self.outer = nn.Parameter(torch.full((len(a),), start)), zeros(len(base.weight))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        a, b = self.a[:, : self.base.in_features], self.b[: self.base.out_features]
        low = functional.linear(x, a.to(x.dtype)) * self.inner.to(x.dtype)
        y: Tensor = self.base(x) + functional.linear(low, b.to(x.dtype)) * self.outer.to(x.dtype)
        return y

    def weight_update(self) -> Tensor:
        """diag(b) B diag(d) A [out, in]."""
        a, b = self.a[:, : self.base.in_features], self.b[: self.base.out_features]
        return self.outer[:, None] * (b @ (self.inner[:, None] * a))
