"""Add a made-up tuning method, LoRA with a learned gain, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

METHOD = '''"""GainLoRA, made up: LoRA whose update has a learned gain.

    y = W x + g s B (A x)        g = 1, B = 0 at first
    count = sum over maps of r (in + out) + 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from adwright.tuning.modules import Variant, Variants
from adwright.tuning.modules import ones
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.modules import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned

__all__ = ["GainLinear", "GainLoRA"]


@dataclass(frozen=True)
class GainLoRA(LowRankMethod):
    """Memory and place: those of LoRA, and one parameter per map."""

    variants: ClassVar[Variants] = (Variant("GainLoRA", "beyond the survey", "made up"),)
    packable: ClassVar[bool] = True
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + 1."""
        return super().count(sizes) + len(sizes.of_linear(self.targets))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `GainLinear`."""
        return GainLinear(base, a, b, self.scale)


class GainLinear(LoRALinear):
    """W x + bias + g s B A x. gain: g [1]."""

    def __init__(self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float) -> None:
        super().__init__(base, a, b, scale)
        self.gain = ones(1)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = functional.linear(x, self.a.to(x.dtype)) * (self.scale * self.gain).to(x.dtype)
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y

    def weight_update(self) -> Tensor:
        """g s B A [out, in]."""
        return self.gain * super().weight_update()
'''


def put_method(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/tuning/reparameterised/gain_lora.py", METHOD)
    copy.change(
        "adwright/tuning/methods.py",
        (
            "from adwright.tuning.reparameterised.lora import ActivatedLoRA",
            "from adwright.tuning.reparameterised.gain_lora import GainLoRA\n"
            "from adwright.tuning.reparameterised.lora import ActivatedLoRA",
        ),
        ("    | LoRAHub\n", "    | LoRAHub\n    | GainLoRA\n"),
    )
