"""The loop that writes answers, token by token, for a batch of prompts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.lm.compiling.bounds import parser_limits
from adwright.lm.compiling.compiler import refused
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig, Top
from adwright.lm.engine.hf_tokens import compiled
from adwright.lm.torch_engine.network import Network, PromptBatch

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerBase


# --------------------------------------------------------------------------------------------------
# Answers that a JSON schema or a grammar admits: which tokens may come next.
#
# The mask over the vocabulary comes from llguidance, which runs the grammar on the bytes of the
# tokens.


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


# --------------------------------------------------------------------------------------------------
# What changes logits before a token is chosen: biases, a least length, penalties.


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


# --------------------------------------------------------------------------------------------------
# The next token of each row of a batch: temperature, truncation, draw.


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


def decode(
    network: Network,
    answers: Sequence[AnswerWriter],
    call_rows: Sequence[int],
    config: GenerationConfig,
    *,
    constraint: Constraint | None = None,
    cancel: Cancellation | None = None,
) -> Iterator[None]:
    """Write all answers; yields after each token. Nothing is held once it is closed.

    call_rows: the row of each answer in its call, which its random numbers follow from.
    constraint: on as many rows as there are answers.
    """
    live = list(answers)
    randoms = [generator(config.seed_of(row)) for row in call_rows]
    with torch.inference_mode():
        rows = PromptBatch(network, [answer.prompt for answer in live])
    prompts, ends = [answer.prompt for answer in live], {id for one in live for id in one.end_ids}
    rules = LogitRules.of(prompts, config, network.vocabulary, ends)
    while live:
        if cancel is not None and cancel.cancelled:
            for answer in live:
                answer.end("cancelled")
            yield
            return
        # Never across a yield: the caller's thread would be left in this mode.
        with torch.inference_mode():
            tokens, logprobs, tops = _choose(rows, config, constraint, rules, randoms)
        _add(live, tokens, logprobs, tops, constraint)
        yield
        going = [row for row, answer in enumerate(live) if answer.finish_reason is None]
        if not going:
            return
        with torch.inference_mode():
            if len(going) < len(live):
                kept = torch.tensor(going)
                rows.keep(kept)
                tokens = tokens[kept]
                if rules is not None:
                    rules.keep(kept)
                if constraint is not None:
                    constraint.keep(going)
                live = [live[row] for row in going]
                randoms = [randoms[row] for row in going]
            if rules is not None:
                rules.add(tokens)
            rows.step(tokens)


def _choose(
    rows: PromptBatch,
    config: GenerationConfig,
    constraint: Constraint | None,
    rules: LogitRules | None,
    randoms: Sequence[torch.Generator],
) -> tuple[torch.Tensor, Sequence[float | None], Sequence[Top | None]]:
    """The next token of each row, int64 [B]; where asked for, its log-probability and those of the
    likeliest."""
    raw = rows.logits.cpu()  # [B, V]
    logits = raw if rules is None else rules.apply(raw)
    if constraint is not None:
        logits = constraint.apply(logits)
    tokens = next_tokens(logits, config, randoms)
    none = [None] * len(tokens)
    return (
        tokens,
        log_probability(raw, tokens).tolist() if config.logprobs else none,
        likeliest(raw, config.top_logprobs) if config.top_logprobs else none,
    )


def _add(
    live: Sequence[AnswerWriter],
    tokens: torch.Tensor,
    logprobs: Sequence[float | None],
    tops: Sequence[Top | None],
    constraint: Constraint | None,
) -> None:
    numbers = tokens.tolist()
    for answer, token, logprob, top in zip(live, numbers, logprobs, tops, strict=True):
        answer.add(token, logprob, top)
    if constraint is not None:
        for answer, complete in zip(live, constraint.take(numbers), strict=True):
            if complete:
                answer.end("stop")
