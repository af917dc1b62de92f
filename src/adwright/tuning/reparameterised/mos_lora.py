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

from adwright.tuning.reparameterised.lora import LoRALinear, low_rank_count
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Family, Tuned, TuningMethod, at_least, zeros

__all__ = ["MixedLinear", "MoSLoRA"]


@dataclass(frozen=True)
class MoSLoRA(TuningMethod):
    """rank: r. alpha: r s. Memory and place: those of LoRA, and r^2 numbers a map."""

    family: ClassVar[Family] = "reparameterised"
    mergeable: ClassVar[bool] = True
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "rank")

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + r^2."""
        maps = len(sizes.of_linear(self.targets))
        return low_rank_count(sizes, self.targets, self.rank) + maps * self.rank**2

    def attach(self, tuned: Tuned) -> None:
        """A `MixedLinear` in the place of each map."""
        for place in tuned.places(self.targets):
            a = tuned.uniform(self.rank, place.linear.in_features)
            b = zeros(place.linear.out_features, self.rank)
            drawn = torch.randn(self.rank, self.rank, generator=tuned.generator)
            mixer = nn.Parameter(torch.linalg.qr(drawn).Q.contiguous())
            place.put(MixedLinear(place.linear, a, b, mixer, self.alpha / self.rank))


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

    def merged(self) -> nn.Linear:
        """The base with W + s B M A."""
        with torch.no_grad():
            update = self.scale * self.b @ self.mixer @ self.a
            self.base.weight.add_(update.to(self.base.weight.dtype))
        return self.base
