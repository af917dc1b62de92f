"""DePT against its formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.tuning.additive.prompts import (
    DecomposedPrompt,
    DePT,
    Prefix,
    PrefixTuning,
    Prompt,
    PromptTuning,
    run_with_prompt,
)
from adwright.tuning.methods import PROMPTS, Method, Wrapped, apply
from adwright.tuning.modules import Inputs
from adwright.tuning.packing.texts import attends_apart, pack
from tests.support.lm.literal_llama import literal_logits
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


def test_rates_and_long_texts() -> None:
    tuned = apply(tiny_llama(), DePT(length=3, longest=8, rate_ratio=100.0))
    assert sorted(group["lr"] for group in tuned.groups(1e-3)) == [1e-3, 0.1]
    with pytest.raises(ValueInvalidError, match="12 tokens is longer than the 8"):
        tuned(TOKENS)


METHODS = (PrefixTuning(length=3), PrefixTuning(length=3, made_by="mlp", hidden=6))


def test_is_the_formula_prefix() -> None:
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


def test_an_attention_without_masks_is_refused() -> None:
    model = tiny_llama()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigError, match="takes a mask"):
        apply(model, METHODS[0])


def test_is_the_formula_prompt() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    shake(tuned)
    assert isinstance(tuned.outer, Prompt)
    wanted = literal_logits(before=tuned.outer.vectors.detach())
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-5)


def test_mask_and_places_are_widened() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    mask = torch.ones_like(TOKENS)
    mask[:, 9:] = 0
    places = torch.arange(12).expand(4, -1)
    with torch.no_grad():
        wanted = tuned(TOKENS[:, :9])
        assert torch.allclose(tuned(TOKENS, mask)[:, :9], wanted, atol=1e-5)
        assert torch.allclose(tuned(TOKENS, mask, places)[:, :9], wanted, atol=1e-5)


PACKED = [PromptTuning(length=3), DePT(length=3, rank=2)]
PACKED += [Wrapped(kind, length=3) for kind in PROMPTS]


@pytest.mark.parametrize("method", PACKED, ids=lambda one: getattr(one, "kind", type(one).__name__))
def test_texts_of_one_row_are_what_each_is_alone(method: Method) -> None:
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    texts = [TOKENS[0, :7], TOKENS[1, :1], TOKENS[2]]
    packed = pack([(text[:1].tolist(), text[1:].tolist()) for text in texts])
    with torch.no_grad(), attends_apart(tuned.causal):
        found = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
    with torch.no_grad():
        wanted = torch.cat([tuned(text[None])[0] for text in texts])
    assert torch.allclose(found, wanted, atol=1e-5)


class _Placed(TorchFunctionMode):
    """Counts new tensors, and refuses those that are not asked for on a device."""

    made = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (torch.arange, torch.empty, torch.zeros, torch.ones, torch.tensor):
            assert (kwargs or {}).get("device") is not None, func
            self.made += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", [PromptTuning(length=3), DePT(length=3, rank=2)])
def test_tensors_are_made_where_the_texts_are(method: Method) -> None:
    tuned = apply(tiny_llama(), method)
    places = torch.cat([torch.arange(7), torch.arange(5)])[None]

    class Backbone(torch.nn.Module):
        embed_tokens = tuned.causal.model.embed_tokens

        def forward(self, inputs_embeds: torch.Tensor, **rest: Any) -> Any:
            return SimpleNamespace(last_hidden_state=inputs_embeds)

    assert tuned.outer is not None
    with _Placed() as mode:
        tuned.outer(Backbone(), Inputs(TOKENS[:1], None, places))
        packed = mode.made
        tuned.outer(Backbone(), Inputs(TOKENS[:1], None, torch.arange(12, device="cpu")[None]))
        tuned.outer(Backbone(), Inputs(TOKENS, torch.ones_like(TOKENS), None))
    assert packed >= 3


def test_several_rows_of_several_texts_are_refused() -> None:
    backbone = tiny_llama().model
    places = torch.arange(6).repeat(2).expand(4, -1)
    with pytest.raises(ConfigError, match="end to end in one row"):
        run_with_prompt(backbone, torch.zeros(4, 3, 32), Inputs(TOKENS, None, places))
