"""KronA: the update of a weight is a Kronecker product of two small matrices.

Edalati et al., 2022, arXiv 2212.10650:

    W' = W + s A (x) B        A [p, q], B [out / p, in / q], B = 0 at first
    count = sum over maps of p q + (out / p) (in / q)

(A (x) B) x needs no Kronecker product: with X [q, in / q] the x cut into rows, it is A X B^T read
row by row. Ours: p and q are the largest divisors of out and in that are at most `factor`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Count, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, zeros
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["KronA", "KronALinear"]


@settings
class KronA(TuningMethod):
    """factor: bound of p and q; near the root of the width the count is least. scale: s.

    Memory: the two small matrices. The rank is rank(A) rank(B), up to full. Any linear map.
    """

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("KronA", "reparameterised: low rank"),)
    packable: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    factor: Count = 32
    scale: float = 1.0
    targets: tuple[Target, ...] = LINEAR

    def divisor(self, size: int) -> int:
        """The largest divisor of `size` that is at most `factor`."""
        return max(each for each in range(1, self.factor + 1) if size % each == 0)

    def count(self, sizes: Sizes) -> int:
        """Sum of p q + (out / p) (in / q)."""
        total = 0
        for rows, columns in sizes.of_linear(self.targets):
            left = self.divisor(rows) * self.divisor(columns)
            total += left + rows * columns // left
        return total

    def attach(self, tuned: Tuned) -> None:
        """Put a `KronALinear` in the place of each map."""
        for place in tuned.places(self.targets):
            rows, columns = place.linear.out_features, place.linear.in_features
            p, q = self.divisor(rows), self.divisor(columns)
            right = zeros(rows // p, columns // q)
            place.put(KronALinear(place.linear, tuned.uniform(p, q), right, self.scale))


class KronALinear(TunedLinear):
    """W x + bias + s (A (x) B) x. left: A [p, q]. right: B [out / p, in / q]."""

    def __init__(
        self, base: nn.Linear, left: nn.Parameter, right: nn.Parameter, scale: float
    ) -> None:
        super().__init__(base)
        self.left, self.right, self.scale = left, right, scale

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        rows = x.reshape(*x.shape[:-1], self.left.shape[1], -1)  # X [..., q, in / q]
        product = self.scale * self.left.to(x.dtype) @ (rows @ self.right.to(x.dtype).T)
        y: Tensor = self.base(x) + product.flatten(-2)
        return y

    def weight_update(self) -> Tensor:
        """s A (x) B [out, in]."""
        return self.scale * torch.kron(self.left, self.right)
