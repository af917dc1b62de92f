"""LoRA: a low-rank update beside each frozen map; with rsLoRA's scale and LoRA+'s rates.

Hu et al., 2021, arXiv 2106.09685. With A [r, in], B [out, r], B = 0 at first:

    y = W x + s B (A x)        s = alpha / r;  rsLoRA: s = alpha / sqrt(r)
    count = sum over maps of r (in + out)

rsLoRA (Kalajdzievski, 2023, arXiv 2312.03732) keeps the size of the update when r grows. LoRA+
(Hayou et al., 2024, arXiv 2402.12354) trains B at a rate `rate_ratio` times that of A.

Ours: one autograd function. s multiplies the small product A x, the update is added in place to the
large one, and in mixed precision A and B are cast to the type of x, never x to theirs. It keeps x,
which the graph keeps anyway, and A x for the backward pass. W gets no gradient.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, zeros
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["LoRA", "LoRALinear", "LowRankMethod", "is_packed", "low_rank_count"]


class LowRankMethod(TuningMethod):
    """A method whose maps are a `LoRALinear` or one derived from it: LoRA and its kin, which
    declare these settings as fields, each in its own order.

    rank: r. alpha: over r, the scale s. targets: the maps that get an update.
    """

    default_rate: ClassVar[float] = 3e-3
    mergeable: ClassVar[bool] = True
    rank: int
    alpha: float
    targets: tuple[Target, ...]

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / self.rank

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out)."""
        return low_rank_count(sizes, self.targets, self.rank)

    def attach(self, tuned: Tuned) -> None:
        """Put what `linear` makes in the place of each map, with A drawn and B = 0."""
        for place in tuned.places(self.targets):
            a = tuned.uniform(self.rank, place.linear.in_features)
            b = zeros(place.linear.out_features, self.rank)
            place.put(self.linear(tuned, place.linear, a, b))

    @abstractmethod
    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """Make the module of one map. a: A [r, in]. b: B [out, r]."""


@settings
class LoRA(LowRankMethod):
    """W + s B A on the maps in `targets`.

    rank_stabilised: rsLoRA. rate_ratio: LoRA+; its paper takes 16. dropout: on the x that A sees,
    in training.
    Memory beside the base: 16 bytes per trainable parameter with Adam. Applies to any linear map.
    """

    variants: ClassVar[Variants] = (
        Variant("LoRA", "reparameterised: low rank"),
        Variant(
            "rsLoRA",
            "reparameterised: LoRA derivatives",
            "rank_stabilised",
            (("rank_stabilised", True),),
        ),
        Variant(
            "LoRA+", "reparameterised: LoRA derivatives", "rate_ratio", (("rate_ratio", 16.0),)
        ),
        Variant(
            "QLoRA",
            "efficient: quantisation",
            "--four-bits; never run on a CUDA device",
            instead="--method LoRA --four-bits",
        ),
    )
    packable: ClassVar[bool] = True
    plain_lora: ClassVar[bool] = True
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR
    rank_stabilised: bool = False
    rate_ratio: Annotated[float, Ge(0)] = 1.0
    dropout: Annotated[float, Ge(0)] = 0.0

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A plain `LoRALinear`."""
        return LoRALinear(base, a, b, self.scale, self.dropout)

    def rate(self, name: str) -> float:
        """`rate_ratio` for B, 1 for A."""
        return self.rate_ratio if name.endswith(".b") else 1.0


class LoRALinear(TunedLinear):
    """y = W x + bias + s B A x. a: [r, in]. b: [out, r]."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__(base)
        self.a, self.b, self.scale, self.dropout = a, b, scale, dropout

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        dropping = self.training and self.dropout > 0
        if dropping or is_packed(self.base):
            seen = functional.dropout(x, self.dropout) if dropping else x
            low = functional.linear(seen, self.a.to(x.dtype)) * self.scale
            acts = self.acts(x)
            low = low if acts is None else low * acts
            return self.base(x) + functional.linear(low, self.b.to(x.dtype))  # type: ignore[no-any-return]
        weight, bias = self.base.weight, self.base.bias
        return _LowRank.apply(x, weight, bias, self.a, self.b, self.scale, self.acts(x))  # type: ignore[no-any-return, no-untyped-call]

    def acts(self, x: Tensor) -> Tensor | None:
        """Which tokens get the update, bool [..., 1]; None for all of x [..., in]."""
        return None

    def weight_update(self) -> Tensor:
        """s B A [out, in]; ConfigError where W lies in packed codes."""
        if is_packed(self.base):
            raise ConfigError(
                "an update cannot be added to a weight in packed codes",
                where=type(self.base).__name__,
                hint="load the base unpacked and attach the saved adapter to it, then merge",
            )
        return self.scale * self.b @ self.a


class _LowRank(torch.autograd.Function):
    """y = W x + bias + B (s A x), keeping x and s A x. acts: bool [..., 1], where there is the last
    term; None for everywhere."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        acts: Tensor | None,
    ) -> Tensor:
        y = functional.linear(x, weight, bias)
        flat, into = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        low = functional.linear(flat, a.to(flat.dtype)) * scale
        acts = None if acts is None else acts.reshape(-1, 1)
        low = low if acts is None else low * acts
        into.addmm_(low.to(y.dtype), b.to(y.dtype).T)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale, ctx.acts = scale, acts
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, low = ctx.saved_tensors
        near = above.reshape(-1, above.shape[-1])
        flat = x.reshape(-1, x.shape[-1]).to(near.dtype)
        d_low = (near @ b.to(near.dtype)) * ctx.scale
        d_low = d_low if ctx.acts is None else d_low * ctx.acts
        d_x = d_a = d_b = None
        if ctx.needs_input_grad[0]:
            d_x = near @ weight.to(near.dtype)
            d_x = d_x.addmm_(d_low, a.to(near.dtype)).view(x.shape).to(x.dtype)
        if ctx.needs_input_grad[3]:
            d_a = (d_low.T @ flat).to(a.dtype)
        if ctx.needs_input_grad[4]:
            d_b = (near.T @ low.to(near.dtype)).to(b.dtype)
        return d_x, None, None, d_a, d_b, None, None


def is_packed(base: nn.Linear) -> bool:
    """Say whether the weight is codes that only the map's own forward pass can read, as in
    bitsandbytes' Linear4bit, and not a matrix [out, in] of floats."""
    weight = base.weight
    whole = weight.shape == (base.out_features, base.in_features)
    return not (whole and weight.is_floating_point())


def low_rank_count(sizes: Sizes, targets: tuple[Target, ...], rank: int) -> int:
    """Sum of r (in + out) over the maps of all layers."""
    return rank * sum(rows + columns for rows, columns in sizes.of_linear(targets))
