"""The next token of each row of a batch: temperature, truncation, draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from adwright.lm.engine.generation import GenerationConfig, Top

__all__ = ["generator", "likeliest", "log_probability", "next_tokens"]


def generator(seed: int) -> torch.Generator:
    """The random generator of one row, see `GenerationConfig.seed_of`."""
    return torch.Generator().manual_seed(seed)


def log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of one token per row, in nats.

    logits: float32 [B, V]. tokens: int64 [B]. Returns float32 [B].
    """
    chosen = logits.gather(-1, tokens[:, None])[:, 0]
    return chosen - logits.logsumexp(-1)


def likeliest(logits: Tensor, count: int) -> list[Top]:
    """The `count` likeliest tokens of each row and their log-probabilities, in nats.

    logits: float32 [B, V].
    """
    values, tokens = (logits - logits.logsumexp(-1, keepdim=True)).topk(
        min(count, logits.shape[-1]), dim=-1
    )
    rows = zip(tokens.tolist(), values.tolist(), strict=True)
    return [tuple(zip(ids, told, strict=True)) for ids, told in rows]


def next_tokens(
    logits: Tensor, config: GenerationConfig, generators: Sequence[torch.Generator]
) -> Tensor:
    """Choose one token per row: int64 [B].

    logits: float32 [B, V], after penalty and constraint; a token at minus infinity is never
    taken. generators: one per row; each drawn token takes one draw of its own, whatever the other
    rows are.
    """
    if config.temperature == 0:
        return logits.argmax(-1)
    logits = logits / config.temperature
    if config.min_p:
        least = logits.max(-1, keepdim=True).values + math.log(config.min_p)
        logits = logits.masked_fill(logits < least, -torch.inf)
    if 0 < config.top_k < logits.shape[-1]:
        least = logits.topk(config.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1)
    if config.top_p < 1:
        probabilities = _nucleus(probabilities, config.top_p)
    drawn = [
        torch.multinomial(row, 1, generator=random)
        for row, random in zip(probabilities, generators, strict=True)
    ]
    return torch.cat(drawn)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero but for the fewest likeliest tokens that reach top_p (Holtzman et al. 2020, eq. 2)."""
    ordered, order = probabilities.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)
