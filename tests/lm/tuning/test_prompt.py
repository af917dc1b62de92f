"""Prompt tuning against its formula."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.lm.tuning.methods import apply
from adwright.lm.tuning.prompt import Prompt, PromptTuning, run_with_prompt
from tests.lm.tuning.literal import literal_logits
from tests.lm.tuning.tiny import TOKENS, logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    shake(tuned)
    assert isinstance(tuned.outer, Prompt)
    wanted = literal_logits(before=tuned.outer.vectors.detach())
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-5)


def test_starts_as_words() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    assert isinstance(tuned.outer, Prompt)
    table = tuned.causal.model.embed_tokens.weight
    assert all((row == table).all(1).any() for row in tuned.outer.vectors)


def test_mask_and_places_are_widened() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    mask = torch.ones_like(TOKENS)
    mask[:, 9:] = 0
    places = torch.arange(12).expand(4, -1)
    with torch.no_grad():
        wanted = tuned(TOKENS[:, :9])
        assert torch.allclose(tuned(TOKENS, mask)[:, :9], wanted, atol=1e-5)
        assert torch.allclose(tuned(TOKENS, mask, places)[:, :9], wanted, atol=1e-5)


def test_packed_rows_are_refused() -> None:
    backbone = tiny_llama().model
    places = torch.arange(6).repeat(2).expand(4, -1)
    with pytest.raises(ConfigError, match="stands before one text"):
        run_with_prompt(backbone, torch.zeros(4, 3, 32), TOKENS, None, places)
