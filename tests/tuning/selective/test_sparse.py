"""The sparse update: forward and backward pass, and the choice of weights."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.modules import Sizes, Target
from adwright.tuning.selective.masks import (
    FishMask,
    PaFi,
    SparseLinear,
    SparseMethod,
    calibration_losses,
    kept,
    plant_highest,
)
from adwright.tuning.tuned import Tuned
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


def test_the_share_that_is_kept() -> None:
    sizes = Sizes.of(tiny_llama())
    assert kept(sizes, ("q_proj",), 0.5) == 1024
    assert kept(sizes, ("q_proj",), 0.0) == 1


@dataclass(frozen=True)
class ByPosition(SparseMethod):
    """The first weights of the first map."""

    fraction: float = 0.001
    targets: tuple[Target, ...] = ("q_proj", "k_proj")

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        sizes = [weight.numel() for weight in weights]
        order = torch.arange(sum(sizes), 0, -1, dtype=torch.float32).split(sizes)
        return [each.view_as(weight) for each, weight in zip(order, weights, strict=True)]


def test_a_method_of_scores_trains_the_highest() -> None:
    method = ByPosition()
    tuned = Tuned(tiny_llama(), method)
    places = tuned.places(method.targets)
    assert tuned.count() == method.count(tuned.sizes) == 3
    assert [place.linear.index.tolist() for place in places] == [[0, 1, 2], [], [], []]
    assert not places[0].linear.base.weight.requires_grad


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
        next(calibration_losses(tuned, 1))


def test_calibration_goes_through_the_losses() -> None:
    tuned = apply(tiny_llama(), PaFi())
    tuned.losses = lambda _: (torch.tensor(each) for each in range(3))
    assert [int(loss) for loss in calibration_losses(tuned, 2)] == [0, 1]
    assert [int(loss) for loss in calibration_losses(tuned, 5)] == [0, 1, 2]
    assert [int(loss) for loss in calibration_losses(tuned, 5, again=True)] == [0, 1, 2, 0, 1]
    assert [int(loss) for loss in calibration_losses(tuned, 3, again=True)] == [0, 1, 2]
    tuned.losses = lambda _: iter(())
    for again in (False, True):
        with pytest.raises(ConfigError, match="no calibration losses"):
            list(calibration_losses(tuned, 2, again=again))
    # A stream that cannot be read twice ends with an error, not in a loop.
    spent = iter([torch.zeros(())])
    tuned.losses = lambda _: spent
    with pytest.raises(ConfigError, match="no calibration losses"):
        list(calibration_losses(tuned, 2, again=True))
