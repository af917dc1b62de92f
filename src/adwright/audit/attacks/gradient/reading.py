"""Losses of many suffixes in one prompt, reading only what each of them changes.

    reader = SuffixReader(model)
    base = reader.read(prompt, suffix)          # the whole prompt once; keys and values are kept
    gradient = reader.gradient(base)            # float32 [L, V]
    tried = reader.losses(base, suffixes)       # exact: tried.answer, tried.own, float64 [B]

The loss of a suffix is the mean cross-entropy of the answer that begins "1. " with the name of the
product (Kumar and Lakkaraju 2024, section 3; Zou et al. 2023, section 2):

    loss = -1/T sum_t log p(y_t | prompt, y_<t)

How odd a suffix reads by itself is its own mean cross-entropy, which a fluent attack weighs in:

    own = -1/L sum_l log p(s_l | prompt before it)

What stands before the first changed token is read once for all. Candidates are sorted by it, so
that a batch shares as much as it can; the vocabulary head sees only the T positions of the answer.

A look (`quick=True`) reads less: the suffix from its changed token on, and the answer. All between
keeps the keys and values that it had with the suffix before. It is an approximation that costs a
fraction of an exact reading, to choose what is worth one (our choice; `pace` and `visibility` under
benchmarks/audit measure both).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adwright.audit.attacks.gradient.place import PlacedPrompt
from adwright.audit.attacks.gradient.shared_attention import Branches, attends_in_branches
from adwright.core.errors import ConfigError
from adwright.lm.torch_engine.network import Network
from adwright.tuning.packing.attention import attends_fully

#: Tokens that are read together: more do not make the products faster, and fewer share more.
_BATCH_TOKENS = 512

Layers = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class ReadPrompt:
    """A prompt with a suffix, as the model has read it. layers: keys and values [G, N, D] of all
    its N tokens. loss: mean cross-entropy of the answer. expected: log-probabilities of all tokens
    in the places of the suffix [L, V]; None where they were not asked for."""

    prompt: PlacedPrompt
    suffix: tuple[int, ...]
    layers: Layers
    loss: float
    expected: Tensor | None = None

    @property
    def own(self) -> float:
        """Mean cross-entropy of the suffix; 0 where it was not asked for."""
        if self.expected is None:
            return 0.0
        return -float(_taken(self.expected, torch.tensor(self.suffix)).mean())


class SuffixLosses(NamedTuple):
    """Mean cross-entropies float64 [B]: of the answer, and of the suffixes themselves, which are 0
    where they were not asked for."""

    answer: NDArray[np.float64]
    own: NDArray[np.float64]


class SuffixReader:
    """Reads with the weights of a causal model of transformers, which are not changed.

    fluent: how odd suffixes read is computed too. Raises ConfigError for a model with windows or
    bounded scores.
    """

    def __init__(self, model: Any, *, fluent: bool = False) -> None:
        if not attends_fully(model.config.get_text_config()):
            raise ConfigError(
                "this model does not attend to the whole prompt in every layer",
                where=str(getattr(model.config, "model_type", "")),
                hint="attack it by search, which needs no gradient",
            )
        self._model = model
        self._network = Network(model)
        self._decoder = model.get_decoder()
        self._embed = model.get_input_embeddings()
        self._fluent = fluent
        #: Tokens that all calls so far have read; those of a gradient count three times.
        self.tokens_read = 0

    @property
    def vocabulary(self) -> int:
        """Tokens that the network knows."""
        return self._network.vocabulary

    @torch.no_grad()
    def read(
        self, prompt: PlacedPrompt, suffix: Sequence[int], like: ReadPrompt | None = None
    ) -> ReadPrompt:
        """Read a prompt with a suffix. like: the same prompt with another suffix, whose tokens
        before the suffix need not be read again."""
        ids = torch.tensor([prompt.with_suffix(suffix)])  # [1, N]
        # From the token before the suffix on, which expects the first of it.
        start = 0 if like is None else prompt.start - 1
        cache = self._network.new_cache()
        if like is not None:
            for at, (keys, values) in enumerate(like.layers):
                cache.update(keys[None, :, :start], values[None, :, :start], at)
        positions = torch.arange(start, ids.shape[1])[None]
        hidden = self._network.hidden(ids[:, start:], positions=positions, cache=cache)
        self.tokens_read += ids.shape[1] - start
        T = ids.shape[1] - prompt.answer
        loss = -float(self._logs(hidden[:, -T - 1 : -1], ids[:, prompt.answer :]).double().mean())
        layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
        expected = None
        if self._fluent:
            expected = self._expected(hidden[0], prompt, start)
        return ReadPrompt(prompt, tuple(map(int, suffix)), layers, loss, expected)

    def gradient(self, base: ReadPrompt) -> NDArray[np.float32]:
        """Gradient of the loss by the one-hot rows of the suffix: float32 [L, V].

        d loss / d onehot[l, v] = (d loss / d e_l) . E_v with the embedding matrix E [V, D]; tokens
        before the suffix are not read again.
        """
        prompt, start = base.prompt, base.prompt.start
        ids = torch.tensor([prompt.with_suffix(base.suffix)])
        before = Branches(_cut(base.layers, np.arange(start)))
        with torch.enable_grad(), attends_in_branches(self._model):
            # [1, N - start, D]
            embedded = self._embed(ids[:, start:]).detach().requires_grad_(True)
            state = self._decoder(
                inputs_embeds=embedded,
                position_ids=torch.arange(start, ids.shape[1])[None],
                use_cache=False,
                branches=before,
            )[0]
            answer = slice(prompt.answer - 1 - start, -1)
            loss = -self._logs(state[:, answer], ids[:, prompt.answer :]).mean()
            (found,) = torch.autograd.grad(loss, embedded)
        self.tokens_read += 3 * (ids.shape[1] - start)
        own = found[0, : len(base.suffix)]  # [L, D]
        gradient: NDArray[np.float32] = (own @ self._embed.weight.T).float().numpy()
        return gradient

    @torch.no_grad()
    def losses(
        self, base: ReadPrompt, suffixes: NDArray[np.int64], *, quick: bool = False
    ) -> SuffixLosses:
        """The losses of B suffixes [B, L] in the prompt of `base`. quick: by a look."""
        found = SuffixLosses(np.empty(len(suffixes)), np.zeros(len(suffixes)))
        differs = suffixes != np.asarray(base.suffix)
        # Of a suffix that changes nothing, the last token is read again.
        first = np.where(differs.any(1), differs.argmax(1), suffixes.shape[1] - 1)
        order = np.argsort(-first, kind="stable")
        with attends_in_branches(self._model):
            for rows in _batches(base.prompt, order, first, quick=quick):
                again = _reread(base.prompt, int(first[rows].min()), quick=quick)
                found.answer[rows], found.own[rows] = self._batch(base, suffixes[rows], again)
        return found

    def _batch(
        self, base: ReadPrompt, suffixes: NDArray[np.int64], again: NDArray[np.int64]
    ) -> SuffixLosses:
        """again: positions that are read again, in order [R]."""
        prompt = base.prompt
        B, N = len(suffixes), len(prompt.ids)
        ids = torch.tensor(prompt.ids).expand(B, N).clone()
        ids[:, prompt.start : prompt.end] = torch.from_numpy(suffixes)
        kept = np.setdiff1d(np.arange(int(again[-1])), again)  # [K]
        # A look keeps tokens that stand behind some of those read again.
        hides = len(kept) > 0 and int(kept[-1]) > int(again[0])
        hidden = _hidden(kept, again, self._embed.weight.dtype) if hides else None
        positions = torch.from_numpy(again)
        state = self._decoder(
            input_ids=ids[:, positions],
            position_ids=positions.expand(B, -1),
            use_cache=False,
            branches=Branches(_cut(base.layers, kept), hidden),
        )[0]
        self.tokens_read += B * len(again)
        T = N - prompt.answer
        logs = self._logs(state[:, -T - 1 : -1], ids[:, prompt.answer :])
        answer = -logs.mean(1).double().numpy()
        own = np.zeros(B)
        if base.expected is not None:
            changed = int(again[0]) - prompt.start
            own = self._own(base.expected, state, torch.from_numpy(suffixes), changed)
        return SuffixLosses(answer, own)

    def _expected(self, hidden: Tensor, prompt: PlacedPrompt, start: int) -> Tensor:
        """Log-probabilities [L, V] in the places of the suffix, by hidden states [N - start, D]."""
        rows = hidden[prompt.start - 1 - start : prompt.end - 1 - start]
        return self._network.logits(rows).log_softmax(-1)

    def _own(
        self, expected: Tensor, state: Tensor, suffixes: Tensor, changed: int
    ) -> NDArray[np.float64]:
        """Mean cross-entropy [B] of the suffixes [B, L], of which the tokens from `changed` on are
        the first of those read again, with hidden states [B, R, D]."""
        L = suffixes.shape[1]
        logs = _taken(expected[: changed + 1], suffixes[:, : changed + 1])
        parts = [logs]
        if changed + 1 < L:
            parts.append(self._logs(state[:, : L - changed - 1], suffixes[:, changed + 1 :]))
        found: NDArray[np.float64] = -torch.cat(parts, 1).mean(1).double().numpy()
        return found

    def _logs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities [B, T] of targets [B, T] after hidden states [B, T, D]."""
        B, T = targets.shape
        logits = self._network.logits(hidden.reshape(B * T, -1))  # [B T, V]
        found = -functional.cross_entropy(logits, targets.reshape(-1), reduction="none")
        return found.reshape(B, T)


def _taken(expected: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities [..., l] of tokens [..., l] by those of all tokens [l, V]."""
    return expected[torch.arange(len(expected)), tokens]


def _batches(
    prompt: PlacedPrompt, order: NDArray[np.int64], first: NDArray[np.int64], *, quick: bool
) -> Iterator[NDArray[np.int64]]:
    """Rows that are read together, those that change last before the others."""
    at = 0
    while at < len(order):
        size = 1
        while at + size < len(order):
            length = len(_reread(prompt, int(first[order[at + size]]), quick=quick))
            if length * (size + 1) > _BATCH_TOKENS:
                break
            size += 1
        yield order[at : at + size]
        at += size


def _reread(prompt: PlacedPrompt, first: int, *, quick: bool) -> NDArray[np.int64]:
    """Positions that are read again where the suffix changes from its token `first` on. The token
    before the answer is: what it says is the first of it."""
    N = len(prompt.ids)
    if not quick:
        return np.arange(prompt.start + first, N)
    own = np.arange(prompt.start + first, prompt.end)
    return np.concatenate([own, np.arange(max(prompt.answer - 1, prompt.end), N)])


def _cut(layers: Layers, kept: NDArray[np.int64]) -> Layers:
    """Keys and values of the tokens that are kept."""
    if len(kept) == 0 or int(kept[-1]) == len(kept) - 1:
        return [(keys[:, : len(kept)], values[:, : len(kept)]) for keys, values in layers]
    at = torch.from_numpy(kept)
    return [(keys[:, at], values[:, at]) for keys, values in layers]


def _hidden(kept: NDArray[np.int64], again: NDArray[np.int64], dtype: torch.dtype) -> Tensor:
    """Added to the scores [R, K]: 0 where a token stands behind a kept one, else minus infinity."""
    ahead = torch.from_numpy(kept[None] > again[:, None])
    return torch.zeros(ahead.shape, dtype=dtype).masked_fill_(ahead, float("-inf"))
