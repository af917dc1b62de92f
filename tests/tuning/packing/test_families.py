"""Families with windows, bounds and scales of their own: packed equals alone, and the losses are
those of transformers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.tuning.methods import Method, apply
from adwright.tuning.modules import head_logits
from adwright.tuning.packing.joint_lora import JointJobs
from adwright.tuning.packing.texts import Packed, answer_loss, attends_apart, pack
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.families import FAMILIES, WINDOW, tiny_of
from tests.support.lm.packed_hidden import packed_hidden
from tests.support.lm.tuning_methods import OURS, shake

#: One is shorter than a window, two are longer.
TEXTS = [
    ([5, 9, 11, 3, 8, 21, 40], [7, 3, 33, 12]),
    ([6], [4, 44]),
    (list(range(3, 23)), [9, 10, 50]),
]


def literal(model: Any, packed: Packed) -> torch.Tensor:
    """Sum the answers' losses by transformers' own logits of each text alone."""
    total = torch.zeros(())
    for start, end in pairwise(packed.offsets.tolist()):
        ids, answer = packed.ids[start:end], packed.answer[start:end]
        logits = model(ids[None], use_cache=False).logits[0].float()
        rows = answer.nonzero()[:, 0]
        total = total + functional.cross_entropy(logits[rows - 1], ids[rows], reduction="sum")
    return total


def test_the_texts_are_longer_than_a_window() -> None:
    assert sum(len(prompt) + len(answer) > WINDOW for prompt, answer in TEXTS) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_alone(family: str) -> None:
    model, packed = tiny_of(family), pack(TEXTS)
    before = model.config._attn_implementation
    with torch.no_grad():
        found = packed_hidden(model, packed)
        for start, end in pairwise(packed.offsets.tolist()):
            alone = model.model(packed.ids[None, start:end]).last_hidden_state[0]
            torch.testing.assert_close(found[start:end], alone, rtol=1e-5, atol=1e-5)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_slopes_are_those_of_transformers(family: str, frozen: bool) -> None:
    model, packed = tiny_of(family), pack(TEXTS)
    tuned = apply(model, LoRA(rank=2))
    shake(tuned)
    if not frozen:
        model.lm_head.weight.requires_grad_()
    matrix = next(iter(tuned.state().values()))
    with attends_apart(model):
        hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        found = answer_loss(hidden, model.lm_head, packed, head_logits(model.config))
        (slope,) = torch.autograd.grad(found, matrix)
    wanted = literal(model, packed)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted, matrix)[0], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        logits = tuned.logits(tuned(packed.ids[None, :8]))
        torch.testing.assert_close(logits, model(packed.ids[None, :8]).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_jobs_together_have_the_losses_of_transformers(family: str) -> None:
    parts = {"first": pack(TEXTS[:2]), "second": pack(TEXTS[2:])}
    jobs = JointJobs(tiny_of(family), dict.fromkeys(parts, (LoRA(rank=2), 0)))
    for seed, tuned in enumerate(jobs.tuned.values()):
        shake(tuned, seed)
    found = jobs.losses(parts)
    for name, packed in parts.items():
        wanted = literal(jobs.tuned[name].causal, packed)
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["prefix", "prompt", "unipelt", "ladder"])
@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral", "cohere2"])
def test_methods_that_touch_the_mask_keep_texts_apart(family: str, method: str) -> None:
    packed, own = pack(TEXTS), OURS[method]
    tuned = attached(family, own)
    with torch.no_grad(), attends_apart(tuned.causal):
        together = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        for start, end in pairwise(packed.offsets.tolist()):
            places = torch.arange(end - start)[None]
            alone = tuned(packed.ids[None, start:end], position_ids=places)[0]
            torch.testing.assert_close(together[start:end], alone, rtol=1e-4, atol=1e-4)


def attached(family: str, method: Method) -> Any:
    tuned = apply(tiny_of(family), method)
    shake(tuned)
    return tuned.eval()


def test_an_attention_that_is_told_of_a_window_is_refused() -> None:
    model = tiny_of("mistral")
    # As a family would be whose config does not say what its attention does.
    model.config.layer_types = ["full_attention", "full_attention"]
    with pytest.raises(ConfigError, match="sliding_window"):
        packed_hidden(model, pack(TEXTS))
