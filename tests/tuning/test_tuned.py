"""What all methods share: hidden states, groups, packing, precision."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.tuning.additive.adapters import SerialAdapter
from adwright.tuning.methods import Method, apply, load_tuned
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tuning_methods import (
    OURS,
    TOKENS,
    WRAPPED,
    attached,
    logits_of,
    loss_of,
    shake,
    tiny_llama,
)

MERGEABLE = {name: method for name, method in (OURS | WRAPPED).items() if method.mergeable}


def test_hidden_and_logits_are_the_models_own() -> None:
    tuned = apply(tiny_llama(), LoRA())
    shake(tuned)
    with torch.no_grad():
        whole = tuned.model(TOKENS).logits
    assert torch.allclose(logits_of(tuned), whole, atol=1e-6)
    assert tuned(TOKENS).shape == (4, 12, 32)


def test_packed_texts_do_not_see_each_other() -> None:
    tuned = apply(tiny_llama(), SerialAdapter(size=4))
    shake(tuned)
    packed = TOKENS[:2].reshape(1, 24)
    places = torch.arange(12).repeat(2)[None]
    with torch.no_grad():
        hidden = tuned(packed, position_ids=places)
        assert torch.allclose(hidden[0, 12:], tuned(TOKENS[1:2])[0], atol=1e-5)


def test_parameters_are_the_trainable_ones_and_groups_hold_them_all() -> None:
    tuned = apply(tiny_llama(), LoRA(rate_ratio=4.0))
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    groups = tuned.groups(1e-3)
    assert sorted(group["lr"] for group in groups) == [1e-3, 4e-3]
    assert sum(p.numel() for group in groups for p in group["params"]) == tuned.count()
    assert tuned.loss_extra().item() == 0


def test_a_bfloat16_base_keeps_float32_parts() -> None:
    tuned = apply(tiny_llama().to(torch.bfloat16), LoRA())
    loss_of(tuned).backward()
    for parameter in tuned.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


# peft's SHIRA makes sparse tensors, of which torch warns.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("method", MERGEABLE.values(), ids=MERGEABLE)
def test_what_is_merged_is_the_method_in_use(method: Method, tmp_path: Path) -> None:
    wanted, merged = attached(method, tmp_path / "one"), attached(method, tmp_path / "other")
    for each in (wanted, merged):
        shake(each)
    merged.train()
    with torch.no_grad():
        found = merged.merge()(TOKENS).logits
    # Random bases of randlora, scaled by 80, leave more of the rounding.
    rounding = 3e-4 if "randlora" in str(method) else 1e-5
    assert torch.allclose(found, logits_of(wanted), atol=rounding)


def test_a_loaded_part_is_merged_at_once(tmp_path: Path) -> None:
    tuned = attached(OURS["diff-pruning"], tmp_path)
    shake(tuned, size=2.0)
    tuned.save(tmp_path / "out")
    with torch.no_grad():
        found = load_tuned(tiny_llama(), tmp_path / "out").merge()(TOKENS).logits
    assert torch.allclose(found, logits_of(tuned), rtol=1e-4, atol=1e-4)


def test_a_method_with_gradients_has_no_search() -> None:
    tuned = apply(tiny_llama(), LoRA())
    with pytest.raises(ConfigError, match="no step without gradients"):
        tuned.method.search(tuned, lambda: loss_of(tuned), rate=0.1, seed=0)


def test_only_adamix_compares_two_readings() -> None:
    tuned = apply(tiny_llama(), LoRA())
    assert not tuned.method.reads_twice(tuned)
    assert not tuned.method.disagreement(torch.ones(3, 5), torch.zeros(3, 5))


def test_what_takes_the_place_of_a_base_tensor_is_not_the_bases() -> None:
    """A new tensor may come to lie where one of the base lay that is gone."""
    tuned = apply(tiny_llama(), LoRA())
    norm = tuned.causal.model.norm
    gone = id(norm.weight)
    norm.weight = None
    gc.collect()
    made = [nn.Parameter(torch.ones(3), requires_grad=False) for _ in range(10_000)]
    same = [one for one in made if id(one) == gone]
    if not same:
        pytest.skip("no tensor came to lie there")
    norm.extra = same[0]
    assert any(name.endswith("norm.extra") for name in tuned.state())
