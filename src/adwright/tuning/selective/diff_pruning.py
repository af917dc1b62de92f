"""Diff pruning: an update of all weights that becomes sparse while it is learned.

Guo, Rush & Kim, ACL 2021, arXiv 2012.07463. With a hard-concrete gate z (Louizos, Welling &
Kingma, ICLR 2018, arXiv 1712.01312) for each weight and, structured, one more for each map:

    W' = W + z * w        structured: z = z_weight * z_map
    z = clamp(s (h - l) + l, 0, 1), s = sigma((log u - log(1 - u) + a) / tau), u uniform
    loss += c * expected count of z > 0 = c sum sigma(a - tau log(-l / h))
    count = 2 n, structured 2 n + maps        n: weights of the targets; tau 2/3, l -0.1, h 1.1

tau, l and h are those of Louizos et al.; the authors' code has l = -1.5, h = 1.5 without tau.
w = 0 at first. Outside training nothing is sampled, s = sigma(a), and a gate is 0 below a = -2.4.

That is far from a = 5 at the learning rate of w, so a has its own, 0.1 as in the authors' code.
Adam divides a gate's slope, c sigma'(a + 1.6) from the penalty alone, by its size plus 1e-8: over
100 million weights c n = 0.1 moves no gate, c n = 40 alone closes one in 250 steps at that rate.
The data's share of the slope, and clipping, make that several times as many: in a few hundred
steps most gates stay open and the size of z w alone decides. The authors' c, 1.25e-7 for each of
BERT-large's 335 million weights, is c n = 42; they take thousands of steps.

After training `prune` keeps the `fraction` of updates with the largest size, as the paper's
magnitude projection does, and leaves a sparse update (`sparse`) of that many weights, which is
trained further; `run_tuning` does so through `then`. Memory until then: twice that of full tuning,
the price of the method.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Ge, settings
from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import DeltaLinear, zeros
from adwright.tuning.selective.sparse import SparseLinear, kept, plant_highest
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["DiffLinear", "DiffPruning", "prune"]

_TAU, _LOW, _HIGH = 2 / 3, -0.1, 1.1


@settings
class DiffPruning(TuningMethod):
    """penalty: c n, the penalty while all gates are open. start: a at first. fraction: what
    `prune` keeps. gate_rate_ratio: what the learning rate is multiplied with for gates; a rate of
    5e-4 becomes 0.1. pruned: set by `prune`.
    """

    variants: ClassVar[Variants] = (
        Variant("U-Diff pruning", "selective: unstructured"),
        Variant(
            "S-Diff pruning",
            "selective: structured",
            "structured: gates of maps",
            (("structured", True),),
        ),
    )
    mergeable: ClassVar[bool] = True
    structured: bool = False
    penalty: Annotated[float, Ge(0)] = 40.0
    start: float = 5.0
    fraction: float = 0.005
    gate_rate_ratio: Annotated[float, Ge(0)] = 200.0
    targets: tuple[Target, ...] = LINEAR
    pruned: bool = False

    def count(self, sizes: Sizes) -> int:
        """2 n, with gates of maps where structured; k after `prune`."""
        if self.pruned:
            return kept(sizes, self.targets, self.fraction)
        shapes = sizes.of_linear(self.targets)
        gates = len(shapes) if self.structured else 0
        return 2 * sum(rows * columns for rows, columns in shapes) + gates

    def attach(self, tuned: Tuned) -> None:
        """Put a `DiffLinear` in the place of each map."""
        places = tuned.places(self.targets)
        if self.pruned:
            if not tuned.blank:
                raise ConfigError(
                    "only a trained diff vector can be pruned",
                    where="DiffPruning.pruned",
                    hint="attach it with pruned=False, train, and call `prune`",
                )
            scores = [torch.zeros_like(place.linear.weight) for place in places]
            plant_highest(places, scores, self.count(tuned.sizes))
            return
        weights = sum(rows * columns for rows, columns in tuned.sizes.of_linear(self.targets))
        for place in places:
            cost = self.penalty / weights
            place.put(DiffLinear(place.linear, self.start, cost, structured=self.structured))

    def rate(self, name: str) -> float:
        """`gate_rate_ratio` for gates, of weights and of maps, 1 for w."""
        return self.gate_rate_ratio if name.endswith((".gate", ".whole")) else 1.0

    def then(self, tuned: Tuned) -> bool:
        """`prune`, unless that is done; what it keeps is to be trained further."""
        if not self.pruned:
            prune(tuned)
        return not self.pruned


class DiffLinear(DeltaLinear):
    """W + z * w. update: w [out, in]. gate: a [out, in]. whole: a of the map, or None."""

    def __init__(self, base: nn.Linear, start: float, penalty: float, *, structured: bool) -> None:
        super().__init__(base)
        self.update = zeros(*base.weight.shape)
        self.gate = nn.Parameter(torch.full(base.weight.shape, start))
        self.whole = nn.Parameter(torch.tensor([start])) if structured else None
        self.cost = penalty

    def difference(self) -> Tensor:
        """z * w [out, in], z drawn in training."""
        z = _hard_concrete(self.gate, drawn=self.training)
        if self.whole is not None:
            z = z * _hard_concrete(self.whole, drawn=self.training)
        return z * self.update

    def weight_now(self) -> Tensor:
        """[out, in]."""
        return self.base.weight + self.difference().to(self.base.weight.dtype)

    def penalty(self) -> Tensor:
        """Compute c times the expected count of weights that change."""
        open_ = _chance_of_open(self.gate)
        if self.whole is not None:
            open_ = open_ * _chance_of_open(self.whole)
        return self.cost * open_.sum()


def prune(tuned: Tuned) -> None:
    """Keep the largest `fraction` of the learned differences; changes `tuned` in place.

    Raises ConfigError where the method is another, or pruned already.
    """
    method = tuned.method
    if not isinstance(method, DiffPruning) or method.pruned:
        raise ConfigError("only an unpruned diff vector can be pruned", where=type(method).__name__)
    places = tuned.places(method.targets)
    tuned.eval()
    differences: list[Tensor] = []
    for place in places:
        old = place.linear
        if isinstance(old, DiffLinear):
            differences.append(old.difference().detach())
            place.put(old.base)
    tuned.method = replace(method, pruned=True)
    plant_highest(places, [each.abs() for each in differences], tuned.method.count(tuned.sizes))
    with torch.no_grad():
        for place, difference in zip(places, differences, strict=True):
            now = place.linear
            if isinstance(now, SparseLinear):
                now.values.copy_(difference.reshape(-1)[now.index])


def _hard_concrete(a: Tensor, *, drawn: bool) -> Tensor:
    if drawn:
        u = torch.rand_like(a).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((u.log() - (1 - u).log() + a) / _TAU)
    else:
        soft = torch.sigmoid(a)
    return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def _chance_of_open(a: Tensor) -> Tensor:
    return torch.sigmoid(a - _TAU * math.log(-_LOW / _HIGH))
