"""Counts and settings of peft's kinds; that they train is tested in `test_methods`."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.methods import (
    PROMPTS,
    PeftKind,
    PeftSettings,
    Wrapped,
    adalora_schedule,
    apply,
    count_of,
    peft_config,
)
from adwright.tuning.modules import Sizes, Target
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tuning_methods import TOKENS, logits_of, loss_of, shake, tiny_llama, train

#: Kinds whose count depends on rank and targets.
_RANKED = [
    kind
    for kind in PeftKind
    if kind not in (*PROMPTS, PeftKind.NORMS, PeftKind.TOKENS, PeftKind.VBLORA, PeftKind.C3A)
]


@pytest.mark.parametrize("kind", _RANKED)
@pytest.mark.parametrize(("rank", "target"), [(3, "up_proj"), (5, "k_proj"), (2, "down_proj")])
def test_counts_hold_for_other_ranks_and_shapes(kind: PeftKind, rank: int, target: Target) -> None:
    if kind is PeftKind.GRALORA:
        rank += rank % 2  # it wants an even one
    method = Wrapped(kind, rank=rank, targets=(target,), block=4, number=6)
    tuned = apply(tiny_llama(), method)
    assert tuned.count() == count_of(method, tuned.sizes)


def test_counts_of_kinds_without_a_rank() -> None:
    sizes = Sizes.of(tiny_llama())
    assert count_of(PeftSettings(PeftKind.NORMS), sizes) == 5 * 32
    assert count_of(PeftSettings(PeftKind.TOKENS, tokens=(1, 2)), sizes) == 64
    assert count_of(PeftSettings(PeftKind.C3A, block=8, targets=("up_proj",)), sizes) == 2 * 192


def test_adalora_follows_the_steps() -> None:
    import peft

    settings = PeftSettings(PeftKind.ADALORA, rank=4, steps=200)
    config = peft_config(settings, peft, width=32, seed=0)
    assert (config.init_r, config.target_r, config.total_step) == (6, 4, 200)
    assert config.tinit < 200 - config.tfinal


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 99, 5000])
def test_adalora_has_time_for_each_of_its_parts(steps: int) -> None:
    found = adalora_schedule(steps)
    first, last = found["tinit"], found["tfinal"]
    assert found["total_step"] == steps
    assert 0 <= first < steps - last
    assert last >= min(1, steps - 1)
    assert found["deltaT"] >= 1
    # peft takes it.
    apply(tiny_llama(), Wrapped(PeftKind.ADALORA, rank=2, steps=steps, targets=("q_proj",)))


def test_settings_check_themselves() -> None:
    with pytest.raises(ConfigError, match="no word is named"):
        PeftSettings(tokens=())


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


def test_delora_starts_at_its_bound() -> None:
    tuned = apply(tiny_llama(), Wrapped(PeftKind.DELORA, bound=0.5))
    bounds = [each for name, each in tuned.named_parameters() if "delora_lambda" in name]
    assert {each.item() for each in bounds} == {0.5}


def test_prompts_are_before_the_text() -> None:
    for kind in PROMPTS:
        tuned = apply(tiny_llama(), Wrapped(kind, length=3))
        assert tuned(TOKENS).shape == (4, 12, 32)
        loss_of(tuned).backward()


def test_what_peft_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="peft refuses these settings"):
        apply(tiny_llama(), Wrapped(PeftKind.GRALORA, rank=3))
