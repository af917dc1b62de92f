"""FishMask chooses by summed squared gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.selective.masks import FishMask
from adwright.tuning.tuned import Tuned
from tests.support.lm.tuning_methods import TOKENS, loss_of, losses, tiny_llama


@pytest.mark.parametrize("criterion", ["fisher", "gradient"])
def test_chooses_what_the_formula_chooses(criterion: Literal["fisher", "gradient"]) -> None:
    method = FishMask(0.05, 3, criterion, targets=("v_proj", "down_proj"))
    tuned = apply(tiny_llama(), method, losses=losses)
    model = tiny_llama()
    weights = [
        weight
        for layer in model.model.layers
        for weight in (layer.self_attn.v_proj.weight, layer.mlp.down_proj.weight)
    ]
    scores = [torch.zeros_like(weight) for weight in weights]
    for text in TOKENS[:3]:
        loss = model(text[None], labels=text[None]).loss
        for at, gradient in enumerate(torch.autograd.grad(loss, weights)):
            scores[at] += (gradient**2 if criterion == "fisher" else gradient) / 3
    scores = [score if criterion == "fisher" else score**2 for score in scores]
    flat = torch.cat([score.flatten() for score in scores])
    least = flat.sort(descending=True).values[method.count(tuned.sizes) - 1]
    for place, score in zip(tuned.places(method.targets), scores, strict=True):
        chosen = (score.flatten() >= least).nonzero()[:, 0]
        assert torch.equal(place.linear.index, chosen)


def test_the_number_of_samples_counts() -> None:
    taken = []

    def counted(tuned: object) -> object:
        for loss in losses(tuned):  # type: ignore[arg-type]
            taken.append(1)
            yield loss

    apply(tiny_llama(), FishMask(samples=2), losses=counted)  # type: ignore[arg-type]
    assert len(taken) == 2


def test_fewer_losses_than_samples_are_all_taken_once() -> None:
    def three(tuned: Tuned) -> Iterator[Tensor]:
        return (loss_of(tuned, text[None]) for text in TOKENS[:3])

    many, few = (apply(tiny_llama(), FishMask(0.02, samples), losses=three) for samples in (128, 3))
    for one, other in zip(many.places(("q_proj",)), few.places(("q_proj",)), strict=True):
        assert torch.equal(one.linear.index, other.linear.index)
    with pytest.raises(ConfigError, match="no calibration losses"):
        apply(tiny_llama(), FishMask(), losses=lambda _: iter(()))
