"""Full tuning, the head alone, the norms alone."""

from __future__ import annotations

import pytest
import torch
from transformers import OlmoConfig, OlmoForCausalLM

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.references import FullTuning, HeadOnly, NormTuning
from tests.support.lm.families import tiny_of
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


@pytest.mark.parametrize(
    ("family", "a_layer"),
    [("olmo3", 2), ("cohere2", 1), ("gemma2", 4), ("gemma3", 4), ("qwen3", 2)],
)
def test_norm_tuning_finds_the_norms_of_each_family(family: str, a_layer: int) -> None:
    tuned = apply(tiny_of(family), NormTuning())
    assert len(list(tuned.parameters())) == 2 * a_layer + 1
    assert tuned.count() == NormTuning().count(tuned.sizes) == (2 * a_layer + 1) * 32


def test_norms_without_weights_cannot_be_tuned() -> None:
    config = OlmoConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        pad_token_id=0,
        eos_token_id=1,
    )
    with pytest.raises(ConfigError, match="no weights"):
        apply(OlmoForCausalLM(config), NormTuning())
