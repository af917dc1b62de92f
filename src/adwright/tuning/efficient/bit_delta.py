"""BitDelta: a fully tuned model is stored as one bit per weight beside its base.

Liu et al., "BitDelta: Your Fine-Tune May Only Be Worth One Bit", NeurIPS 2024, arXiv 2402.10193.
With D = W_tuned - W_base of each map:

    W' = W_base + a sign(D)        a_0 = mean |D|, then trained; sign(0) = -1
    y = W_base x + a (sign(D) x)
    count = maps

`sources` names the folder of a `FullTuning` of the same base. The model is not at first what the
base was, as it stands for the tuned model. Memory: 1/8 byte per weight beside the base.

Ours: the factors are trained on whatever loss the loop has, in `tune` the cross-entropy of the
answers; the paper distils them from the tuned model's logits, and the loop has no such teacher.
Weights outside the targets (norms, embedding, head) are those of the base; the paper
keeps them as tuned.

A base in bfloat16: the two products are added, not the weights, where an update below the spacing
of W would be lost. D is the difference in float32 of the stored weights and the given base: where
the source was tuned on a base in float32, D contains what rounding the base lost, and small
updates get the sign of the rounding. Attach to the base in float32 and save: that adapter has the
bits of the true D, and loads on both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import DeltaLinear
from adwright.tuning.references import FullTuning
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["BitDelta", "BitDeltaLinear"]


@dataclass(frozen=True)
class BitDelta(TuningMethod):
    """One factor per map on frozen signs; needs one source."""

    variants: ClassVar[Variants] = (
        Variant(
            "BitDelta",
            "efficient: quantisation",
            "the targets' weights only; its factors learn from answers, without a teacher",
        ),
    )
    mergeable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """One per map."""
        return len(sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `BitDeltaLinear` in the place of each map."""
        states = tuned.source_states(FullTuning, 1, {})
        for place in tuned.places(self.targets):
            linear = place.linear
            name = f"model.{place.name}.weight"
            difference = torch.zeros_like(linear.weight, dtype=torch.float32)
            if states:
                difference = states[0][name] - linear.weight.detach().float()
            place.put(BitDeltaLinear(linear, difference))


class BitDeltaLinear(DeltaLinear):
    """W x + bias + a sign(D) x. factor: a [1]. bits: uint8 [ceil(out in / 8)], a bit being D > 0.

    difference: D [out, in] in float32.
    """

    bits: Tensor

    def __init__(self, base: nn.Linear, difference: Tensor) -> None:
        super().__init__(base)
        self.factor = nn.Parameter(difference.abs().mean()[None])
        self.register_buffer("bits", _packed(difference.reshape(-1) > 0))

    def signs(self, kind: torch.dtype) -> Tensor:
        """sign(D) [out, in] in any floating type, all of which hold +-1 exactly."""
        weight = self.base.weight
        return (_unpacked(self.bits, weight.numel()).to(kind) * 2 - 1).view_as(weight)

    def weight_now(self) -> Tensor:
        """[out, in], in float32."""
        return self.base.weight.float() + self.factor * self.signs(self.factor.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y: Tensor = self.base(x)
        return y + (self.factor * functional.linear(x, self.signs(x.dtype))).to(y.dtype)


def _packed(bits: Tensor) -> Tensor:
    padded = torch.cat([bits, bits.new_zeros(-len(bits) % 8)]).view(-1, 8)
    return (padded.to(torch.uint8) << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def _unpacked(packed: Tensor, size: int) -> Tensor:
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> places) & 1).reshape(-1)[:size]
