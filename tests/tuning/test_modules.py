"""Linear maps that replace the base's, and the protocols that modules are found by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.tuning.modules import (
    DeltaLinear,
    Penalised,
    Remembering,
    Resizable,
    Scheduled,
    TunedLinear,
    ones,
    zeros,
)
from adwright.tuning.reparameterised.lora_hub import Spread
from adwright.tuning.selective.masks import SparseLinear


class Shifted(TunedLinear):
    """W + 1."""

    def weight_update(self) -> Tensor:
        return torch.ones_like(self.base.weight)


class Doubled(DeltaLinear):
    """2 W."""

    def weight_now(self) -> Tensor:
        return 2 * self.base.weight


def test_an_update_is_added_to_the_weight() -> None:
    base = nn.Linear(3, 2)
    wanted = base.weight.detach() + 1
    assert torch.equal(Shifted(base).merged().weight, wanted)


def test_a_weight_that_is_computed_replaces_the_base_where_merged() -> None:
    base = nn.Linear(3, 2)
    doubled, x = Doubled(base), torch.randn(4, 3)
    before = doubled(x)
    assert torch.allclose(before, 2 * (x @ base.weight.T) + base.bias)
    assert torch.allclose(doubled.merged()(x), before)


def test_what_is_no_update_is_not_merged() -> None:
    with pytest.raises(ConfigError, match="cannot be folded"):
        TunedLinear(nn.Linear(1, 1)).merged()


def test_protocols_find_modules_by_what_they_can() -> None:
    assert not isinstance(nn.Linear(1, 1), Scheduled | Penalised | Remembering | Resizable)
    assert isinstance(Spread(), Remembering)
    assert isinstance(SparseLinear(nn.Linear(1, 1), torch.zeros(1, dtype=torch.int64)), Resizable)


def test_new_parameters_are_trainable() -> None:
    assert zeros(2).tolist() == [0, 0]
    assert ones(2, 1).tolist() == [[1], [1]]
    assert zeros(2).requires_grad
