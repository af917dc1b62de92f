"""BitDelta: a fully tuned model is kept as one bit a weight beside its base.

Liu et al., "BitDelta: Your Fine-Tune May Only Be Worth One Bit", NeurIPS 2024, arXiv 2402.10193.
With D = W_tuned - W_base of each map:

    W' = W_base + a sign(D)        a_0 = mean |D|, then trained to match the tuned model's logits
    count = maps

`sources` names the folder of a `FullTuning` of the same base. Weights outside the targets (norms,
embedding, head) are those of the base: ours; the paper keeps them as tuned. Not what the base
was at first, as it stands in for the tuned model. Memory: 1/8 byte a weight beside the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.lm.tuning.sizes import LINEAR, Sizes, Target
from adwright.lm.tuning.storage import read_tuned
from adwright.lm.tuning.tuned import DeltaLinear, Family, Tuned, TuningMethod

__all__ = ["BitDelta", "BitDeltaLinear"]


@dataclass(frozen=True)
class BitDelta(TuningMethod):
    """One factor a map on frozen signs; needs one source."""

    family: ClassVar[Family] = "efficient"
    mergeable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """One for each map."""
        return len(sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """A `BitDeltaLinear` in the place of each map."""
        full = {} if tuned.blank else self._source(tuned)
        for place in tuned.places(self.targets):
            linear = place.linear
            name = f"model.{place.name}.weight"
            difference = torch.zeros_like(linear.weight, dtype=torch.float32)
            if full:
                difference = full[name] - linear.weight.detach().float()
            place.put(BitDeltaLinear(linear, difference))

    def _source(self, tuned: Tuned) -> dict[str, Tensor]:
        if len(tuned.sources) != 1:
            raise ConfigError(
                f"one source is needed, {len(tuned.sources)} were given",
                where="BitDelta",
                hint="pass the folder of a saved FullTuning as `sources`",
            )
        stored = read_tuned(tuned.sources[0])
        if stored.method != "FullTuning" or stored.base != tuned.base_fingerprint:
            raise ConfigError(
                "the source is not a full tuning of this base",
                where=str(stored.folder),
                hint="tune this base with FullTuning and save it first",
            )
        return stored.tensors


class BitDeltaLinear(DeltaLinear):
    """W + a sign(D). factor: a [1]. bits: uint8 [ceil(out in / 8)], a bit being D > 0."""

    bits: Tensor

    def __init__(self, base: nn.Linear, difference: Tensor) -> None:
        super().__init__(base)
        self.factor = nn.Parameter(difference.abs().mean()[None])
        self.register_buffer("bits", _packed(difference.reshape(-1) > 0))

    def weight_now(self) -> Tensor:
        """[out, in]."""
        signs = _unpacked(self.bits, self.base.weight.numel()).to(self.factor.dtype) * 2 - 1
        update = (self.factor * signs).view_as(self.base.weight)
        return self.base.weight + update.to(self.base.weight.dtype)


def _packed(bits: Tensor) -> Tensor:
    padded = torch.cat([bits, bits.new_zeros(-len(bits) % 8)]).view(-1, 8)
    return (padded.to(torch.uint8) << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def _unpacked(packed: Tensor, size: int) -> Tensor:
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> places) & 1).reshape(-1)[:size]
