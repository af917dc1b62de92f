"""Log-likelihoods of continuations and embeddings of texts, on torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.lm.engine.base import Pair
from adwright.lm.engine.generation import Cancellation
from adwright.lm.engine.prompts import cancelled_embedding, cancelled_score
from adwright.lm.torch_engine.network import Network

__all__ = ["batches_of_pairs", "embed_rows", "score_rows"]

#: So many continuations of one prompt are computed by themselves, their prompt once.
_FAMILY = 4
#: Tokens that are computed between two looks at a cancellation, at least one row.
_BATCH_TOKENS = 2048
#: Rows of logits that exist at a time: 512 of a vocabulary of 49,152 take 100 MB.
_HEAD_ROWS = 512


def score_rows(
    network: Network, pairs: Sequence[Pair], batch_size: int, cancel: Cancellation | None = None
) -> list[npt.NDArray[np.float64]]:
    """Log-probability of each token of B continuations.

    pairs: tokens of each prompt and continuation, neither empty.
    Raises ResourceError where it is cancelled, between two batches.
    """
    found: list[npt.NDArray[np.float64]] = [np.empty(0)] * len(pairs)
    for rows in batches_of_pairs(pairs, batch_size):
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        for row, logprobs in zip(rows, _batch(network, [pairs[row] for row in rows]), strict=True):
            found[row] = logprobs
    return found


def batches_of_pairs(pairs: Sequence[Pair], batch_size: int) -> Iterator[list[int]]:
    """Rows that are computed together: those of one prompt where there are several, then others of
    like length."""
    order = sorted(range(len(pairs)), key=lambda row: pairs[row][0])
    others: list[int] = []
    for _, family in groupby(order, key=lambda row: pairs[row][0]):
        rows = list(family)
        if len(rows) < _FAMILY:
            others.extend(rows)
        else:
            yield from _cut(rows, [len(pairs[row][1]) for row in rows], batch_size)
    others.sort(key=lambda row: -len(pairs[row][0]) - len(pairs[row][1]))
    yield from _cut(others, [len(pairs[row][0]) + len(pairs[row][1]) for row in others], batch_size)


def embed_rows(
    network: Network,
    rows: Sequence[Sequence[int]],
    batch_size: int,
    cancel: Cancellation | None = None,
) -> npt.NDArray[np.float32]:
    """Mean of the last hidden states over the tokens of each row, of length 1: [B, D].

    Raises ResourceError where it is cancelled, between two batches.
    """
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    found: list[tuple[int, Tensor]] = []
    for batch in _cut(order, [len(rows[row]) for row in order], batch_size):
        if cancel is not None and cancel.cancelled:
            raise cancelled_embedding()
        ids = _padded([rows[row] for row in batch]).to(network.device)  # [b, L]
        positions = torch.arange(ids.shape[1], device=network.device)[None].expand_as(ids)
        own = network.over([rows[row] for row in batch])
        hidden = own.hidden(ids, positions=positions).float()  # [b, L, D]
        for at, row in enumerate(batch):
            mean = hidden[at, : len(rows[row])].mean(0)
            found.append((row, mean / mean.norm().clamp_min(1e-12)))
    found.sort(key=lambda one: one[0])
    if not found:
        return np.empty((0, 0), dtype=np.float32)
    return torch.stack([mean for _, mean in found]).cpu().numpy()


def _batch(network: Network, pairs: Sequence[Pair]) -> list[npt.NDArray[np.float64]]:
    B, device = len(pairs), network.device
    whole = [before + after for before, after in pairs]
    network = network.over([before for before, _ in pairs])
    # The hidden state of a prompt's last token gives the first token of the continuation.
    shared = min(network.shared(whole) if B > 1 else 0, min(len(before) for before, _ in pairs) - 1)
    cache = None
    if shared > 0:
        cache = network.new_cache()
        first = torch.tensor([whole[0][:shared]], device=device)
        network.hidden(first, positions=torch.arange(shared, device=device)[None], cache=cache)
        cache.batch_repeat_interleave(B)
    shared = max(shared, 0)
    # Padding lies behind, where a causal network does not look: it needs no mask.
    ids = _padded([row[shared:] for row in whole]).to(device)  # [B, L]
    positions = shared + torch.arange(ids.shape[1], device=device)[None].expand_as(ids)
    hidden = network.hidden(ids, positions=positions, cache=cache)  # [B, L, D]
    picked = [
        hidden[row, len(before) - 1 - shared : len(one) - 1 - shared]
        for row, ((before, _), one) in enumerate(zip(pairs, whole, strict=True))
    ]
    targets = torch.tensor([token for _, after in pairs for token in after], device=device)
    flat = _log_probabilities(network, torch.cat(picked), targets)
    ends = np.cumsum([len(after) for _, after in pairs])
    return np.split(flat, ends[:-1])


def _log_probabilities(
    network: Network, hidden: Tensor, targets: Tensor
) -> npt.NDArray[np.float64]:
    """Log-probability of `targets` int64 [N] after hidden states [N, D]: float64 [N]."""
    found = []
    for start in range(0, len(targets), _HEAD_ROWS):
        logits = network.logits(hidden[start : start + _HEAD_ROWS])  # [n, V]
        chosen = logits.gather(-1, targets[start : start + _HEAD_ROWS, None])[:, 0]
        found.append((chosen - logits.logsumexp(-1)).double())
    return torch.cat(found).cpu().numpy()


def _cut(rows: Sequence[int], lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Rows in batches of at most `most`, and of so many tokens with their padding."""
    batch: list[int] = []
    longest = 0
    for row, length in zip(rows, lengths, strict=True):
        longest = max(longest, length)
        if batch and (len(batch) == most or longest * (len(batch) + 1) > _BATCH_TOKENS):
            yield batch
            batch, longest = [], length
        batch.append(row)
    if batch:
        yield batch


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    ids = torch.zeros(len(rows), max(map(len, rows), default=0), dtype=torch.long)
    for row, one in enumerate(rows):
        ids[row, : len(one)] = torch.tensor(list(one))
    return ids
