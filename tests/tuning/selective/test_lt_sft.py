"""LT-SFT chooses what moved most, and rewinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.selective.masks import LTSFT
from adwright.tuning.tuned import Tuned
from tests.support.lm.tuning_methods import (
    TOKENS,
    base_logits,
    logits_of,
    loss_of,
    losses,
    tiny_llama,
)


def chosen_by(tuned: Tuned, method: LTSFT) -> set[tuple[int, int]]:
    """Map and position of each weight that is trained."""
    places = tuned.places(method.targets)
    return {(at, i) for at, place in enumerate(places) for i in place.linear.index.tolist()}


def test_chooses_what_the_formula_chooses() -> None:
    method = LTSFT(fraction=0.02, steps=2, learning_rate=1e-3, targets=("o_proj",))
    tuned = apply(tiny_llama(), method, losses=losses)
    model = tiny_llama().requires_grad_(False)
    weights = [layer.self_attn.o_proj.weight.requires_grad_(True) for layer in model.model.layers]
    before = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for text in TOKENS[:2]:
        optimizer.zero_grad()
        model(text[None], labels=text[None]).loss.backward()
        optimizer.step()
    moved = [(now - then).abs() for now, then in zip(weights, before, strict=True)]
    flat = torch.cat([each.flatten() for each in moved])
    least = flat.sort(descending=True).values[method.count(tuned.sizes) - 1]
    chosen = {
        (at, i)
        for at, each in enumerate(moved)
        for i in (each.flatten() >= least).nonzero()[:, 0].tolist()
    }
    # Adam's first steps move many weights by nearly the same: ties may fall either way.
    found = chosen_by(tuned, method)
    assert len(found & chosen) >= 0.9 * len(found)
    assert torch.allclose(logits_of(tuned), base_logits(), atol=1e-6)


def test_a_bfloat16_base_chooses_as_a_float32_one() -> None:
    method = LTSFT(fraction=0.1, steps=40, targets=("v_proj", "down_proj"))
    rounded = tiny_llama().to(torch.bfloat16)
    narrow = apply(rounded, method, losses=losses)
    wide = apply(tiny_llama().to(torch.bfloat16).float(), method, losses=losses)
    one, other = chosen_by(narrow, method), chosen_by(wide, method)
    # Gradients are rounded; steps that were would leave hardly more than chance in common.
    assert len(one & other) >= 0.9 * len(one)
    original = tiny_llama().to(torch.bfloat16)
    for target in method.targets:
        for layer, place in enumerate(narrow.places((target,))):
            block = original.model.layers[layer]
            name = "self_attn" if target == "v_proj" else "mlp"
            assert torch.equal(
                place.linear.base.weight, getattr(getattr(block, name), target).weight
            )


def test_goes_through_the_losses_until_its_steps_are_taken() -> None:
    begun: list[int] = []
    taken: list[int] = []

    def three(tuned: Tuned) -> Iterator[Tensor]:
        begun.append(1)
        for text in TOKENS[:3]:
            taken.append(1)
            yield loss_of(tuned, text[None])

    method = LTSFT(fraction=0.02, steps=7, learning_rate=1e-3)
    tuned = apply(tiny_llama(), method, losses=three)
    assert (len(begun), len(taken)) == (3, 7)

    def seven(tuned: Tuned) -> Iterator[Tensor]:
        return (loss_of(tuned, TOKENS[step % 3][None]) for step in range(7))

    once = apply(tiny_llama(), method, losses=seven)
    assert chosen_by(once, method) == chosen_by(tuned, method)


def test_without_losses_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no calibration losses"):
        apply(tiny_llama(), LTSFT(), losses=lambda _: iter(()))
