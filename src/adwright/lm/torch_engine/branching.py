"""Two tokens after a prompt, each of a few: all their log-probabilities in one reading of it.

    first, second = branched_rows(network, prompts, digits, digits)
    first[:, :, None] + second                     # log P(a b | prompt) of all pairs: [B, F, S]

After a prompt the first token can be any of F; after each of those, the second can be any of S. A
prompt of L tokens is read once, then F single tokens behind its cache: L + F tokens, where scoring
each of the F S answers by itself reads F S (L + 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.lm.engine.generation import Cancellation
from adwright.lm.engine.prompts import cancelled_score
from adwright.lm.torch_engine.network import Network, PromptBatch

__all__ = ["branched_rows"]

#: 200 to 400 MB of a small model.
_CACHED = 8192

Floats = NDArray[np.float64]


def branched_rows(
    network: Network,
    prompts: Sequence[Sequence[int]],
    first: Sequence[int],
    second: Sequence[int],
    batch_size: int = 32,
    cancel: Cancellation | None = None,
    *,
    cached: int = _CACHED,
) -> tuple[Floats, Floats]:
    """log P(first | prompt) [B, F] and log P(second | prompt, first) [B, F, S], over the whole
    vocabulary.

    prompts: tokens of B prompts, none empty. first, second: F and S tokens. batch_size: prompts
    that are read together, less where they are long. cached: tokens whose keys and values exist at
    a time, over all branches. Raises ResourceError where it is cancelled,
    between two batches.
    """
    found = np.empty((len(prompts), len(first)))
    after = np.empty((len(prompts), len(first), len(second)))
    for rows in _batches(prompts, cached // max(len(first), 1), batch_size):
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        some = [prompts[row] for row in rows]
        found[rows], after[rows] = _branched(network, some, first, second)
    return found, after


def _branched(
    network: Network,
    prompts: Sequence[Sequence[int]],
    first: Sequence[int],
    second: Sequence[int],
) -> tuple[Floats, Floats]:
    B, F = len(prompts), len(first)
    batch = PromptBatch(network, prompts)
    lead = _logs(batch.logits, first)  # [B, F]
    batch.keep(torch.arange(B).repeat_interleave(F))
    batch.step(torch.tensor(list(first)).repeat(B))
    follow = _logs(batch.logits, second)  # [B F, S]
    return lead, follow.reshape(B, F, len(second))


def _logs(logits: Tensor, tokens: Sequence[int]) -> Floats:
    """Log-probabilities [R, K] of K tokens by logits [R, V]."""
    chosen = logits[:, list(tokens)] - logits.logsumexp(-1, keepdim=True)
    found: Floats = chosen.double().cpu().numpy()
    return found


def _batches(prompts: Sequence[Sequence[int]], tokens: int, most: int) -> Iterator[list[int]]:
    """Rows of like length, the longest first, of at most so many tokens together."""
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    while order:
        size = min(most, max(1, tokens // len(prompts[order[0]])))
        yield order[:size]
        order = order[size:]
