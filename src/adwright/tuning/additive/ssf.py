"""SSF: the output of a linear map is scaled and shifted.

Lian et al., "Scaling & Shifting Your Features", NeurIPS 2022, arXiv 2210.08823:

    y = g * (W x + b) + v        g = 1, v = 0 at first        count = 2 * sum over maps of out

Ours: after linear maps only. After a norm g would be the norm's own weight once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, ones, zeros
from adwright.tuning.selective.bitfit import foresee_biases, with_bias
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["SSF", "ScaledShifted"]


@dataclass(frozen=True)
class SSF(TuningMethod):
    """A learned factor and shift of each output of the maps in `targets`.

    Memory: two vectors per map. Mergeable; for the biases of a merged model see `foresee_biases`.
    """

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("SSF", "additive: other", "after linear maps only"),)
    packable: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """2 * sum of out."""
        return 2 * sum(rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `ScaledShifted` in the place of each map."""
        for place in tuned.places(self.targets):
            place.put(ScaledShifted(place.linear))

    def fold(self, tuned: Tuned) -> nn.Module:
        """As `BitFit`."""
        return foresee_biases(super().fold(tuned))


class ScaledShifted(TunedLinear):
    """g * (W x + b) + v."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.factor, self.shift = ones(base.out_features), zeros(base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y: Tensor = self.base(x) * self.factor.to(x.dtype) + self.shift.to(x.dtype)
        return y

    def merged(self) -> nn.Linear:
        """A map with weight diag(g) W and bias g * b + v."""
        return with_bias(self.base, self.factor, self.shift)
