"""Compacter: adapters whose matrices are sums of Kronecker products with low-rank factors.

Karimi Mahabadi, Henderson & Ruder, NeurIPS 2021, arXiv 2106.04647. Placed as Houlsby's adapters,
each of their matrices is

    W = sum_i A_i (x) (s_i t_i)        A_i [n, n], the same in all of the model; i = 1 ... n
                                       s_i [in / n, r], t_i [r, out / n], of this matrix
    count = n^3 + 2 N (2 r (D + m) + m + D)

with y = x W. The t of the second matrix are 0 at first, so the model is what it was.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.tuning.additive.serial import Activation, AdapterLinear, activated
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import zeros
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["Compacter"]


@settings
class Compacter(TuningMethod):
    """size: m. blocks: n, a divisor of m and D. rank: r. Not mergeable.

    Memory: a matrix has r (D + m) parameters for any n, where that of a serial adapter of the same
    m has m D: it is m D / (r (D + m)) times smaller, about m / r times. The n^3 parameters of the
    A_i are shared by all.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("Compacter", "reparameterised: low rank"),)
    packable: ClassVar[bool] = True
    size: Count = 16
    blocks: Count = 4
    rank: Count = 1
    activation: Activation = "gelu"

    def count(self, sizes: Sizes) -> int:
        """n^3 + 2 N (2 r (D + m) + m + D)."""
        ends = sizes.width + self.size
        return self.blocks**3 + 2 * sizes.layers * (2 * self.rank * ends + ends)

    def attach(self, tuned: Tuned) -> None:
        """Put an adapter after each o_proj and down_proj."""
        width = tuned.sizes.width
        if width % self.blocks or self.size % self.blocks:
            raise ConfigError(
                f"{self.blocks} blocks do not divide width {width} and size {self.size}",
                where="Compacter.blocks",
                hint="take a common divisor of both",
            )
        rules = tuned.normal(self.blocks, self.blocks, self.blocks, std=self.blocks**-0.5)
        for place in tuned.places(("o_proj", "down_proj")):
            down = _PHM(tuned, rules, width, self.size, self.rank, start_at_zero=False)
            up = _PHM(tuned, rules, self.size, width, self.rank, start_at_zero=True)
            place.put(AdapterLinear(place.linear, _Adapter(down, up, self.activation)))


class _PHM(nn.Module):
    """y = x sum_i A_i (x) (s_i t_i) + b, x [..., in]. rules: A [n, n, n]."""

    def __init__(
        self,
        tuned: Tuned,
        rules: nn.Parameter,
        width_in: int,
        width_out: int,
        rank: int,
        *,
        start_at_zero: bool,
    ) -> None:
        super().__init__()
        n = len(rules)
        self.rules, self.bias = rules, zeros(width_out)
        self.s = tuned.normal(n, width_in // n, rank, std=(width_in // n) ** -0.5)
        shape = (n, rank, width_out // n)
        self.t = zeros(*shape) if start_at_zero else tuned.normal(*shape, std=rank**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        n = len(self.rules)
        rows = x.reshape(*x.shape[:-1], n, -1)  # [..., n, in / n]
        rules, s, t = (each.to(x.dtype) for each in (self.rules, self.s, self.t))
        low = torch.einsum("...jk,ikr->...ijr", rows, s)
        mixed = torch.einsum("...ijr,ijl->...ilr", low, rules)
        made = torch.einsum("...ilr,iro->...lo", mixed, t)
        return made.flatten(-2) + self.bias.to(x.dtype)


class _Adapter(nn.Module):
    def __init__(self, down: _PHM, up: _PHM, activation: Activation) -> None:
        super().__init__()
        self.down, self.up, self.activation = down, up, activation

    def forward(self, h: Tensor) -> Tensor:
        update: Tensor = self.up(activated(self.down(h), self.activation))
        return update
