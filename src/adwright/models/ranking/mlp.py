"""The MLP on top of every fine ranker: from what is known of a row to its logit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from adwright.models.ranking.activation_unit import Activation
from adwright.models.ranking.dice import Dice

__all__ = ["row_mlp"]


def row_mlp(inputs: int, hidden: Sequence[int], activation: Activation) -> nn.Sequential:
    """Linear layers [T, inputs] to [T, 1], with `activation` after each but the last.

    hidden: units of the layers between.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers.append(nn.Linear(before, after))
        layers.append(Dice(after) if activation == "dice" else nn.PReLU(after))
    return nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], 1))
