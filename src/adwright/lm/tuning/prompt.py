"""Prompt tuning: learned vectors stand before the text as if they were words.

Lester et al., EMNLP 2021, arXiv 2104.08691. With E(x) [T, D] the embedded text:

    input = [p_1 ... p_L, E(x)]        count = L D

The vectors start as embeddings of words drawn from the vocabulary, as the paper advises, so the
model is not at first what it was: it reads L words more. Memory: L positions in every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.lm.tuning.sizes import Sizes
from adwright.lm.tuning.tuned import Family, Tuned, TuningMethod, at_least

__all__ = ["Prompt", "PromptTuning", "run_with_prompt"]


@dataclass(frozen=True)
class PromptTuning(TuningMethod):
    """L learned input vectors. length: L. Applies to any model that takes embeddings."""

    family: ClassVar[Family] = "soft prompt"
    exact_start: ClassVar[bool] = False
    packs: ClassVar[bool] = False
    length: int = 20

    def __post_init__(self) -> None:
        at_least(self, 1, "length")

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

    def forward(
        self,
        backbone: Callable[..., Any],
        input_ids: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
    ) -> Tensor:
        """Hidden states [B, T, D] of the text alone."""
        vectors = self.vectors.expand(len(input_ids), -1, -1)
        return run_with_prompt(backbone, vectors, input_ids, attention_mask, position_ids)


def run_with_prompt(
    backbone: Callable[..., Any],
    vectors: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    *,
    shift: Tensor | None = None,
) -> Tensor:
    """Hidden states [B, T, D] of tokens [B, T] after vectors [B, L, D].

    shift: [T, D], added to the embedded tokens.

    Raises ConfigError for packed rows: the texts after the first would not see the vectors.
    """
    length = vectors.shape[1]
    if position_ids is not None:
        if bool((position_ids[:, 1:] == 0).any()):
            raise ConfigError(
                "a soft prompt stands before one text, and the rows hold several",
                where="position_ids",
                hint="switch packing off for prompt methods, or use prefix tuning",
            )
        ahead = torch.arange(length, device=position_ids.device).expand(len(input_ids), -1)
        position_ids = torch.cat([ahead, position_ids + length], 1)
    if attention_mask is not None:
        seen = attention_mask.new_ones(len(input_ids), length)
        attention_mask = torch.cat([seen, attention_mask], 1)
    text = backbone.embed_tokens(input_ids)  # type: ignore[attr-defined]
    if shift is not None:
        text = text + shift.to(text.dtype)
    output = backbone(
        inputs_embeds=torch.cat([vectors.to(text.dtype), text], 1),
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state[:, length:]
    return hidden
