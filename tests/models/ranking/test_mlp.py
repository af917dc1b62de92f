from __future__ import annotations

import pytest
import torch
from torch import nn

from adwright.models.ranking.din import Activation, Dice, row_mlp


def test_layers_and_activations_are_those_asked_for() -> None:
    mlp = row_mlp(5, (4, 3), "dice")
    assert [type(layer) for layer in mlp] == [nn.Linear, Dice, nn.Linear, Dice, nn.Linear]
    assert mlp(torch.randn(7, 5)).shape == (7, 1)
    assert [p.shape for p in mlp.parameters() if p.dim() == 2] == [(4, 5), (3, 4), (1, 3)]
    assert isinstance(row_mlp(5, (4,), "prelu")[1], nn.PReLU)


@pytest.mark.parametrize("activation", ["dice", "prelu"])
def test_each_row_has_one_logit_of_its_own(activation: Activation) -> None:
    torch.manual_seed(0)
    mlp = row_mlp(5, (4, 3), activation).eval()
    rows = torch.randn(6, 5)
    together = mlp(rows)
    assert together.shape == (6, 1)
    for row in range(6):
        torch.testing.assert_close(mlp(rows[row : row + 1])[0], together[row])


def test_without_an_activation_at_the_end_a_logit_may_be_anything() -> None:
    torch.manual_seed(0)
    mlp = row_mlp(3, (8,), "prelu")
    logits = mlp(10 * torch.randn(200, 3)).detach()
    assert float(logits.min()) < 0 < float(logits.max())
    assert isinstance(mlp[-1], torch.nn.Linear)


def test_layers_without_activation_would_be_one_matrix() -> None:
    """The activation bends: twice the input is not twice the logit."""
    torch.manual_seed(1)
    for activation in ("dice", "prelu"):
        mlp = row_mlp(3, (6,), activation).eval()
        x = torch.randn(20, 3)
        zero = mlp(torch.zeros(1, 3))
        assert not torch.allclose(mlp(-x) - zero, -(mlp(x) - zero), atol=1e-4)
