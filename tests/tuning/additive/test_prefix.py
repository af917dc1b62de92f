"""Prefix tuning against its formula, with caches and packed texts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.additive.prompts import Prefix, PrefixTuning
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import TOKENS, logits_of, shake, tiny_llama

METHODS = (PrefixTuning(length=3), PrefixTuning(length=3, made_by="mlp", hidden=6))


def test_is_the_formula() -> None:
    for method in METHODS:
        tuned = apply(tiny_llama(), method)
        shake(tuned, size=0.3)

        def prefix(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            own = tuned.layers()[layer].self_attn.prefix  # noqa: B023
            assert isinstance(own, Prefix)
            keys, values = own.maker()
            return keys, values, torch.ones(x.shape[:2])

        assert torch.allclose(logits_of(tuned), literal_logits(prefix=prefix), atol=1e-4)


def test_the_mlp_is_its_formula() -> None:
    tuned = apply(tiny_llama(), METHODS[1])
    shake(tuned)
    made = tuned.layers()[1].self_attn.prefix.maker
    inner = torch.tanh(made.table @ made.first.T + made.first_bias)
    flat = inner @ made.last.T + made.last_bias  # [L, 2 K], keys first
    keys, values = made()
    assert torch.allclose(keys[1, 2], flat[2, 8:16], atol=1e-6)
    assert torch.allclose(values[0, 1], flat[1, 16:24], atol=1e-6)
    assert made.table is tuned.layers()[0].self_attn.prefix.maker.table


def test_decoding_with_a_cache_is_decoding_without() -> None:
    tuned = apply(tiny_llama(), METHODS[0])
    shake(tuned, size=0.3)
    whole = logits_of(tuned)
    with torch.no_grad():
        first = tuned.model(TOKENS[:, :7], use_cache=True)
        cache = first["cache"] if "cache" in first else first["past_key_values"]
        name = "cache" if "cache" in first else "past_key_values"
        second = tuned.model(TOKENS[:, 7:], use_cache=True, **{name: cache})
    assert torch.allclose(torch.cat([first.logits, second.logits], 1), whole, atol=1e-5)
    tuned.model.generation_config.eos_token_id = None
    mask = torch.ones_like(TOKENS)
    made = tuned.model.generate(
        TOKENS, attention_mask=mask, max_new_tokens=4, do_sample=False, pad_token_id=0
    )
    longer = logits_of(tuned, made[:, :-1])[:, 11:].argmax(-1)
    assert torch.equal(made[:, 12:], longer)


def test_packed_texts_each_see_the_prefix() -> None:
    tuned = apply(tiny_llama(), METHODS[0])
    shake(tuned, size=0.3)
    places = torch.arange(12).repeat(2)[None]
    with torch.no_grad():
        hidden = tuned(TOKENS[:2].reshape(1, 24), position_ids=places)
        assert torch.allclose(hidden[0, 12:], tuned(TOKENS[1:2])[0], atol=1e-5)


def test_eager_attention_gives_the_same() -> None:
    tuned = apply(tiny_llama(), METHODS[0])
    shake(tuned, size=0.3)
    before = logits_of(tuned)
    tuned.model.set_attn_implementation("eager")
    assert torch.allclose(logits_of(tuned), before, atol=1e-5)


def test_an_attention_without_masks_is_refused() -> None:
    model = tiny_llama()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigError, match="takes a mask"):
        apply(model, METHODS[0])
