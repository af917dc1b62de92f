from __future__ import annotations

import torch
from torch import nn

from adwright.models.ranking.dice import Dice
from adwright.models.ranking.mlp import row_mlp


def test_layers_and_activations_are_those_asked_for() -> None:
    mlp = row_mlp(5, (4, 3), "dice")
    assert [type(layer) for layer in mlp] == [nn.Linear, Dice, nn.Linear, Dice, nn.Linear]
    assert mlp(torch.randn(7, 5)).shape == (7, 1)
    assert [p.shape for p in mlp.parameters() if p.dim() == 2] == [(4, 5), (3, 4), (1, 3)]
    assert isinstance(row_mlp(5, (4,), "prelu")[1], nn.PReLU)
