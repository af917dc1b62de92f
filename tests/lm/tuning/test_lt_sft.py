"""LT-SFT chooses what moved most, and rewinds."""

from __future__ import annotations

import torch

from adwright.lm.tuning.lt_sft import LTSFT
from adwright.lm.tuning.methods import apply
from tests.lm.tuning.tiny import TOKENS, base_logits, logits_of, losses, tiny_llama


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
    for place, each in zip(tuned.places(("o_proj",)), moved, strict=True):
        chosen = set((each.flatten() >= least).nonzero()[:, 0].tolist())
        # Adam's first steps move many weights by nearly the same: ties may fall either way.
        found = set(place.linear.index.tolist())
        assert len(found & chosen) >= 0.9 * len(found)
    assert torch.allclose(logits_of(tuned), base_logits(), atol=1e-6)
