"""FishMask: the weights with the largest Fisher information are trained.

Sung, Nair & Raffel, "Training Neural Networks with Fixed Sparse Masks", NeurIPS 2021, arXiv
2111.09839:

    F_w = (1 / n) sum_i (d loss_i / d w)^2        the k largest; count = k

over n samples with their labels, the paper's empirical Fisher information. "gradient" squares the
mean gradient instead, SAM of Fu et al., AAAI 2023, arXiv 2211.15583, with all curvatures taken as
1. The scores take one float32 a weight while they are summed.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from adwright.core.config import Count, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.selective.sparse import SparseMethod, calibration_losses
from adwright.tuning.sizes import LINEAR, Target
from adwright.tuning.tuned import Tuned

__all__ = ["FishMask"]


@settings
class FishMask(SparseMethod):
    """samples: how many calibration losses are taken, one per example; all of them where there are
    fewer. criterion: see the module.
    """

    variants: ClassVar[Variants] = (
        Variant("FishMask", "selective: unstructured"),
        Variant(
            "SAM",
            "selective: unstructured",
            "criterion gradient; curvatures taken as 1",
            (("criterion", "gradient"),),
        ),
        Variant(
            "Child-tuning D",
            "selective: unstructured",
            "the same choice; here the other weights have no gradient to mask",
        ),
    )
    fraction: float = 0.005
    samples: Count = 128
    criterion: Literal["fisher", "gradient"] = "fisher"
    targets: tuple[Target, ...] = LINEAR

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """F [out, in] in float32, or the squared mean gradient."""
        scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        for weight in weights:
            weight.requires_grad_(True)
        for loss in calibration_losses(tuned, self.samples):
            gradients = torch.autograd.grad(loss, weights)
            for score, gradient in zip(scores, gradients, strict=True):
                slope = gradient.float()
                score.add_(slope.square() if self.criterion == "fisher" else slope)
        return scores if self.criterion == "fisher" else [score.square() for score in scores]
