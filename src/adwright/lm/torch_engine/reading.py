"""What a network makes of a text that it reads: how it expects each token, and an inner state.

    reading = read_rows(network, [1], [[504, 2]], layer=16)[0]
    -reading.log_probabilities.mean()              # surprisal, in nats a token
    reading.state                                  # mean hidden state of the layer, float32 [D]

Middle layers tell more of a text than the last, which is made to name the next token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.lm.torch_engine.network import Network

__all__ = ["Reading", "read_rows"]

#: Tokens of one pass, with their padding.
_BATCH_TOKENS = 1024
#: Rows of logits that exist at a time.
_HEAD_ROWS = 256


class Reading(NamedTuple):
    """log_probabilities: float64 [T], of each token of the text given all before it. state: float32
    [D], mean over the text of the hidden states behind a layer."""

    log_probabilities: NDArray[np.float64]
    state: NDArray[np.float32]


def read_rows(
    network: Network, before: Sequence[int], texts: Sequence[Sequence[int]], layer: int
) -> list[Reading]:
    """What the network makes of B texts.

    before: tokens that stand before each, at least one; they pass once a batch. texts: tokens of
    each text, none empty. layer: 0 is the embedding, N the last of N.
    Raises ConfigError for a layer that there is not.
    """
    found: list[Reading | None] = [None] * len(texts)
    for rows in _batches(texts):
        some = _read(network, before, [texts[row] for row in rows], layer)
        for row, one in zip(rows, some, strict=True):
            found[row] = one
    return [one for one in found if one is not None]


def _read(
    network: Network, before: Sequence[int], texts: Sequence[Sequence[int]], layer: int
) -> Iterator[Reading]:
    B, start, device = len(texts), len(before), network.device
    cache = network.new_cache()
    head = torch.tensor([list(before)], device=device)
    behind = network.hidden(head, positions=torch.arange(start, device=device)[None], cache=cache)
    cache.batch_repeat_interleave(B)
    ids = torch.zeros(B, max(map(len, texts)), dtype=torch.long)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = torch.tensor(list(tokens))
    # Padding lies behind, where a causal network does not look.
    positions = start + torch.arange(ids.shape[1], device=device)[None].expand_as(ids)
    last, inner = network.inner_hidden(ids.to(device), layer, positions=positions, cache=cache)
    # What expects each token: the state behind the one before it. The head is as large as several
    # layers, so that it sees the texts together.
    seen = [
        torch.cat([behind[0, -1:], last[row, : len(text) - 1]]) for row, text in enumerate(texts)
    ]
    logs = _taken(network, torch.cat(seen), [token for text in texts for token in text])
    ends = np.cumsum([len(text) for text in texts])
    for row, (text, own) in enumerate(zip(texts, np.split(logs, ends[:-1]), strict=True)):
        yield Reading(own, inner[row, : len(text)].float().mean(0).cpu().numpy())


def _taken(network: Network, hidden: Tensor, tokens: Sequence[int]) -> NDArray[np.float64]:
    """Log-probability of N tokens by hidden states [N, D]: float64 [N]."""
    targets = torch.tensor(list(tokens), device=hidden.device)
    found = []
    for start in range(0, len(targets), _HEAD_ROWS):
        rows = slice(start, start + _HEAD_ROWS)
        logits = network.logits(hidden[rows])  # [n, V]
        chosen = logits.gather(-1, targets[rows, None])[:, 0]
        found.append((chosen - logits.logsumexp(-1)).double())
    logs: NDArray[np.float64] = torch.cat(found).cpu().numpy()
    return logs


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Rows of like length, the longest first."""
    sizes = list(map(len, texts))
    order = sorted(range(len(texts)), key=lambda row: -sizes[row])
    while order:
        size = max(1, _BATCH_TOKENS // sizes[order[0]])
        yield order[:size]
        order = order[size:]
