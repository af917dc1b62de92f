"""DePT against its formula."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.tuning.additive.prompts import DecomposedPrompt, DePT
from adwright.tuning.methods import apply
from tests.support.lm.tuning_methods import TOKENS, logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    tuned = apply(tiny_llama(), DePT(length=3, longest=16, rank=2))
    shake(tuned, size=0.3)
    own = tuned.outer
    assert isinstance(own, DecomposedPrompt)
    model = tiny_llama()
    wanted = []
    with torch.no_grad():
        for text in TOKENS:
            words = model.model.embed_tokens(text)
            moved = [word + own.a[t] @ own.b for t, word in enumerate(words)]
            whole = torch.cat([own.vectors, torch.stack(moved)])
            wanted.append(model(inputs_embeds=whole[None]).logits[0, 3:])
    assert torch.allclose(logits_of(tuned), torch.stack(wanted), atol=1e-5)


def test_the_prompt_has_a_far_larger_rate() -> None:
    tuned = apply(tiny_llama(), DePT(length=3, longest=16, rank=2))
    own = tuned.outer
    assert isinstance(own, DecomposedPrompt)
    by_rate = {round(group["lr"], 9): group["params"] for group in tuned.groups(5e-4)}
    assert list(by_rate) == [0.03, 5e-4]
    assert by_rate[0.03][0] is own.vectors
    assert [id(each) for each in by_rate[5e-4]] == [id(own.a), id(own.b)]


def test_rates_and_long_texts() -> None:
    tuned = apply(tiny_llama(), DePT(length=3, longest=8, rate_ratio=100.0))
    assert sorted(group["lr"] for group in tuned.groups(1e-3)) == [1e-3, 0.1]
    with pytest.raises(ValueInvalidError, match="12 tokens is longer than the 8"):
        tuned(TOKENS)
