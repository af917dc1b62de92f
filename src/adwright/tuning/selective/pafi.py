"""PaFi: the weights that are smallest in the base are trained; no data are needed to choose them.

Liao, Meng & Monz, "Parameter-Efficient Fine-Tuning without Introducing New Latency", ACL 2023,
arXiv 2305.16742:

    the k weights with the least |w|        count = k

Their thought: weights of large magnitude hold what pretraining learnt, and are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.selective.sparse import kept, plant_highest
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["PaFi"]


@dataclass(frozen=True)
class PaFi(TuningMethod):
    """fraction: of the targets' weights that are trained. Memory and place: see `sparse`."""

    variants: ClassVar[Variants] = (Variant("PaFi", "selective: unstructured"),)
    mergeable: ClassVar[bool] = True
    fraction: float = 0.005
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """k."""
        return kept(sizes, self.targets, self.fraction)

    def attach(self, tuned: Tuned) -> None:
        """Train the k smallest."""
        places = tuned.places(self.targets)
        scores = [-place.linear.weight.detach().abs().float() for place in places]
        plant_highest(places, scores, self.count(tuned.sizes))
