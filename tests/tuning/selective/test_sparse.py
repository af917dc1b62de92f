"""The sparse update: forward and backward pass, and the choice of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.selective.fish_mask import FishMask
from adwright.tuning.selective.pafi import PaFi
from adwright.tuning.selective.sparse import (
    SparseLinear,
    given_losses,
    kept,
    looked_at,
    plant,
    plant_highest,
)
from adwright.tuning.sizes import Sizes
from tests.support.lm.tuning_methods import tiny_llama


def test_is_the_formula_and_so_are_its_gradients() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4).requires_grad_(False)
    module = SparseLinear(base, torch.tensor([0, 7, 19]))
    module.values.data.normal_()
    x = torch.randn(3, 2, 5, requires_grad=True)
    update = torch.zeros(4, 5)
    for position, value in zip((0, 7, 19), module.values, strict=True):
        update[position // 5, position % 5] = value
    plain = x @ (base.weight + update).T + base.bias
    assert torch.allclose(module(x), plain, atol=1e-6)
    above = torch.randn(3, 2, 4)
    got = torch.autograd.grad(module(x), [x, module.values], above)
    wanted = torch.autograd.grad(plain, [x, module.values], above)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_highest_of_all_maps_together_are_planted() -> None:
    tuned = apply(tiny_llama(), PaFi(fraction=0.01))
    model = tiny_llama()
    places = [place for place in tuned.places(("q_proj",))]
    for place, layer in zip(places, model.model.layers, strict=True):
        place.put(layer.self_attn.q_proj)
    scores = [torch.zeros(32, 32), torch.zeros(32, 32)]
    scores[0][1, 2], scores[1][3, 4], scores[1][0, 0] = 5.0, 7.0, 6.0
    plant_highest(places, scores, 3)
    assert places[0].linear.index.tolist() == [34]
    assert places[1].linear.index.tolist() == [0, 100]


def test_plant_and_kept() -> None:
    sizes = Sizes.of(tiny_llama())
    assert kept(sizes, ("q_proj",), 0.5) == 1024
    assert kept(sizes, ("q_proj",), 0.0) == 1
    tuned = apply(tiny_llama(), PaFi(fraction=0.01, targets=("k_proj",)))
    places = tuned.places(("q_proj",))
    plant(places, [torch.tensor([1]), torch.tensor([2, 3])])
    assert [len(place.linear.values) for place in places] == [1, 2]


def test_a_state_of_the_same_length_is_filled_in_place() -> None:
    module = SparseLinear(nn.Linear(3, 4), torch.tensor([2, 5]))
    values = module.values
    module.resize({"index": torch.tensor([0, 1]), "values": torch.ones(2)})
    assert module.values is values
    module.resize({"index": torch.tensor([0, 1, 4]), "values": torch.ones(3)})
    assert (len(module.index), len(module.values)) == (3, 3)


def test_methods_that_look_at_data_need_losses() -> None:
    with pytest.raises(ConfigError, match="looks at data"):
        apply(tiny_llama(), FishMask())
    tuned = apply(tiny_llama(), PaFi())
    with pytest.raises(ConfigError, match="looks at data"):
        given_losses(tuned)


def test_looked_at_goes_through_the_losses() -> None:
    tuned = apply(tiny_llama(), PaFi())
    tuned.losses = lambda _: (torch.tensor(each) for each in range(3))
    assert [int(loss) for loss in looked_at(tuned, 2)] == [0, 1]
    assert [int(loss) for loss in looked_at(tuned, 5)] == [0, 1, 2]
    assert [int(loss) for loss in looked_at(tuned, 5, again=True)] == [0, 1, 2, 0, 1]
    assert [int(loss) for loss in looked_at(tuned, 3, again=True)] == [0, 1, 2]
    tuned.losses = lambda _: iter(())
    for again in (False, True):
        with pytest.raises(ConfigError, match="no calibration losses"):
            list(looked_at(tuned, 2, again=again))
    # A stream that cannot be read twice ends with an error, not in a loop.
    spent = iter([torch.zeros(())])
    tuned.losses = lambda _: spent
    with pytest.raises(ConfigError, match="no calibration losses"):
        list(looked_at(tuned, 2, again=True))
