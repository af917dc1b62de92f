"""(IA)3: keys, values and the hidden layer of the MLP are rescaled by learned vectors.

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning", NeurIPS 2022, arXiv 2205.05638:

    softmax(Q (l_k * K)^T / sqrt(d)) (l_v * V)        W_down (l_f * (f(W_gate x) * W_up x))
    count = N (2 K + F)        K: width of all keys, F: of the MLP's hidden layer

All l are 1 at first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, ones
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["IA3", "Rescaled"]


@dataclass(frozen=True)
class IA3(TuningMethod):
    """Learned factors on keys, values and the MLP's hidden layer.

    Memory: three vectors per layer. Applies to k_proj, v_proj and down_proj; merges into them.
    """

    default_rate: ClassVar[float] = 3e-2
    variants: ClassVar[Variants] = (Variant("(IA)3", "additive: other"),)
    packable: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """N (2 K + F)."""
        keys, hidden = sizes.shapes["k_proj"][0], sizes.shapes["down_proj"][1]
        return sizes.layers * (2 * keys + hidden)

    def attach(self, tuned: Tuned) -> None:
        """Put a `Rescaled` in the place of each of the three maps."""
        for place in tuned.places(("k_proj", "v_proj", "down_proj")):
            side: Literal["in", "out"] = "in" if place.target == "down_proj" else "out"
            place.put(Rescaled(place.linear, side))


class Rescaled(TunedLinear):
    """l * (W x + b), or W (l * x) + b. side: which of the two."""

    def __init__(self, base: nn.Linear, side: Literal["in", "out"]) -> None:
        super().__init__(base)
        self.side = side
        self.factor = ones(base.in_features if side == "in" else base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        factor = self.factor.to(x.dtype)
        y: Tensor = self.base(x * factor) if self.side == "in" else self.base(x) * factor
        return y

    def merged(self) -> nn.Linear:
        """The base with its columns or rows, and bias, scaled."""
        with torch.no_grad():
            factor = self.factor.to(self.base.weight.dtype)
            self.base.weight.mul_(factor if self.side == "in" else factor[:, None])
            if self.base.bias is not None and self.side == "out":
                self.base.bias.mul_(factor)
        return self.base
