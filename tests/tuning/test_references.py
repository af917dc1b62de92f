"""Full tuning, the head alone, the norms alone."""

from __future__ import annotations

import torch

from adwright.tuning.methods import apply
from adwright.tuning.references import FullTuning, HeadOnly, NormTuning
from tests.support.lm.tuning_methods import loss_of, tiny_llama


def test_full_tuning_trains_everything() -> None:
    tuned = apply(tiny_llama(), FullTuning())
    assert tuned.count() == tiny_llama().num_parameters()


def test_a_tied_head_is_untied() -> None:
    model = tiny_llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    tuned = apply(model, HeadOnly())
    assert [name for name, _ in tuned.named_parameters()] == ["model.lm_head.weight"]
    loss_of(tuned).backward()
    assert model.model.embed_tokens.weight.grad is None
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_norm_tuning_trains_every_norm() -> None:
    tuned = apply(tiny_llama(), NormTuning())
    assert all("norm" in name for name, _ in tuned.named_parameters())
    assert len(list(tuned.parameters())) == 5
