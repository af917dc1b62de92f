"""DyLoRA: one training gives LoRAs of every rank up to r.

Valipour et al., EACL 2023, arXiv 2210.07558. In each step a rank b is drawn from 1 ... r, and

    y = W x + (alpha / b) B[:, :b] (A[:b] x)        B = 0 at first
    count = sum over maps of r (in + out)

so the first directions learn to do without the later ones. In use b is `serve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.tuning.reparameterised.lora import LoRALinear, low_rank_count
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Family, Tuned, TuningMethod, at_least, zeros

__all__ = ["DyLoRA", "NestedLinear", "RankSchedule"]


@dataclass(frozen=True)
class DyLoRA(TuningMethod):
    """rank: r. serve: b in use, 0 for r. Memory and place: those of LoRA."""

    family: ClassVar[Family] = "reparameterised"
    mergeable: ClassVar[bool] = True
    rank: int = 8
    serve: int = 0
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "rank")
        at_least(self, 0, "serve")
        if self.serve > self.rank:
            raise ConfigError(
                f"rank {self.serve} is served and {self.rank} are trained",
                where="DyLoRA.serve",
                hint="serve at most `rank`",
            )

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out)."""
        return low_rank_count(sizes, self.targets, self.rank)

    def attach(self, tuned: Tuned) -> None:
        """A `NestedLinear` in the place of each map, and a schedule for all of them."""
        used = self.serve or self.rank
        linears = []
        for place in tuned.places(self.targets):
            a = tuned.uniform(self.rank, place.linear.in_features)
            b = zeros(place.linear.out_features, self.rank)
            linears.append(NestedLinear(place.linear, a, b, self.alpha, used))
            place.put(linears[-1])
        tuned.schedule = RankSchedule(tuple(linears), self.rank, used, tuned.seed)


class NestedLinear(LoRALinear):
    """W x + bias + (alpha / b) B[:, :b] A[:b] x. used: b."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, alpha: float, used: int
    ) -> None:
        super().__init__(base, a, b, alpha)
        self.used = used

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = functional.linear(x, self.a[: self.used].to(x.dtype)) * (self.scale / self.used)
        y: Tensor = self.base(x) + functional.linear(low, self.b[:, : self.used].to(x.dtype))
        return y

    def merged(self) -> nn.Linear:
        """The base with the update of rank b."""
        with torch.no_grad():
            update = self.scale / self.used * self.b[:, : self.used] @ self.a[: self.used]
            self.base.weight.add_(update.to(self.base.weight.dtype))
        return self.base


class RankSchedule(nn.Module):
    """Sets b of all maps. linears: a tuple, so that they are no submodules a second time."""

    def __init__(self, linears: tuple[NestedLinear, ...], rank: int, used: int, seed: int) -> None:
        super().__init__()
        self.linears, self.rank, self.used, self.seed = linears, rank, used, seed

    def before_step(self, step: int, steps: int) -> None:
        """Draw b: from the seed and the step, so a resumed training draws the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        drawn = int(torch.randint(1, self.rank + 1, (1,), generator=generator))
        for linear in self.linears:
            linear.used = drawn

    def after_step(self, step: int, steps: int) -> None:
        """As in use."""
        for linear in self.linears:
            linear.used = self.used
