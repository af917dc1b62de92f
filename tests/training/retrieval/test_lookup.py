from __future__ import annotations

import torch
from torch import nn

from adwright.training.retrieval.artifact import Lookup, embed_catalogue, with_vectors


class Scaled(nn.Module):
    """An item tower and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.item = nn.Embedding(20_000, 3)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.item(codes) * self.scale


def test_the_table_stands_in_for_the_tower() -> None:
    model, codes = Scaled(), torch.tensor([19_999, 0, 8192])
    before = model(codes).detach()
    served = with_vectors(model, embed_catalogue(model.item, 20_000))
    assert torch.equal(served(codes), before)
    # The model itself keeps its tower, and they share the rest.
    with torch.no_grad():
        model.item.weight.zero_()
        model.scale.fill_(3.0)
    assert torch.equal(model(codes), torch.zeros(3, 3))
    assert torch.allclose(served(codes), before * 1.5)


def test_a_table_is_no_weight() -> None:
    assert Lookup(torch.zeros(2, 2)).state_dict() == {}
