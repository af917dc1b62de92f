"""FishMask: the weights with the largest Fisher information are trained.

Sung, Nair & Raffel, "Training Neural Networks with Fixed Sparse Masks", NeurIPS 2021, arXiv
2111.09839:

    F_w = (1 / n) sum_i (d loss_i / d w)^2        the k largest; count = k

over n samples with their labels, the paper's empirical Fisher information. "gradient" squares the
mean gradient instead, SAM of Fu et al., AAAI 2023, arXiv 2211.15583, with all curvatures taken as
1. The scores take one float32 a weight while they are summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.selective.sparse import kept, looked_at, plant_highest
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod, at_least

__all__ = ["FishMask"]


@dataclass(frozen=True)
class FishMask(TuningMethod):
    """fraction: of the targets' weights that are trained. samples: how many calibration losses
    are taken, one for each example; all of them where there are fewer. criterion: see the module.
    Memory and place: see `sparse`.
    """

    variants: ClassVar[Variants] = (
        Variant("FishMask", "selective: unstructured"),
        Variant("SAM", "selective: unstructured", "criterion gradient; curvatures taken as 1"),
        Variant(
            "Child-tuning D",
            "selective: unstructured",
            "the same choice; here the other weights have no gradient to mask",
        ),
    )
    mergeable: ClassVar[bool] = True
    fraction: float = 0.005
    samples: int = 128
    criterion: Literal["fisher", "gradient"] = "fisher"
    targets: tuple[Target, ...] = LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "samples")

    def count(self, sizes: Sizes) -> int:
        """k."""
        return kept(sizes, self.targets, self.fraction)

    def attach(self, tuned: Tuned) -> None:
        """Sum squared gradients, then train the k largest.

        Raises ConfigError without calibration losses.
        """
        places = tuned.places(self.targets)
        weights = [place.linear.weight for place in places]
        scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        if not tuned.blank:
            for weight in weights:
                weight.requires_grad_(True)
            for loss in looked_at(tuned, self.samples):
                gradients = torch.autograd.grad(loss, weights)
                for score, gradient in zip(scores, gradients, strict=True):
                    mass = gradient.float()
                    score.add_(mass.square() if self.criterion == "fisher" else mass)
            tuned.model.requires_grad_(False)
            if self.criterion == "gradient":
                scores = [score.square() for score in scores]
        plant_highest(places, scores, self.count(tuned.sizes))
