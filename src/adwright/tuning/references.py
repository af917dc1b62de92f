"""References that methods are measured against: train everything, the head, or the norms.

Full tuning is the reference of every paper on the subject. Norm tuning is a method in its own
right: Zhao et al., "Tuning LayerNorm in Attention", ICLR 2024, arXiv 2312.11420.

    full: count = all parameters        head: V D        norms: (2 N + 1) D

They train parameters of the base itself, in its own type: load it in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["FullTuning", "HeadOnly", "NormTuning"]


@dataclass(frozen=True)
class FullTuning(TuningMethod):
    """All parameters. Memory: 16 bytes per parameter with Adam in float32."""

    variants: ClassVar[Variants] = (Variant("full tuning", "references"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """All, a tied head counted once."""
        return sizes.parameters

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze everything."""
        tuned.model.requires_grad_(True)


@dataclass(frozen=True)
class HeadOnly(TuningMethod):
    """The head. No gradient goes through the backbone. A tied head is untied first, or the
    embedding would be trained with it; merged, such a model is stored with both.
    """

    variants: ClassVar[Variants] = (Variant("head only", "references"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """V D."""
        return sizes.vocabulary * sizes.width

    def attach(self, tuned: Tuned) -> None:
        """Give the head its own weight, and unfreeze it."""
        head = tuned.causal.lm_head
        head.weight = nn.Parameter(head.weight.detach().clone())


@dataclass(frozen=True)
class NormTuning(TuningMethod):
    """The weights of the RMS norms. Memory: next to none. Applies to any model with norms."""

    variants: ClassVar[Variants] = (Variant("LayerNorm tuning", "selective: structured"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """(2 N + 1) D."""
        return (2 * sizes.layers + 1) * sizes.width

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze the norms of each layer and the last one."""
        norms = [tuned.causal.model.norm]
        for layer in tuned.layers():
            norms += [layer.input_layernorm, layer.post_attention_layernorm]
        for norm in norms:
            norm.requires_grad_(True)
