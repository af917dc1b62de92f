"""LT-SFT: the weights that moved most in a short full tuning are trained again from the start.

Ansell, Ponti, Korhonen & Vulic, "Composable Sparse Fine-Tuning for Cross-Lingual Transfer", ACL
2022, arXiv 2110.07560, after the lottery tickets of Frankle & Carbin:

    1. train all targets' weights for some steps        theta_0 -> theta_1
    2. keep the k largest |theta_1 - theta_0|, rewind to theta_0, train these        count = k

The first phase costs what full tuning costs, 16 bytes a weight; it runs inside `attach`, on the
calibration losses, one step of Adam for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from adwright.lm.tuning.sizes import LINEAR, Sizes, Target
from adwright.lm.tuning.sparse import given_losses, kept, plant_highest
from adwright.lm.tuning.tuned import Family, Tuned, TuningMethod, at_least

__all__ = ["LTSFT"]


@dataclass(frozen=True)
class LTSFT(TuningMethod):
    """fraction: of the targets' weights that are trained. steps, learning_rate: of phase 1."""

    family: ClassVar[Family] = "unstructured selective"
    mergeable: ClassVar[bool] = True
    fraction: float = 0.005
    steps: int = 100
    learning_rate: float = 5e-5
    targets: tuple[Target, ...] = LINEAR

    def __post_init__(self) -> None:
        at_least(self, 1, "steps")

    def count(self, sizes: Sizes) -> int:
        """k."""
        return kept(sizes, self.targets, self.fraction)

    def attach(self, tuned: Tuned) -> None:
        """Phase 1, rewind, and the k weights that moved most."""
        places = tuned.places(self.targets)
        weights = [place.linear.weight for place in places]
        before = [weight.detach().clone() for weight in weights]
        if not tuned.blank:
            losses = given_losses(tuned)
            for weight in weights:
                weight.requires_grad_(True)
            optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=0.0)
            for _, loss in zip(range(self.steps), losses(tuned), strict=False):
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            tuned.model.requires_grad_(False)
        scores = [
            (weight.detach() - first).abs().float()
            for weight, first in zip(weights, before, strict=True)
        ]
        with torch.no_grad():
            for weight, first in zip(weights, before, strict=True):
                weight.copy_(first)
                weight.grad = None
        plant_highest(places, scores, self.count(tuned.sizes))
