"""The tensors of a run under flat names, and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adwright.training.loop.optimisers import RowWise
from adwright.training.loop.run_folder import pack, unpack


def test_packed_state_comes_back() -> None:
    def build(seed: int) -> tuple[nn.Module, dict[str, torch.optim.Optimizer]]:
        torch.manual_seed(seed)
        model = nn.ModuleDict({"table": nn.Embedding(5, 2, sparse=True), "linear": nn.Linear(2, 1)})
        model.register_buffer("catalogue", torch.arange(9))
        linear = list(model["linear"].parameters())
        rows = RowWise([model["table"].weight], learning_rate=0.1, rule="adam")
        return model, {"adam": torch.optim.Adam(linear, lr=0.1), "rows": rows}

    model, optimisers = build(0)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        model.zero_grad()
        model["linear"](model["table"](torch.tensor([1, 3, 3]))).sum().backward()
        for optimiser in optimisers.values():
            optimiser.step()
    packed = pack(model, best, optimisers)
    # What never changes is kept once.
    assert "model/catalogue" in packed
    assert {name for name in packed if name.startswith("best/")} == {
        *("best/table.weight", "best/linear.weight", "best/linear.bias")
    }
    other, others = build(1)
    found = unpack(packed, other, others)
    assert found.keys() == best.keys()
    assert all(torch.equal(found[name], value) for name, value in best.items())
    again = pack(other, found, others)
    assert again.keys() == packed.keys()
    assert all(torch.equal(again[name], value) for name, value in packed.items())
    with pytest.raises(ValueError, match="is of another model"):
        unpack(packed, nn.Linear(2, 1), {})


def test_an_optimiser_in_bfloat16_loses_nothing() -> None:
    layer = nn.Linear(2, 1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    state = optimiser.state[layer.weight]
    state["exp_avg"] = state["exp_avg"].bfloat16()
    packed = pack(layer, {}, {"adam": optimiser})
    assert packed["adam/0/exp_avg"].dtype == torch.float32
    assert torch.equal(packed["adam/0/exp_avg"].bfloat16(), state["exp_avg"])
