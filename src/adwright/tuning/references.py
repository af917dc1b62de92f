"""References that methods are measured against: train everything, the head, or the norms.

Full tuning is the reference of every paper on the subject. Norm tuning is a method in its own
right: Zhao et al., "Tuning LayerNorm in Attention", ICLR 2024, arXiv 2312.11420.

    full: count = all parameters        head: V D        norms: (2 N + 1) D in a Llama

They train parameters of the base itself, in its own type: load it in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from adwright.core.errors import ConfigError
from adwright.tuning.modules import Sizes, Variant, Variants, norms
from adwright.tuning.tuned import Tuned, TuningMethod


@dataclass(frozen=True)
class FullTuning(TuningMethod):
    """All parameters. Memory: 16 bytes per parameter with Adam in float32."""

    default_rate: ClassVar[float] = 2.7e-4
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
    """The weights of the norms around attention and MLP, and of the last one. Families differ in
    how many a layer has. Memory: next to none. Applies to any model whose norms have weights."""

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("LayerNorm tuning", "selective: structured"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """All of their weights: (2 N + 1) D in a Llama."""
        return sizes.norms

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze the norms of each layer and the last one."""
        found = norms(tuned.causal)
        if not found:
            raise ConfigError(
                "the norms of this model have no weights",
                where=type(tuned.causal).__name__,
                hint="tune it with another method, such as BitFit",
            )
        for norm in found:
            norm.requires_grad_(True)
