"""BitFit: only biases are trained, and a model without biases gets some.

Ben Zaken et al., ACL 2022, arXiv 2106.10199. The paper's models have a bias in each linear map
and norm. A Llama has none, so here each map in `targets` gets one of zeros:

    y = W x + b + v        count = sum over maps of out

Where the base has a bias b of its own, v is the change of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, ones, zeros
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["Biased", "BitFit", "with_bias"]


@dataclass(frozen=True)
class BitFit(TuningMethod):
    """A learned bias on the maps in `targets`.

    Memory: one vector per map. Merged, the maps have biases, for which the config of a Llama has no
    setting: save the adapter instead.
    """

    variants: ClassVar[Variants] = (
        Variant("BitFit", "selective: structured", "adds the biases that a Llama lacks"),
    )
    mergeable: ClassVar[bool] = True
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of out."""
        return sum(rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `Biased` in the place of each map."""
        for place in tuned.places(self.targets):
            place.put(Biased(place.linear))


class Biased(TunedLinear):
    """W x + b + v. shift: v [out]."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.shift = zeros(base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        shift = self.shift.to(x.dtype)
        bias = shift if self.base.bias is None else self.base.bias + shift
        return functional.linear(x, self.base.weight, bias)

    def merged(self) -> nn.Linear:
        """A map with the bias b + v."""
        return with_bias(self.base, ones(len(self.shift)), self.shift)


def with_bias(base: nn.Linear, factor: Tensor, shift: Tensor) -> nn.Linear:
    """Write the map factor * (W x + b) + shift into `base`; factor, shift: [out]."""
    with torch.no_grad():
        bias = shift.to(base.weight.dtype)
        if base.bias is not None:
            bias = bias + base.bias * factor.to(base.weight.dtype)
        base.weight *= factor.to(base.weight.dtype)[:, None]
        base.bias = nn.Parameter(bias.clone())
    return base
