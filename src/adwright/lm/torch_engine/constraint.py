"""Answers that a JSON schema or a grammar admits: which tokens may come next.

The mask over the vocabulary comes from llguidance, which runs the grammar on the bytes of the
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.lm.compiling.limits import parser_limits
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.engine.grammar import compiled, refused

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerBase

__all__ = ["Constraint", "Grammars"]


class Constraint:
    """The tokens that may come next in each of B rows."""

    def __init__(self, matchers: Sequence[LLMatcher]) -> None:
        self._matchers = list(matchers)

    def apply(self, logits: Tensor) -> Tensor:
        """Logits float32 [B, V] with forbidden tokens at minus infinity.

        Raises ConfigError where the grammar grew too complex on the way.
        """
        rows = []
        for matcher in self._matchers:
            packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
            if matcher.is_error():
                raise refused(matcher.get_error())
            rows.append(np.unpackbits(packed, bitorder="little", count=None))
        allowed = torch.from_numpy(np.stack(rows)).bool()
        V = logits.shape[-1]
        if allowed.shape[-1] < V:  # a head that is padded beyond the tokeniser
            allowed = torch.nn.functional.pad(allowed, (0, V - allowed.shape[-1]))
        return logits.masked_fill(~allowed[:, :V], -torch.inf)

    def take(self, tokens: Sequence[int]) -> list[bool]:
        """Take one token per row; return whether each row is complete, with only its end left.

        Raises ConfigError where the grammar grew too complex on the way.
        """
        done = []
        for matcher, token in zip(self._matchers, tokens, strict=True):
            matcher.consume_token(token)
            if matcher.is_error():
                raise refused(matcher.get_error())
            done.append(matcher.is_stopped())
        return done

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows."""
        self._matchers = [self._matchers[row] for row in rows]


class Grammars:
    """Constraints over the vocabulary of one tokeniser.

    tokenizer: of transformers, and fast. vocabulary: tokens that the model's head knows.
    Its tables take about a second and are made when a constraint is first asked for.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, end_ids: frozenset[int]
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._vocabulary = vocabulary
        self._end_ids = sorted(end_ids)
        self._tables: LLTokenizer | None = None

    def constraint(
        self, config: GenerationConfig, rows: int, *, cancel: Cancellation | None = None
    ) -> Constraint | None:
        """Make the constraint of `config` on so many rows; None where it has none.

        Raises as `compiled`.
        """
        if not config.constrained:
            return None
        text = compiled(config, cancel=cancel)
        from llguidance import LLMatcher

        # It was built before, on a smaller stack and with the same limits.
        first = LLMatcher(self._table(), text, log_level=0, limits=parser_limits())
        if first.is_error():
            raise refused(first.get_error())
        return Constraint([first, *(first.deep_copy() for _ in range(rows - 1))])

    def _table(self) -> LLTokenizer:
        from llguidance.hf import from_tokenizer

        if self._tables is None:
            try:
                self._tables = from_tokenizer(
                    self._tokenizer, n_vocab=self._vocabulary, eos_token=self._end_ids
                )
            except ValueError as error:
                raise ConfigError(
                    f"this tokeniser cannot be constrained: {error}",
                    where="json_schema, grammar",
                    hint="take a model with a fast tokeniser (tokenizer.json)",
                ) from error
        return self._tables
