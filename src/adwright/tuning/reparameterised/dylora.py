"""DyLoRA: one training gives LoRAs of every rank up to r.

Valipour et al., EACL 2023, arXiv 2210.07558. In each step a rank b is drawn from 1 ... r, and

    y = W x + (alpha / b) B[:, :b] (A[:b] x)        B = 0 at first
    count = sum over maps of r (in + out)

so the first directions learn to do without the later ones. At inference b is `serve`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.sizes import LINEAR, Target
from adwright.tuning.tuned import Tuned

__all__ = ["DyLoRA", "NestedLinear", "RankSchedule"]


@settings
class DyLoRA(LowRankMethod):
    """serve: b at inference, 0 for r. Memory and place: those of LoRA."""

    variants: ClassVar[Variants] = (
        Variant("DyLoRA", "reparameterised: LoRA derivatives"),
        Variant(
            "QDyLoRA",
            "efficient: quantisation",
            "--four-bits; never run on a CUDA device",
            instead="--method DyLoRA --four-bits",
        ),
    )
    packable: ClassVar[bool] = True
    rank: Count = 8
    serve: Natural = 0
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def __post_init__(self) -> None:
        if self.serve > self.rank:
            raise ConfigError(
                f"rank {self.serve} is served and {self.rank} are trained",
                where="DyLoRA.serve",
                hint="serve at most `rank`",
            )

    def attach(self, tuned: Tuned) -> None:
        """Put a `NestedLinear` in the place of each map, and one schedule beside all of them."""
        super().attach(tuned)
        found = (place.linear for place in tuned.places(self.targets))
        linears = tuple(module for module in found if isinstance(module, NestedLinear))
        tuned.schedule = RankSchedule(linears, self.rank, self.serve or self.rank, tuned.seed)

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `NestedLinear`."""
        return NestedLinear(base, a, b, self.alpha, self.serve or self.rank)


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

    def weight_update(self) -> Tensor:
        """The update [out, in] of rank b."""
        return self.scale / self.used * self.b[:, : self.used] @ self.a[: self.used]


class RankSchedule(nn.Module):
    """Sets b of all maps. linears: a tuple, so that torch does not register them twice."""

    def __init__(self, linears: tuple[NestedLinear, ...], rank: int, used: int, seed: int) -> None:
        super().__init__()
        self.linears, self.rank, self.used, self.seed = linears, rank, used, seed

    def before_step(self, step: int, steps: int) -> None:
        """Draw b from the seed and the step, so that a resumed training draws the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        drawn = int(torch.randint(1, self.rank + 1, (1,), generator=generator))
        for linear in self.linears:
            linear.used = drawn

    def after_step(self, step: int, steps: int) -> None:
        """Restore the rank that inference uses."""
        for linear in self.linears:
            linear.used = self.used
