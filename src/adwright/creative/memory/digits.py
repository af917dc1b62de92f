"""A number between 0 and 1 as two digits that a language model writes, and back as an expectation.

    answer_of(0.655)                               # "65"
    found = Digits(model).expected(prompts)        # DigitAnswers of N prompts
    found.scores                                   # float64 [N], 0 to 1

Harini S I et al. (WACV 2025, arXiv 2309.00378) let a model answer ceil(100 s - 1), clamped, as two
digits. The likeliest answer throws away what else the model holds possible, so it is read as

    E = sum over d1, d2 of P(d1) P(d2 | d1) (10 d1 + d2)

over the ten digits alone, renormalised at both places. A prompt is read once: its ten first digits
share that, and each gives the ten that can follow. Engines that cannot branch so score all hundred
answers, which is the same number for more work. The middle of an answer's range, (E + 1/2) / 100,
is the score (our choice).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.generation import Prompt, TokenPrompt
from adwright.lm.engine.language_model import LanguageModel, Tokenizer

__all__ = ["BranchingModel", "DigitAnswers", "Digits", "answer_of", "digit_tokens"]

Floats = NDArray[np.float64]

_PLACES = 10.0 * np.arange(10)[:, None] + np.arange(10)[None, :]  # [d1, d2]


@runtime_checkable
class BranchingModel(Protocol):
    """A model that gives the log-probabilities of two tokens of a few each in one reading."""

    def branches(
        self, prompts: Sequence[Prompt], first: Sequence[int], second: Sequence[int], /
    ) -> tuple[Floats, Floats]:
        """log P(first | prompt) [B, F] and log P(second | prompt, first) [B, F, S]."""
        ...


@dataclass(frozen=True, eq=False)
class DigitAnswers:
    """What a model answers on N prompts.

    expectation: float64 [N], E, 0 to 99. likeliest: int64 [N], the pair of digits of the largest
    probability. digits: float64 [N], how much of the model's first token are digits: near 0 it does
    not know that it is asked for any.
    """

    expectation: Floats
    likeliest: NDArray[np.int64]
    digits: Floats

    @property
    def scores(self) -> Floats:
        """float64 [N], the expectation between 0 and 1."""
        return (self.expectation + 0.5) / 100


def answer_of(score: float) -> str:
    """ceil(100 score - 1), clamped to 0 and 99, as two digits.

    >>> [answer_of(score) for score in (0.0, 0.01, 0.011, 1.0)]
    ['00', '00', '01', '99']

    Raises ValueInvalidError for a score outside 0 to 1.
    """
    if not 0 <= score <= 1:
        raise ValueInvalidError("a score lies between 0 and 1", value=score, hint="divide it")
    # 100 * 0.07 is 7.000000000000001: what differs by rounding alone is the same number.
    return f"{min(max(math.ceil(round(100 * score, 9) - 1), 0), 99):02d}"


def digit_tokens(tokens: Tokenizer) -> tuple[int, ...]:
    """The tokens of 0 to 9.

    Raises ConfigError where the tokenizer does not write each pair of digits as those two tokens:
    then the expectation over digits is not that over answers.
    """
    singles = [tokens.encode(str(digit), special=False) for digit in range(10)]
    found = tuple(ids[0] for ids in singles if len(ids) == 1)
    pairs = len(set(found)) == 10 and all(
        tokens.encode(f"{a}{b}", special=False) == [found[a], found[b]]
        for a in range(10)
        for b in range(10)
    )
    if not pairs:
        raise ConfigError(
            "this model's tokenizer does not split numbers into digits",
            where="two digits as an answer",
            hint="take a model that does, such as SmolLM2 or Llama 2, or the encoder form",
        )
    return found


class Digits:
    """Two digits as answers of `model`. Raises ConfigError as `digit_tokens`."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._tokens = model, digit_tokens(model.tokens)

    def expected(self, prompts: Sequence[Prompt]) -> DigitAnswers:
        """The answers to N prompts; a prompt ends where the first digit would stand.

        Raises as the model's `score` does.
        """
        if not prompts:
            return DigitAnswers(np.empty(0), np.empty(0, np.int64), np.empty(0))
        first, second = self._logs(prompts)
        lead = np.exp(first)  # [N, 10]
        whole = lead.sum(1)
        joint = _share(first)[:, :, None] * _share(second)  # [N, 10, 10]
        flat = joint.reshape(len(joint), 100)
        return DigitAnswers(
            expectation=(joint * _PLACES).sum((1, 2)),
            likeliest=flat.argmax(1).astype(np.int64),
            digits=whole,
        )

    def _logs(self, prompts: Sequence[Prompt]) -> tuple[Floats, Floats]:
        if isinstance(self._model, BranchingModel):
            return self._model.branches(prompts, self._tokens, self._tokens)
        answers = [TokenPrompt((a, b)) for a in self._tokens for b in self._tokens]
        asked = [prompt for prompt in prompts for _ in answers]
        found = self._model.score(asked, answers * len(prompts)).token_logprobs
        pairs = np.stack([np.asarray(one) for one in found]).reshape(len(prompts), 10, 10, 2)
        # The first digit's number is the same in each of its ten answers.
        return pairs[:, :, 0, 0], pairs[..., 1]


def _share(logs: Floats) -> Floats:
    """Probabilities of log-probabilities [..., K], renormalised over K."""
    raised = np.exp(logs - logs.max(-1, keepdims=True))
    found: Floats = raised / raised.sum(-1, keepdims=True)
    return found
