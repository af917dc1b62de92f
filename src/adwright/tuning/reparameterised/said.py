"""Intrinsic SAID: all weights move along one random subspace, with one factor for each layer.

Aghajanyan, Zettlemoyer & Gupta, "Intrinsic Dimensionality Explains the Effectiveness of Language
Model Fine-Tuning", ACL 2021, arXiv 2012.13255:

    W_i' = W_i + lambda_l P_i t        t [d - N] = 0, lambda [N] = 1 at first, P_i random
    count = d

"fastfood" (Le, Sarlos & Smola, ICML 2013, arXiv 1408.3060) has for each block of d' coordinates,
d' the power of 2 above d - N, P = H G Pi H S / d': random signs S, a permutation Pi, normal G,
and the Walsh-Hadamard transform H. "sketch", ours for speed: each weight takes one coordinate of
t with a random sign, so P has orthogonal columns and costs one look-up per weight.

Both keep random values of the size of the model while training: 4 bytes per weight for the sketch,
9 for fastfood. They are drawn again from the seed when an adapter is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import DeltaLinear, ones, zeros
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["SAID", "SAIDLinear", "hadamard"]


@dataclass(frozen=True)
class SAID(TuningMethod):
    """dimension: d, the factors of the layers included. Applies to any linear map."""

    variants: ClassVar[Variants] = (Variant("intrinsic SAID", "reparameterised: low rank"),)
    mergeable: ClassVar[bool] = True
    dimension: int = 1000
    projection: Literal["fastfood", "sketch"] = "sketch"
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """d."""
        return self.dimension

    def attach(self, tuned: Tuned) -> None:
        """Put a `SAIDLinear` in the place of each map, all with the same t."""
        inner = self.dimension - tuned.sizes.layers
        if inner < 1:
            raise ConfigError(
                f"of {self.dimension} dimensions {tuned.sizes.layers} are factors of layers",
                where="SAID.dimension",
                hint=f"set it above {tuned.sizes.layers}",
            )
        shared, factors = zeros(inner), ones(tuned.sizes.layers)
        for place in tuned.places(self.targets):
            size = place.linear.weight.numel()
            projection: nn.Module
            if self.projection == "sketch":
                projection = _Sketch(inner, size, tuned.generator)
            else:
                projection = _Fastfood(inner, size, tuned.generator)
            place.put(SAIDLinear(place.linear, projection, shared, factors, place.layer))


class SAIDLinear(DeltaLinear):
    """W + lambda_l P t. shared: t [d - N]. factors: lambda [N]. layer: l."""

    def __init__(
        self,
        base: nn.Linear,
        projection: nn.Module,
        shared: nn.Parameter,
        factors: nn.Parameter,
        layer: int,
    ) -> None:
        super().__init__(base)
        self.projection, self.shared, self.factors, self.layer = projection, shared, factors, layer

    def weight_now(self) -> Tensor:
        """[out, in]."""
        update: Tensor = self.factors[self.layer] * self.projection(self.shared)
        now: Tensor = self.base.weight + update.view_as(self.base.weight).to(self.base.weight.dtype)
        return now


class _Sketch(nn.Module):
    """t [d] to [n]: +-t at a random coordinate, whose sign is that of the stored index."""

    place: Tensor

    def __init__(self, inner: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        place = torch.randint(1, inner + 1, (size,), generator=generator, dtype=torch.int32)
        sign = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int32) * 2 - 1
        self.register_buffer("place", place * sign, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        signed = torch.cat([t, -t])
        at = torch.where(self.place > 0, self.place - 1, len(t) - 1 - self.place)
        return signed[at]


class _Fastfood(nn.Module):
    """t [d] to [n] by blocks of H G Pi H S t / d'."""

    sign: Tensor
    order: Tensor
    gauss: Tensor

    def __init__(self, inner: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        width = 1 << (inner - 1).bit_length()
        blocks = -(-size // width)
        sign = torch.randint(0, 2, (blocks, width), generator=generator, dtype=torch.int8) * 2 - 1
        order = torch.rand(blocks, width, generator=generator).argsort(1).to(torch.int32)
        self.size, self.width = size, width
        self.register_buffer("sign", sign, persistent=False)
        self.register_buffer("order", order, persistent=False)
        gauss = torch.randn(blocks, width, generator=generator)
        self.register_buffer("gauss", gauss, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        padded = torch.cat([t, t.new_zeros(self.width - len(t))])
        mixed = hadamard(padded * self.sign).gather(1, self.order.long())
        # Each H multiplies by sqrt(d'): divided by d', the update is of the size of t.
        made = hadamard(mixed * self.gauss) / self.width
        return made.reshape(-1)[: self.size]


def hadamard(x: Tensor) -> Tensor:
    """Compute the Walsh-Hadamard transform of [..., n], n a power of 2: entries +-1, not normed."""
    width, step = x.shape[-1], 1
    shape = x.shape
    while step < width:
        pairs = x.reshape(*shape[:-1], width // (2 * step), 2, step)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack([first + second, first - second], -2)
        step *= 2
    return x.reshape(shape)
