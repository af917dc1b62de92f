"""What changes logits before a token is chosen: biases, a least length, penalties."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from adwright.lm.engine.generation import GenerationConfig

__all__ = ["LogitRules"]


class LogitRules:
    """The rules of one call for B rows that begin together, in the order of vLLM.

    With c the times that token v occurred in the answer so far:

        z_v + bias_v;  minus infinity for what ends an answer before its least length;
        the repetition penalty;  z_v - c frequency_penalty - [c > 0] presence_penalty

    prompts: tokens of B prompts. V: size of the vocabulary. ends: tokens that end an answer.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        config: GenerationConfig,
        vocabulary: int,
        ends: Collection[int] = (),
    ) -> None:
        self._config = config
        self._written = 0
        self._ends = torch.tensor(sorted(one for one in ends if one < vocabulary))
        self._bias = torch.zeros(vocabulary) if config.logit_bias else None
        if self._bias is not None:
            for token, value in config.logit_bias:
                self._bias[token] = value
        self._seen: Tensor | None = None
        if config.repetition_penalty != 1:
            from transformers import RepetitionPenaltyLogitsProcessor

            self._penalise = RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty))
            # Filled up with a token of the row: how often one was seen makes no difference.
            longest = max(map(len, prompts))
            self._seen = torch.tensor([[*row, *[row[0]] * (longest - len(row))] for row in prompts])
        self._counts: Tensor | None = None
        if config.frequency_penalty or config.presence_penalty:
            self._counts = torch.zeros(len(prompts), vocabulary)

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        config: GenerationConfig,
        vocabulary: int,
        ends: Collection[int] = (),
    ) -> LogitRules | None:
        """The rules of `config`; None where it has none."""
        asked = (
            config.repetition_penalty != 1,
            config.frequency_penalty,
            config.presence_penalty,
            config.logit_bias,
            config.min_tokens,
        )
        return cls(prompts, config, vocabulary, ends) if any(asked) else None

    def apply(self, logits: Tensor) -> Tensor:
        """Logits float32 [B, V] as the rules leave them."""
        if self._bias is not None:
            logits = logits + self._bias
        if self._written < self._config.min_tokens and len(self._ends):
            logits = logits.index_fill(-1, self._ends, -torch.inf)
        if self._seen is not None:
            logits = self._penalise(self._seen, logits)
        if self._counts is not None:
            logits = logits - self._config.frequency_penalty * self._counts
            logits = logits - self._config.presence_penalty * (self._counts > 0)
        return logits

    def add(self, tokens: Tensor) -> None:
        """Count one token per row: int64 [B]."""
        self._written += 1
        if self._seen is not None:
            self._seen = torch.cat([self._seen, tokens[:, None]], 1)
        if self._counts is not None:
            self._counts[torch.arange(len(tokens)), tokens] += 1

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows: int64 [B']."""
        if self._seen is not None:
            self._seen = self._seen[rows]
        if self._counts is not None:
            self._counts = self._counts[rows]
