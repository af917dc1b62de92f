"""Compacter against its sum of Kronecker products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.factors import Compacter
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    tuned = apply(tiny_llama(), Compacter(size=8, blocks=4, rank=2))
    shake(tuned, size=0.3)
    sides = {"o_proj": "attention", "down_proj": "mlp"}
    places = tuned.places(("o_proj", "down_proj"))
    adapters = {(p.layer, sides[p.target]): p.linear.adapter for p in places}

    def product(own: torch.nn.Module, x: Tensor) -> Tensor:
        weight = sum(torch.kron(own.rules[i], own.s[i] @ own.t[i]) for i in range(4))
        return x @ weight + own.bias

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        own = adapters[layer, kind]
        return h + product(own.up, functional.gelu(product(own.down, h)))

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-4)


@pytest.mark.parametrize(("blocks", "rank"), [(2, 1), (4, 1), (4, 2)])
def test_a_matrix_has_as_many_numbers_whatever_the_blocks(blocks: int, rank: int) -> None:
    tuned = apply(tiny_llama(), Compacter(size=8, blocks=blocks, rank=rank))
    down = tuned.places(("o_proj",))[0].linear.adapter.down
    assert down.s.numel() + down.t.numel() == rank * (32 + 8)


def test_blocks_divide_the_sizes() -> None:
    with pytest.raises(ConfigError, match="3 blocks do not divide"):
        apply(tiny_llama(), Compacter(blocks=3))
