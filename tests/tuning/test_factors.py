"""Compacter against its sum of Kronecker products."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.factors import (
    SAID,
    Compacter,
    KronA,
    SAIDLinear,
    VeRA,
    VeRALinear,
)
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


def test_blocks_divide_the_sizes() -> None:
    with pytest.raises(ConfigError, match="3 blocks do not divide"):
        apply(tiny_llama(), Compacter(blocks=3))


def test_is_the_formula_krona() -> None:
    method = KronA(factor=5, scale=0.5)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        update = torch.zeros_like(weight)
        rows, columns = own.right.shape
        for i in range(len(own.left)):
            for j in range(own.left.shape[1]):
                block = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
                update[block] = own.left[i, j] * own.right
        return x @ (weight + 0.5 * update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_divisors() -> None:
    assert KronA(factor=32).divisor(576) == 32
    assert KronA(factor=5).divisor(48) == 4
    assert KronA(factor=5).divisor(7) == 1


def matrix(size: int) -> Tensor:
    if size == 1:
        return torch.ones(1, 1)
    half = matrix(size // 2)
    return torch.cat([torch.cat([half, half], 1), torch.cat([half, -half], 1)])


def sketched(size: int, drawn: torch.Generator) -> Tensor:
    """P [size, 18]: in each row one +-1, of which columns are drawn first and signs then."""
    columns = torch.randint(1, 19, (size,), generator=drawn, dtype=torch.int32) - 1
    signs = torch.randint(0, 2, (size,), generator=drawn, dtype=torch.int32) * 2.0 - 1
    p = torch.zeros(size, 18)
    for row, (column, sign) in enumerate(zip(columns.tolist(), signs.tolist(), strict=True)):
        p[row, column] = sign
    return p


def fastfood(size: int, drawn: torch.Generator) -> Tensor:
    """P [size, 18]: blocks H G Pi H S / 32, drawn as S, Pi, G of all blocks."""
    blocks, h = -(-size // 32), matrix(32)
    signs = torch.randint(0, 2, (blocks, 32), generator=drawn, dtype=torch.int8) * 2.0 - 1
    orders = torch.rand(blocks, 32, generator=drawn).argsort(1)
    gauss = torch.randn(blocks, 32, generator=drawn)
    made = [
        h @ torch.diag(gauss[at]) @ torch.eye(32)[orders[at]] @ h @ torch.diag(signs[at]) / 32
        for at in range(blocks)
    ]
    return torch.cat(made)[:size, :18]


@pytest.mark.parametrize("projection", ["sketch", "fastfood"])
def test_is_the_formula_said(projection: Literal["sketch", "fastfood"]) -> None:
    method = SAID(dimension=20, projection=projection)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    drawn = torch.Generator().manual_seed(0)
    built = sketched if projection == "sketch" else fastfood
    projections = {at: built(each.base.weight.numel(), drawn) for at, each in modules.items()}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, SAIDLinear)
        update = projections[layer, target] @ own.shared * own.factors[layer]
        return x @ (weight + update.view_as(weight)).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_fastfood_is_its_product_of_matrices() -> None:
    tuned = apply(tiny_llama(), SAID(dimension=18, projection="fastfood"))
    own = tuned.places(("k_proj",))[0].linear.projection
    h = matrix(16)
    for block in range(2):
        turn = torch.eye(16)[own.order[block].long()]
        product = h @ torch.diag(own.gauss[block]) @ turn @ h @ torch.diag(own.sign[block].float())
        t = torch.randn(16)
        made = own(t)[block * 16 : (block + 1) * 16]
        assert torch.allclose(made, product @ t / 16, atol=1e-4)


def test_no_room_beside_the_factors() -> None:
    with pytest.raises(ConfigError, match="2 are factors"):
        apply(tiny_llama(), SAID(dimension=2))


def test_is_the_formula_vera() -> None:
    method = VeRA(rank=5)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.3)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    first = modules[0, "q_proj"]

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, VeRALinear)
        assert own.a is first.a
        rows, columns = weight.shape
        update = torch.diag(own.outer) @ own.b[:rows] @ torch.diag(own.inner) @ own.a[:, :columns]
        return x @ (weight + update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
