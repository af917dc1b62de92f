"""Prompt tuning: learned vectors stand before the text as if they were words.

Lester et al., EMNLP 2021, arXiv 2104.08691. With E(x) [T, D] the embedded text:

    input = [p_1 ... p_L, E(x)]        count = L D

The vectors start as embeddings of words drawn from the vocabulary, as the paper advises. The model
reads L words more, so it is not at first what it was. Memory: L positions in every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import Inputs
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["Prompt", "PromptTuning", "run_with_prompt"]


@settings
class PromptTuning(TuningMethod):
    """L learned input vectors. length: L. Applies to any model that takes embeddings."""

    default_rate: ClassVar[float] = 3e-2
    variants: ClassVar[Variants] = (
        Variant("prompt tuning", "additive: soft prompts"),
        Variant(
            "SPoT",
            "additive: soft prompts",
            "`load_tuned` the prompt of another task, and `tune` it on",
            instead="--method PromptTuning; from Python, `load_tuned` another prompt and `tune` it",
        ),
    )
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    length: Count = 20

    def count(self, sizes: Sizes) -> int:
        """L D."""
        return self.length * sizes.width

    def attach(self, tuned: Tuned) -> None:
        """A `Prompt` around the backbone."""
        table = tuned.causal.model.embed_tokens.weight
        words = torch.randint(len(table), (self.length,), generator=tuned.generator)
        tuned.outer = Prompt(nn.Parameter(table.detach()[words].float()))


class Prompt(nn.Module):
    """Runs a backbone on [vectors, text]. vectors: [L, D]."""

    def __init__(self, vectors: nn.Parameter) -> None:
        super().__init__()
        self.vectors = vectors

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""
        return self.vectors

    def shift(self, places: Tensor) -> Tensor | None:
        """Nothing."""
        return None

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D] of the text alone."""
        return run_with_prompt(backbone, self.vectors.expand(len(inputs.ids), -1, -1), inputs)


def run_with_prompt(
    backbone: Callable[..., Any],
    vectors: Tensor,
    inputs: Inputs,
    *,
    shift: Tensor | None = None,
) -> Tensor:
    """Compute the hidden states [B, T, D] of tokens after vectors [B, L, D].

    inputs: where a row has several texts, the vectors go before each of them, and it has to be the
    only row. shift: [T, D], added to the embedded tokens.

    Raises ConfigError for several rows of several texts.
    """
    input_ids, attention_mask, position_ids = inputs
    text = backbone.embed_tokens(input_ids)  # type: ignore[attr-defined]
    if shift is not None:
        text = text + shift.to(text.dtype)
    vectors = vectors.to(text.dtype)
    if position_ids is not None and bool((position_ids[:, 1:] == 0).any()):
        return _before_each(backbone, vectors, text, position_ids)
    length = vectors.shape[1]
    if position_ids is not None:
        ahead = torch.arange(length, device=position_ids.device).expand(len(input_ids), -1)
        position_ids = torch.cat([ahead, position_ids + length], 1)
    if attention_mask is not None:
        seen = attention_mask.new_ones(len(input_ids), length)
        attention_mask = torch.cat([seen, attention_mask], 1)
    output = backbone(
        inputs_embeds=torch.cat([vectors, text], 1),
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state[:, length:]
    return hidden


def _before_each(
    backbone: Callable[..., Any], vectors: Tensor, text: Tensor, position_ids: Tensor
) -> Tensor:
    """The same for texts end to end in one row: vectors [1, L, D], text [1, T, D]."""
    if len(text) != 1:
        raise ConfigError(
            "several rows hold several texts each",
            where=f"position_ids {list(position_ids.shape)}",
            hint="lay all texts end to end in one row",
        )
    length, tokens = vectors.shape[1], text.shape[1]
    first = position_ids[0] == 0
    device = position_ids.device
    number, place = torch.arange(tokens, device=device), torch.arange(length, device=device)
    at = number + length * first.cumsum(0)  # [T], where each token goes
    # Each text begins later by the vectors of those before it.
    starts = first.nonzero()[:, 0]
    before = length * torch.arange(len(starts), device=device)
    slots = (starts + before)[:, None] + place  # [S, L]
    source = torch.empty(tokens + slots.numel(), dtype=torch.int64, device=device)
    places = torch.empty_like(source)
    source[slots], places[slots] = place, place
    source[at], places[at] = length + number, position_ids[0] + length
    output = backbone(
        inputs_embeds=torch.cat([vectors[0], text[0]]).index_select(0, source)[None],
        position_ids=places[None],
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state.index_select(1, at)
    return hidden
