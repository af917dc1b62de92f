"""SoRA: gates on the r directions of LoRA that a proximal step drives to exactly 0.

Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", EMNLP 2023, arXiv
2311.11696:

    y = W x + s B (g * (A x))        g [r] = 1, B = 0 at first
    after each step: g <- sign(g) max(|g| - threshold, 0)
    count = sum over maps of r (in + out) + r

The proximal step is that of an L1 penalty. A direction with g = 0 can be cut out for good: what a
trained part needs is `alive` directions. Ours: the threshold is given by itself; the paper has
the learning rate times a weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.lm.tuning.lora import LoRALinear, low_rank_count
from adwright.lm.tuning.sizes import LINEAR, Sizes, Target
from adwright.lm.tuning.tuned import Family, Tuned, TuningMethod, at_least, ones, zeros

__all__ = ["GatedLinear", "SoRA", "alive"]


@dataclass(frozen=True)
class SoRA(TuningMethod):
    """rank: r at first. threshold: of the proximal step. Memory and place: those of LoRA."""

    family: ClassVar[Family] = "reparameterised"
    mergeable: ClassVar[bool] = True
    rank: int = 16
    alpha: float = 16.0
    threshold: float = 1e-4
    targets: tuple[Target, ...] = LINEAR

    def __post_init__(self) -> None:
        at_least(self, 1, "rank")
        at_least(self, 0, "threshold")

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + r."""
        gates = self.rank * len(sizes.of_linear(self.targets))
        return low_rank_count(sizes, self.targets, self.rank) + gates

    def attach(self, tuned: Tuned) -> None:
        """A `GatedLinear` in the place of each map."""
        for place in tuned.places(self.targets):
            a = tuned.uniform(self.rank, place.linear.in_features)
            b = zeros(place.linear.out_features, self.rank)
            scale = self.alpha / self.rank
            place.put(GatedLinear(place.linear, a, b, scale, self.threshold))


class GatedLinear(LoRALinear):
    """W x + bias + s B (g * A x). gate: g [r]."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float, threshold: float
    ) -> None:
        super().__init__(base, a, b, scale)
        self.gate, self.threshold = ones(len(a)), threshold

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = functional.linear(x, self.a.to(x.dtype)) * (self.scale * self.gate).to(x.dtype)
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y

    def merged(self) -> nn.Linear:
        """The base with W + s B diag(g) A."""
        with torch.no_grad():
            update = self.scale * (self.b * self.gate) @ self.a
            self.base.weight.add_(update.to(self.base.weight.dtype))
        return self.base

    def before_step(self, step: int, steps: int) -> None:
        """Nothing."""

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """The proximal step."""
        shrunk = (self.gate.abs() - self.threshold).clamp(min=0)
        self.gate.copy_(self.gate.sign() * shrunk)


def alive(tuned: Tuned) -> dict[str, int]:
    """By name of the map, how many directions are not 0."""
    return {
        name: int((module.gate != 0).sum())
        for name, module in tuned.named_modules()
        if isinstance(module, GatedLinear)
    }
