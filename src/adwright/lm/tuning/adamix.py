"""AdaMix: several adapters in each place, one drawn for each step, their mean in use.

Wang et al., EMNLP 2022, arXiv 2205.12410. With M down and M up matrices in each place:

    training: h <- h + up_j(f(down_i(h))), i and j drawn for each place and step
    use:      h <- h + up(f(down(h))), each matrix the mean of its M

    count = N M (2 m D + m + D)        serving costs what one adapter costs

Ours: without the paper's second forward pass; `consistency` is its term for a loop that makes
one, the symmetric divergence of two draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.lm.tuning.serial import Activation, AdapterLinear, activated, bottleneck_count
from adwright.lm.tuning.sizes import Sizes
from adwright.lm.tuning.tuned import Family, Tuned, TuningMethod, at_least, zeros

__all__ = ["AdaMix", "Mixture", "consistency"]


@dataclass(frozen=True)
class AdaMix(TuningMethod):
    """experts: M. size: m. After each MLP. Memory: M adapters, the activations of one."""

    family: ClassVar[Family] = "adapter"
    experts: int = 4
    size: int = 16
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        at_least(self, 1, "experts", "size")

    def count(self, sizes: Sizes) -> int:
        """N M (2 m D + m + D)."""
        return sizes.layers * self.experts * bottleneck_count(sizes.width, self.size)

    def attach(self, tuned: Tuned) -> None:
        """A mixture after each down_proj."""
        for place in tuned.places(("down_proj",)):
            mixture = Mixture(tuned, self.experts, self.size, self.activation, place.layer)
            place.put(AdapterLinear(place.linear, mixture))


class Mixture(nn.Module):
    """down [M, m, D], up [M, D, m] and their biases. drawn: (i, j), or None for the means."""

    def __init__(
        self, tuned: Tuned, experts: int, size: int, activation: Activation, layer: int
    ) -> None:
        super().__init__()
        width = tuned.sizes.width
        self.down, self.inner_bias = tuned.uniform(experts, size, width), zeros(experts, size)
        self.up, self.outer_bias = zeros(experts, width, size), zeros(experts, width)
        self.activation, self.seed, self.layer = activation, tuned.seed, layer
        self.drawn: tuple[int, int] | None = None

    def forward(self, h: Tensor) -> Tensor:
        """h [..., D] to what is added to it."""
        parts = (self.down, self.inner_bias, self.up, self.outer_bias)
        if self.drawn is None:
            down, inner_bias, up, outer_bias = (part.mean(0).to(h.dtype) for part in parts)
        else:
            i, j = self.drawn
            down, inner_bias, up, outer_bias = (
                part[at].to(h.dtype) for part, at in zip(parts, (i, i, j, j), strict=True)
            )
        inner = activated(functional.linear(h, down, inner_bias), self.activation)
        return functional.linear(inner, up, outer_bias)

    def before_step(self, step: int, steps: int) -> None:
        """Draw i and j: from seed, step and layer, so a resumed training draws the same."""
        seed = (self.seed * 1_000_003 + step) * 1009 + self.layer
        generator = torch.Generator().manual_seed(seed)
        i, j = torch.randint(len(self.down), (2,), generator=generator).tolist()
        self.drawn = (i, j)

    def after_step(self, step: int, steps: int) -> None:
        """As in use: the means."""
        self.drawn = None


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """(KL(p || q) + KL(q || p)) / 2 of two draws' logits [..., V], a mean over positions."""
    p, q = (logits.flatten(0, -2).log_softmax(-1) for logits in (first, second))
    forth = functional.kl_div(q, p, log_target=True, reduction="batchmean")
    back = functional.kl_div(p, q, log_target=True, reduction="batchmean")
    return (forth + back) / 2
