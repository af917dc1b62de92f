"""LT-SFT: the weights that moved most in a short full tuning are trained again from the start.

Ansell, Ponti, Korhonen & Vulic, "Composable Sparse Fine-Tuning for Cross-Lingual Transfer", ACL
2022, arXiv 2110.07560, after the lottery tickets of Frankle & Carbin:

    1. train all targets' weights for some steps        theta_0 -> theta_1
    2. keep the k largest |theta_1 - theta_0|, rewind to theta_0, train these        count = k

The first phase costs what full tuning costs; it runs inside `attach`, on the calibration losses,
one step of Adam for each, and goes through them again until it has its steps. theta_1 is kept in
float32 whatever the base is in, and the base's weights follow it, rounded: in bfloat16 a step of
5e-5 is less than half of what tells a weight of 0.02 from its neighbour, and would leave no trace.
Beside the base it takes, in bytes for each weight of the targets,

    4 theta_1 + 4 its gradient + 8 moments of Adam + 4 theta_0, 2 of a bfloat16 base
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from adwright.core.config import Count, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.selective.sparse import SparseMethod, calibration_losses
from adwright.tuning.sizes import LINEAR, Target
from adwright.tuning.tuned import Tuned

__all__ = ["LTSFT"]


@settings
class LTSFT(SparseMethod):
    """steps, learning_rate: of phase 1, whose memory the module states."""

    variants: ClassVar[Variants] = (Variant("LT-SFT", "selective: unstructured"),)
    fraction: float = 0.005
    steps: Count = 100
    learning_rate: float = 5e-5
    targets: tuple[Target, ...] = LINEAR

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """|theta_1 - theta_0| [out, in] in float32; the weights are theta_0 again afterwards."""
        before = [weight.detach().clone() for weight in weights]
        masters = [first.to(torch.float32, copy=True) for first in before]
        optimizer = torch.optim.AdamW(masters, lr=self.learning_rate, weight_decay=0.0)
        for weight in weights:
            weight.requires_grad_(True)
        for loss in calibration_losses(tuned, self.steps, again=True):
            loss.backward()  # type: ignore[no-untyped-call]
            for master, weight in zip(masters, weights, strict=True):
                master.grad = None if weight.grad is None else weight.grad.float()
                weight.grad = None
            optimizer.step()
            optimizer.zero_grad()
            _fill(weights, masters)
        _fill(weights, before)
        return [
            (master - first.float()).abs() for master, first in zip(masters, before, strict=True)
        ]


def _fill(weights: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
