"""DoRA: magnitude and direction of a weight are tuned apart.

Liu et al., ICML 2024, arXiv 2402.09353. With s B A as in LoRA and norms over the inputs of each
output:

    W' = m * (W + s B A) / ||W + s B A||        m [out] = ||W||, B = 0 at first
    count = sum over maps of r (in + out) + out

As the paper proposes (section 4.3), no gradient goes through the norm. Ours: W' is not formed in
the forward pass; the output of the LoRA map is scaled by m / ||.||.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Count
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned

__all__ = ["DoRA", "DoRALinear"]


@dataclass(frozen=True)
class DoRA(LowRankMethod):
    """Memory: that of LoRA, and for a moment W + s B A of one map."""

    variants: ClassVar[Variants] = (Variant("DoRA", "reparameterised: low rank"),)
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + out."""
        return super().count(sizes) + sum(rows for rows, _ in sizes.of_linear(self.targets))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `DoRALinear`."""
        return DoRALinear(base, a, b, self.scale)


class DoRALinear(LoRALinear):
    """m * (W + s B A) x / ||W + s B A|| + bias. magnitude: m [out]."""

    def __init__(self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float) -> None:
        super().__init__(base, a, b, scale)
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(base.weight.detach().float(), dim=1))

    def factor(self) -> Tensor:
        """m / ||W + s B A|| [out], the norm being a constant for the gradient."""
        with torch.no_grad():
            weight = self.base.weight + self.weight_update().to(self.base.weight.dtype)
            norm = torch.linalg.vector_norm(weight.float(), dim=1)
        factor: Tensor = self.magnitude / norm
        return factor

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y = super().forward(x)
        factor = self.factor().to(y.dtype)
        if self.base.bias is None:
            return y * factor
        return (y - self.base.bias) * factor + self.base.bias

    def merged(self) -> nn.Linear:
        """The base with weight W'."""
        factor = self.factor().detach()
        base = super().merged()
        with torch.no_grad():
            base.weight.mul_(factor.to(base.weight.dtype)[:, None])
        return base
