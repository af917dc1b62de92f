"""Log-likelihoods of continuations and embeddings of texts, on torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.lm.engine.base import Pair, cancelled_embedding, cancelled_score
from adwright.lm.engine.generation import Cancellation
from adwright.lm.torch_engine.network import Network, PromptBatch

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


# --------------------------------------------------------------------------------------------------
# Two tokens after a prompt, each of a few: all their log-probabilities in one reading of it.
#
#     first, second = branched_rows(network, prompts, digits, digits)
#     first[:, :, None] + second                     # log P(a b | prompt) of all pairs: [B, F, S]
#
# After a prompt the first token can be any of F; after each of those, the second can be any of S. A
# prompt of L tokens is read once, then F single tokens behind its cache: L + F tokens, where
# scoring each of the F S answers by itself reads F S (L + 2).

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


# --------------------------------------------------------------------------------------------------
# What a network makes of a text that it reads: how it expects each token, and an inner state.
#
#     reading = read_rows(network, [1], [[504, 2]], layer=16)[0]
#     -reading.log_probabilities.mean()              # surprisal, in nats a token
#     reading.state                                  # mean hidden state of the layer, float32 [D]
#
# Middle layers tell more of a text than the last, which is made to name the next token.

#: Tokens of one pass, with their padding.
_READING_BATCH_TOKENS = 1024
#: Rows of logits that exist at a time.
_READING_HEAD_ROWS = 256


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
    for rows in _reading_batches(texts):
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
    for start in range(0, len(targets), _READING_HEAD_ROWS):
        rows = slice(start, start + _READING_HEAD_ROWS)
        logits = network.logits(hidden[rows])  # [n, V]
        chosen = logits.gather(-1, targets[rows, None])[:, 0]
        found.append((chosen - logits.logsumexp(-1)).double())
    logs: NDArray[np.float64] = torch.cat(found).cpu().numpy()
    return logs


def _reading_batches(texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Rows of like length, the longest first."""
    sizes = list(map(len, texts))
    order = sorted(range(len(texts)), key=lambda row: -sizes[row])
    while order:
        size = max(1, _READING_BATCH_TOKENS // sizes[order[0]])
        yield order[:size]
        order = order[size:]
