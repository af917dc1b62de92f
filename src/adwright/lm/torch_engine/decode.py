"""The loop that writes answers, token by token, for a batch of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig, Top
from adwright.lm.torch_engine.constraint import Constraint
from adwright.lm.torch_engine.logit_rules import LogitRules
from adwright.lm.torch_engine.network import Network, PromptBatch
from adwright.lm.torch_engine.sampling import (
    generator,
    likeliest,
    log_probability,
    next_tokens,
)

__all__ = ["decode"]


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
