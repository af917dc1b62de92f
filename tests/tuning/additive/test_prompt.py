"""Prompt tuning against its formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from adwright.core.errors import ConfigError
from adwright.tuning.additive.prompts import DePT, Prompt, PromptTuning, run_with_prompt
from adwright.tuning.methods import Method, apply
from adwright.tuning.modules import Inputs
from adwright.tuning.packing.texts import attends_apart, pack
from adwright.tuning.peft_kinds import PROMPTS, Wrapped
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import TOKENS, logits_of, shake, tiny_llama


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
