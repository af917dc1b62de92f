"""What is particular to peft's kinds; the ladder in `test_methods` runs them all."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.peft_kinds import IN_BASE, PROMPTS, PeftKind, Wrapped
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tuning_methods import TOKENS, logits_of, loss_of, shake, tiny_llama, train


def test_pefts_lora_and_ours_are_one_function() -> None:
    theirs = apply(tiny_llama(), Wrapped(PeftKind.LORA, rank=3, alpha=6.0))
    ours = apply(tiny_llama(), LoRA(rank=3, alpha=6.0))
    shake(ours)
    states = theirs.state()
    with torch.no_grad():
        for place in ours.places(LoRA().targets):
            start = f"model.base_model.model.{place.name}."
            states[f"{start}lora_A.default.weight"].copy_(place.linear.a)
            states[f"{start}lora_B.default.weight"].copy_(place.linear.b)
    assert torch.allclose(logits_of(theirs), logits_of(ours), atol=1e-5)


def test_the_generator_of_the_process_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    apply(tiny_llama(), Wrapped(PeftKind.LOHA))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_adalora_spends_its_budget() -> None:
    tuned = apply(tiny_llama(), Wrapped(PeftKind.ADALORA, rank=2, steps=40))
    assert tuned.loss_extra().item() > 0
    train(tuned, steps=40)
    values = [parameter for name, parameter in tuned.named_parameters() if "lora_E" in name]
    alive = sum(int((each != 0).sum()) for each in values)
    assert 0 < alive <= 2 * len(values)


@pytest.mark.parametrize("steps", [2, 3, 8, 20])
def test_adalora_cuts_in_the_steps_that_there_are(steps: int) -> None:
    tuned = apply(tiny_llama(), Wrapped(PeftKind.ADALORA, rank=2))
    train(tuned, steps=steps)
    values = [parameter for name, parameter in tuned.named_parameters() if "lora_E" in name]
    assert all(len(each) == 3 for each in values)
    assert sum(int((each != 0).sum()) for each in values) == 2 * len(values)


@pytest.mark.parametrize("kind", sorted(set(PeftKind) - set(IN_BASE)))
def test_a_half_precision_base_has_the_same_parameters(kind: PeftKind) -> None:
    method = Wrapped(kind, rank=2, block=8, number=4)
    tuned = apply(tiny_llama().to(torch.bfloat16), method)
    assert tuned.count() == method.count(tuned.sizes)


def test_delora_starts_at_its_bound() -> None:
    tuned = apply(tiny_llama(), Wrapped(PeftKind.DELORA, bound=0.5))
    bounds = [each for name, each in tuned.named_parameters() if "delora_lambda" in name]
    assert {each.item() for each in bounds} == {0.5}


def test_prompts_are_before_the_text() -> None:
    for kind in PROMPTS:
        tuned = apply(tiny_llama(), Wrapped(kind, length=3))
        assert tuned(TOKENS).shape == (4, 12, 32)
        loss_of(tuned).backward()


def test_a_kind_needs_words() -> None:
    with pytest.raises(ConfigError, match="no word is named"):
        Wrapped(PeftKind.TOKENS, tokens=())


def test_what_peft_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="peft refuses these settings"):
        apply(tiny_llama(), Wrapped(PeftKind.GRALORA, rank=3))


def test_targets_are_passed_on() -> None:
    few = apply(tiny_llama(), Wrapped(PeftKind.LORA, targets=("q_proj",)))
    assert all(".q_proj." in name for name, _ in few.named_parameters())
