"""LoRA-FA: LoRA whose A stays as it was initialised.

Zhang et al., 2023, arXiv 2308.03303:

    y = W x + s B (A x)        A frozen, B = 0 at first        count = sum over maps of r out

The backward pass needs A x [r] of a token and not x, so activations shrink: the frozen W does not
need x either. Ours: the autograd function of `lora` keeps x, so this class has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Count
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned

__all__ = ["FrozenALinear", "LoRAFA"]


@dataclass(frozen=True)
class LoRAFA(LowRankMethod):
    """Memory: half the parameters of LoRA, and r activations per token and map."""

    variants: ClassVar[Variants] = (Variant("LoRA-FA", "efficient: memory"),)
    packable: ClassVar[bool] = True
    plain_lora: ClassVar[bool] = True
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of r out."""
        return self.rank * sum(rows for rows, _ in sizes.of_linear(self.targets))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `FrozenALinear`."""
        a.requires_grad = False
        return FrozenALinear(base, a, b, self.scale)


class FrozenALinear(LoRALinear):
    """W x + bias + B (s A x), which keeps only s A x for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = _Through.apply(x, self.a, self.scale)  # type: ignore[no-untyped-call]
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(low.dtype))
        return y


class _Through(torch.autograd.Function):
    """s A x, keeping nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(a)
        ctx.scale = scale
        return functional.linear(x, a.to(x.dtype)) * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (a,) = ctx.saved_tensors
        return (above @ a.to(above.dtype)) * ctx.scale, None, None
