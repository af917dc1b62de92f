"""One step of greedy coordinate gradient, written out plainly: whole prompts, nothing shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from adwright.audit.attacks.attack import AttackGoal
from adwright.audit.targets.chat import ANSWER_START, list_messages
from adwright.lm.engine.hf_tokens import HuggingFaceTokens


class LiteralPrompt(NamedTuple):
    """ids: of the prompt with an answer that begins "1. " and the name. answer: of these."""

    ids: list[int]
    answer: int


def literal_prompt(
    goal: AttackGoal, tokens: HuggingFaceTokens, extra: str, order: Sequence[int]
) -> LiteralPrompt:
    (ask,) = goal.asks(extra, [order])
    answer = tokens.encode(ANSWER_START, special=False)
    answer += tokens.encode(f" {goal.name}", special=False)
    return LiteralPrompt(tokens.chat(list_messages(ask)) + answer, len(answer))


def literal_loss(model: Any, prompt: LiteralPrompt) -> float:
    """Mean cross-entropy of the answer."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt.ids])).logits[0].double()
    T = prompt.answer
    return float(functional.cross_entropy(logits[-T - 1 : -1], torch.tensor(prompt.ids[-T:])))


def literal_gradient(model: Any, prompt: LiteralPrompt, start: int, end: int) -> np.ndarray:
    """By one-hot rows of the tokens from `start` to `end`: [L, V]."""
    table = model.get_input_embeddings().weight
    onehot = functional.one_hot(torch.tensor(prompt.ids), len(table)).to(table.dtype)
    onehot.requires_grad_(True)
    logits = model(inputs_embeds=(onehot @ table)[None]).logits[0]
    T = prompt.answer
    functional.cross_entropy(logits[-T - 1 : -1], torch.tensor(prompt.ids[-T:])).backward()
    assert onehot.grad is not None
    return onehot.grad[start:end].numpy()


def literal_step(
    model: Any,
    goal: AttackGoal,
    tokens: HuggingFaceTokens,
    suffix: Sequence[int],
    order: Sequence[int],
    *,
    allowed: np.ndarray,
    top_k: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[tuple[int, ...], float]:
    """The best of `count` candidates that survive as text, and its loss."""
    prompt = literal_prompt(goal, tokens, tokens.decode(suffix), order)
    start = next(
        at for at in range(len(prompt.ids)) if prompt.ids[at : at + len(suffix)] == list(suffix)
    )
    gradient = literal_gradient(model, prompt, start, start + len(suffix))
    best = []
    for row in gradient:
        usable = [token for token in range(len(row)) if allowed[token]]
        best.append(sorted(usable, key=lambda token: (row[token], token))[:top_k])
    found: dict[tuple[int, ...], float] = {}
    seen = {tuple(suffix)}
    while len(found) < count:
        one = list(suffix)
        place = int(rng.permutation(len(suffix))[0])
        one[place] = best[place][int(rng.integers(top_k, size=1)[0])]
        if tuple(one) in seen:
            continue
        seen.add(tuple(one))
        again = literal_prompt(goal, tokens, tokens.decode(one), order)
        if again.ids == [*prompt.ids[:start], *one, *prompt.ids[start + len(one) :]]:
            found[tuple(one)] = literal_loss(model, again)
    chosen = min(found, key=lambda key: found[key])
    return chosen, found[chosen]
