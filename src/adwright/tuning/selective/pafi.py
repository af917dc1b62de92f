"""PaFi: the weights that are smallest in the base are trained; no data are needed to choose them.

Liao, Meng & Monz, "Parameter-Efficient Fine-Tuning without Introducing New Latency", ACL 2023,
arXiv 2305.16742:

    the k weights with the least |w|        count = k

The idea: weights of large magnitude hold what pretraining learnt, and are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.selective.sparse import SparseMethod
from adwright.tuning.sizes import LINEAR, Target
from adwright.tuning.tuned import Tuned

__all__ = ["PaFi"]


@dataclass(frozen=True)
class PaFi(SparseMethod):
    """The scores are -|w|."""

    variants: ClassVar[Variants] = (Variant("PaFi", "selective: unstructured"),)
    fraction: float = 0.005
    targets: tuple[Target, ...] = LINEAR

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """-|w| [out, in] in float32."""
        return [-weight.detach().abs().float() for weight in weights]
