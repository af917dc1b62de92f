"""AdaMix: several adapters in each place, one drawn per step, their mean at inference.

Wang et al., EMNLP 2022, arXiv 2205.12410. With M down and M up matrices in each place:

    training:  h <- h + up_j(f(down_i(h))), i and j drawn per place and step, twice:
               loss = -log p(y) + c (KL(p || q) + KL(q || p)) / 2, p and q of the two draws
    inference: h <- h + up(f(down(h))), each matrix the mean of its M

    count = N M (2 m D + m + D)        serving costs what one adapter costs

The second term keeps the matrices close enough to be averaged. `tune` reads each text twice in one
pass, the second draw behind the first; as in the paper, c = 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.tuning.additive.serial import Activation, AdapterLinear, activated, bottleneck_count
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import zeros
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["AdaMix", "Mixture", "consistency", "reads_twice"]


@settings
class AdaMix(TuningMethod):
    """experts: M. size: m. agreement: c; at 0 a step has one draw, and half the work. Placed after
    each MLP. Memory: M adapters, the activations of two draws.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (
        Variant("AdaMix", "additive: adapters", "both draws in one pass"),
    )
    packable: ClassVar[bool] = True
    experts: Count = 4
    size: Count = 16
    activation: Activation = "relu"
    agreement: Annotated[float, Ge(0)] = 1.0

    def count(self, sizes: Sizes) -> int:
        """N M (2 m D + m + D)."""
        return sizes.layers * self.experts * bottleneck_count(sizes.width, self.size)

    def attach(self, tuned: Tuned) -> None:
        """Put a `Mixture` after each down_proj."""
        for place in tuned.places(("down_proj",)):
            mixture = Mixture(tuned, self.experts, self.size, self.activation, place.layer)
            place.put(AdapterLinear(place.linear, mixture))

    def reads_twice(self, tuned: Tuned) -> bool:
        """Give the second half of the tokens the second draw, unless c = 0."""
        if self.agreement:
            reads_twice(tuned)
        return self.agreement > 0

    def disagreement(self, first: Tensor, second: Tensor) -> Tensor:
        """c A times the `consistency` of both draws [A, V]."""
        return self.agreement * len(first) * consistency(first, second)


class Mixture(nn.Module):
    """down [M, m, D], up [M, D, m] and their biases. drawn: (i, j) of both draws, or None for the
    means. both: the second half of the tokens uses the second draw; else all use the first.
    """

    def __init__(
        self, tuned: Tuned, experts: int, size: int, activation: Activation, layer: int
    ) -> None:
        super().__init__()
        width = tuned.sizes.width
        self.down, self.inner_bias = tuned.uniform(experts, size, width), zeros(experts, size)
        self.up, self.outer_bias = zeros(experts, width, size), zeros(experts, width)
        self.activation, self.seed, self.layer = activation, tuned.seed, layer
        self.drawn: tuple[tuple[int, int], tuple[int, int]] | None = None
        self.both = False

    def forward(self, h: Tensor) -> Tensor:
        """h [..., T, D] to what is added to it."""
        if self.drawn is None:
            return self._one(h, [each.mean(0) for each in self._matrices()])
        first, second = ([each[at] for each, at in self._of(draw)] for draw in self.drawn)
        if not self.both:
            return self._one(h, first)
        halves = zip(h.chunk(2, -2), (first, second), strict=True)
        return torch.cat([self._one(half, own) for half, own in halves], -2)

    def before_step(self, step: int, steps: int) -> None:
        """Draw i and j twice, from seed, step and layer: a resumed training draws the same."""
        seed = (self.seed * 1_000_003 + step) * 1009 + self.layer
        generator = torch.Generator().manual_seed(seed)
        i, j, k, n = torch.randint(len(self.down), (4,), generator=generator).tolist()
        self.drawn, self.both = ((i, j), (k, n)), False

    def after_step(self, step: int, steps: int) -> None:
        """Restore the means, which inference uses."""
        self.drawn, self.both = None, False

    def _matrices(self) -> tuple[Tensor, ...]:
        return self.down, self.inner_bias, self.up, self.outer_bias

    def _of(self, draw: tuple[int, int]) -> Iterator[tuple[Tensor, int]]:
        i, j = draw
        return zip(self._matrices(), (i, i, j, j), strict=True)

    def _one(self, h: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        down, inner_bias, up, outer_bias = (each.to(h.dtype) for each in matrices)
        inner = activated(functional.linear(h, down, inner_bias), self.activation)
        return functional.linear(inner, up, outer_bias)


def reads_twice(tuned: Tuned) -> None:
    """Give the second half of the tokens of a pass the second draw until the step ends."""
    for module in tuned.modules():
        if isinstance(module, Mixture):
            module.both = True


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """Compute (KL(p || q) + KL(q || p)) / 2 of logits [..., V], a mean over positions."""
    p, q = (logits.flatten(0, -2).log_softmax(-1) for logits in (first, second))
    forth = functional.kl_div(q, p, log_target=True, reduction="batchmean")
    back = functional.kl_div(p, q, log_target=True, reduction="batchmean")
    return (forth + back) / 2
