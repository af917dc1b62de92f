"""MoSLoRA: a learned mixer between the two matrices of LoRA.

Wu, Wang, Zhao & Wong, "Mixture-of-Subspaces in Low-Rank Adaptation", 2024, arXiv 2406.11909:

    y = W x + s B (M (A x))        M [r, r] orthogonal, B = 0 at first
    count = sum over maps of r (in + out) + r^2

With M the identity it is LoRA: M lets each of the r directions in meet each of those out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned

__all__ = ["MixedLinear", "MoSLoRA"]


@dataclass(frozen=True)
class MoSLoRA(LowRankMethod):
    """Memory and place: those of LoRA, and r^2 parameters per map."""

    variants: ClassVar[Variants] = (Variant("MoSLoRA", "reparameterised: LoRA derivatives"),)
    packable: ClassVar[bool] = True
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + r^2."""
        return super().count(sizes) + len(sizes.of_linear(self.targets)) * self.rank**2

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `MixedLinear` with a random orthogonal mixer."""
        drawn = torch.randn(self.rank, self.rank, generator=tuned.generator)
        mixer = nn.Parameter(torch.linalg.qr(drawn).Q.contiguous())
        return MixedLinear(base, a, b, mixer, self.scale)


class MixedLinear(LoRALinear):
    """W x + bias + s B M A x. mixer: M [r, r]."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, mixer: nn.Parameter, scale: float
    ) -> None:
        super().__init__(base, a, b, scale)
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        # M A is as small as A: the rest is LoRA.
        low = functional.linear(x, (self.mixer @ self.a).to(x.dtype)) * self.scale
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y

    def weight_update(self) -> Tensor:
        """s B M A [out, in]."""
        return self.scale * self.b @ self.mixer @ self.a
