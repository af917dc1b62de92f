"""SoRA: gates on the r directions of LoRA that a proximal step drives to exactly 0.

Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", EMNLP 2023, arXiv
2311.11696:

    y = W x + s B (g * (A x))        g [r] normal, B = 0 at first
    after step t: g <- sign(g) max(|g| - eta_t lambda, 0)        eta_t: the learning rate
    count = sum over maps of r (in + out) + r

The proximal step is that of an L1 penalty. After training `cut` removes the directions with g = 0,
which leaves the function as it is: count = sum over maps of r_i (in + out) + r_i.

Ours, as the paper's runs have some ten thousand steps and many others some hundred:

* The threshold of step t of T is threshold (1 + cos(pi t / T)) / (T + 1): it falls as the rate of
  `tune` does after its warm-up, and the sum over a run is `threshold`, however long that is. So
  without a gradient the gates with |g| < threshold at first are 0 in the end.
* Gates learn `rate_ratio` times as fast as A and B, or their initial values would decide which of
  them become 0.
* A gate that is 0 stays so: Adam moves a useless gate as far as any other, and would open it again
  as the threshold falls.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import zeros
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned

__all__ = ["GatedLinear", "SoRA", "alive", "cut"]


@settings
class SoRA(LowRankMethod):
    """rank: r at first. threshold: what all steps of a run together subtract from |g|.
    rate_ratio: of the gates' rate to that of A and B. ranks: r of each map, layer by layer; set by
    `cut`. Memory and place: those of LoRA.
    """

    variants: ClassVar[Variants] = (Variant("SoRA", "reparameterised: LoRA derivatives"),)
    packable: ClassVar[bool] = True
    rank: Count = 16
    alpha: float = 16.0
    threshold: Annotated[float, Ge(0)] = 1.0
    targets: tuple[Target, ...] = LINEAR
    rate_ratio: Annotated[float, Ge(0)] = 3.0
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= rank <= self.rank for rank in self.ranks):
            raise ConfigError(
                f"ranks after the cut lie in 0 ... {self.rank}",
                where="SoRA.ranks",
                hint="leave them empty; `cut` sets them",
            )

    def count(self, sizes: Sizes) -> int:
        """Sum of r_i (in + out) + r_i."""
        shapes = sizes.of_linear(self.targets)
        maps = zip(self._ranks(len(shapes)), shapes, strict=True)
        return sum(rank * (rows + columns + 1) for rank, (rows, columns) in maps)

    def attach(self, tuned: Tuned) -> None:
        """Put a `GatedLinear` of its own rank in the place of each map."""
        places = tuned.places(self.targets)
        for place, rank in zip(places, self._ranks(len(places)), strict=True):
            a = tuned.uniform(rank, place.linear.in_features)
            b = zeros(place.linear.out_features, rank)
            place.put(self.linear(tuned, place.linear, a, b))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `GatedLinear` with random gates."""
        gate = tuned.normal(len(a), std=1.0)
        return GatedLinear(base, a, b, gate, self.scale, self.threshold)

    def rate(self, name: str) -> float:
        """`rate_ratio` for the gates, 1 for A and B."""
        return self.rate_ratio if name.endswith(".gate") else 1.0

    def then(self, tuned: Tuned) -> bool:
        """`cut`; the rest is trained already."""
        cut(tuned)
        return False

    def _ranks(self, maps: int) -> tuple[int, ...]:
        if self.ranks and len(self.ranks) != maps:
            raise ConfigError(
                f"{len(self.ranks)} ranks are given for {maps} maps",
                where="SoRA.ranks",
                hint="leave them empty; `cut` sets them",
            )
        return self.ranks or (self.rank,) * maps


class GatedLinear(LoRALinear):
    """W x + bias + s B (g * A x). gate: g [r]. threshold: of all steps of a run together."""

    def __init__(
        self,
        base: nn.Linear,
        a: nn.Parameter,
        b: nn.Parameter,
        gate: nn.Parameter,
        scale: float,
        threshold: float,
    ) -> None:
        super().__init__(base, a, b, scale)
        self.gate, self.threshold = gate, threshold
        self._shut = gate.detach() == 0

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = functional.linear(x, self.a.to(x.dtype)) * (self.scale * self.gate).to(x.dtype)
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y

    def weight_update(self) -> Tensor:
        """s B diag(g) A [out, in]."""
        return self.scale * (self.b * self.gate) @ self.a

    def before_step(self, step: int, steps: int) -> None:
        """Note which gates are 0."""
        self._shut = self.gate.detach() == 0

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Take the proximal step."""
        threshold = self.threshold * (1 + math.cos(math.pi * step / steps)) / (steps + 1)
        shrunk = self.gate.sign() * (self.gate.abs() - threshold).clamp(min=0)
        self.gate.copy_(shrunk.masked_fill(self._shut.to(shrunk.device), 0))

    def cut(self) -> int:
        """Keep the directions with g other than 0, and return how many those are."""
        open_ = self.gate.detach() != 0
        self.a = nn.Parameter(self.a.detach()[open_])
        self.b = nn.Parameter(self.b.detach()[:, open_])
        self.gate = nn.Parameter(self.gate.detach()[open_])
        return len(self.gate)


def alive(tuned: Tuned) -> dict[str, int]:
    """Count the directions with g other than 0, by the name of the map."""
    return {
        name: int((module.gate != 0).sum())
        for name, module in tuned.named_modules()
        if isinstance(module, GatedLinear)
    }


def cut(tuned: Tuned) -> None:
    """Remove the directions with g = 0 from all maps; changes `tuned` in place.

    The function stays the same; `save` then writes the smaller matrices, and further training
    needs a new optimizer. Raises ConfigError where the method is another.
    """
    method = tuned.method
    if not isinstance(method, SoRA):
        raise ConfigError("only the directions of a SoRA can be cut", where=type(method).__name__)
    modules = [place.linear for place in tuned.places(method.targets)]
    ranks = tuple(module.cut() for module in modules if isinstance(module, GatedLinear))
    tuned.method = replace(method, ranks=ranks)
