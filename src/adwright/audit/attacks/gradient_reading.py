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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adwright.audit.attacks.attack import AttackGoal
from adwright.audit.targets.chat import ANSWER_START
from adwright.audit.targets.likelihood import answer_ids, prompt_tokens
from adwright.audit.targets.target import Ask, ListingCleaner
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Tokenizer
from adwright.lm.torch_engine.network import Network
from adwright.tuning.packing.texts import attending, attends_fully

# --------------------------------------------------------------------------------------------------
# Where the attacked tokens lie in the prompts, and whether tokens survive as text.
#
#     place = SuffixPlace(goal, tokens, start=" *" * 20)
#     prompt = place.prompt(order)        # its ids, where the suffix is, where the answer begins
#     place.survives(ids)                 # do these tokens come back from their own text?
#
# A model reads tokens, a shop stores text. Tokens that are found by gradient often become others
# once
# their text is read again: "ab" + "c" may be one token. The released code of "Manipulating LLMs to
# Increase Product Visibility" evaluates without this check; here a candidate counts only where the
# whole record, written as text and read again, has exactly these tokens.
#
# An attack that knows a defence looks through it: the record stands in the prompt as the defence
# leaves it, so that only what gets through as it is survives, and by itself where the defence lets
# a model read each record alone.


@dataclass(frozen=True)
class PlacedPrompt:
    """One order of the products, as tokens.

    ids: prompt and answer, "1. " and the name of the product. start: where the suffix begins.
    end: behind it. answer: where the answer begins.
    """

    ids: tuple[int, ...]
    start: int
    end: int
    answer: int

    def with_suffix(self, suffix: Sequence[int]) -> tuple[int, ...]:
        """The tokens with another suffix of the same length."""
        return (*self.ids[: self.start], *suffix, *self.ids[self.end :])


class SuffixPlace:
    """The suffix behind the text of a goal's field.

    start: the text that it begins as, with a space in front. cleaner: a defence, which the record
    has gone through. alone: the prompt holds no other record, whatever the order.

    Raises ConfigError where the text that it begins as does not lie in the prompt as its own
    tokens, such as where the defence takes it out.
    """

    def __init__(
        self,
        goal: AttackGoal,
        tokens: Tokenizer,
        start: str,
        *,
        cleaner: ListingCleaner | None = None,
        alone: bool = False,
    ) -> None:
        self.goal = goal
        self._cleaner, self._alone = cleaner, alone
        self._tokens = tokens
        self.first = tuple(tokens.encode(start, special=False))
        own = (*tokens.encode(ANSWER_START, special=False), *answer_ids(tokens, goal.name))
        self._answer = own
        self._home = self.prompt(tuple(range(len(goal.catalogue))))

    def text(self, suffix: Sequence[int]) -> str:
        """The text of some tokens, to be added behind the field."""
        return self._tokens.decode(suffix)

    def prompt(self, order: Sequence[int]) -> PlacedPrompt:
        """The prompt in which the products are shown in this order, with the suffix as it begins.
        Raises ConfigError where the suffix is not found in it exactly once."""
        ids, size = self._ids(self.text(self.first), order), len(self.first)
        starts = [at for at in range(len(ids) - size + 1) if ids[at : at + size] == self.first]
        if len(starts) != 1:
            raise ConfigError(
                "the tokens that the attack begins with do not lie in the prompt exactly once",
                where=f"{self.goal.name}: {self.text(self.first)[:20]!r}, {len(starts)} places",
                hint="begin with other words",
            )
        answer = len(ids) - len(self._answer)
        end = starts[0] + len(self.first)
        return PlacedPrompt(ids, starts[0], end, answer)

    def survives(self, suffix: Sequence[int]) -> bool:
        """Whether text made of these tokens has them again where it is read in its record."""
        text, order = self.text(suffix), range(len(self.goal.catalogue))
        return self._ids(text, order) == self._home.with_suffix(suffix)

    def _ids(self, extra: str, order: Sequence[int]) -> tuple[int, ...]:
        own = self.goal.attacked(extra)
        own = own if self._cleaner is None else self._cleaner.clean(own)
        shop = self.goal.catalogue
        listings = (own,) if self._alone else shop.with_listing(self.goal.row, own).listings
        shown = (0,) if self._alone else tuple(order)
        asked = prompt_tokens(self._tokens, Ask(listings, shop.request, shown))
        start = len(self._tokens.encode(ANSWER_START, special=False))
        return (*asked[: len(asked) - start], *self._answer)


# --------------------------------------------------------------------------------------------------
# Attention of many candidates to the keys and values of one prompt, which is never copied.
#
#     with attends_in_branches(model):
#         decoder(input_ids=ids, position_ids=positions, use_cache=False, branches=Branches(...))
#
# B candidates change a few tokens of a prompt of K tokens. The queries of all of them meet the kept
# keys in one product of matrices, and each its own R new keys:
#
#     scores = [ Q K_kept^T + mask ;  q_b k_b^T + causal ] s        [H, B R, K + R]
#     output = softmax(scores) [ V_kept ; v_b ]
#
# A cache of transformers would hold B copies of the prompt, and making them takes longer than all
# products of a short candidate.

#: Under which transformers knows this attention.
_NAME = "adwright_branches"
#: Up to so many new tokens of a candidate, scores are made for all candidates at once.
_SHORT = 64


@dataclass(frozen=True)
class Branches:
    """keys, values: [G, K, D] of the kept tokens, a pair a layer. hidden: added to the scores of
    the kept tokens [R, K], minus infinity where a token may not look; None where all may."""

    layers: list[tuple[Tensor, Tensor]]
    hidden: Tensor | None = None


def attends_in_branches(model: Any) -> AbstractContextManager[None]:
    """Within the context, the decoder takes `branches=` with the tokens and positions of B
    candidates, and no cache; each sees the kept tokens and its own. Without `branches` it attends
    as ever. Raises MissingExtraError without transformers."""
    return attending(model, _NAME, _attend)


def branch_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    kept: tuple[Tensor, Tensor] | None = None,
    hidden: Tensor | None = None,
) -> Tensor:
    """Attention of B candidates: query [B, H, R, D], key and value [B, G, R, D] -> [B, R, H, D].

    The R tokens of a candidate are in the order of their positions, so that each sees those before
    it. kept: keys and values [G, K, D] of tokens that all see. hidden: as in `Branches`.
    """
    if kept is None or query.shape[2] > _SHORT:
        return _copied(query, key, value, kept, hidden, scale)
    return _shared(query * scale, key, value, kept, hidden)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    branches: Branches | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    kept = None if branches is None else branches.layers[int(layer)]
    hidden = None if branches is None else branches.hidden
    return branch_attention(query, key, value, scale, kept, hidden), None


def _shared(
    query: Tensor, key: Tensor, value: Tensor, kept: tuple[Tensor, Tensor], hidden: Tensor | None
) -> Tensor:
    B, H, R, D = query.shape
    keys, values = kept  # [G, K, D]
    G, K, _ = keys.shape
    F = H // G
    # The heads of a group side by side: [G, F, B, R, D].
    queries = query.view(B, G, F, R, D).permute(1, 2, 0, 3, 4).contiguous()
    flat = queries.view(G, F * B * R, D)
    # Products with a matrix that is stored transposed take twice as long.
    seen = torch.bmm(flat, keys.transpose(1, 2).contiguous()).view(G, F, B, R, K)
    if hidden is not None:
        seen += hidden
    own = torch.matmul(queries, key.permute(1, 0, 3, 2)[:, None])  # [G, F, B, R, R]
    later = torch.ones(R, R, dtype=torch.bool, device=query.device).triu(1)
    own.masked_fill_(later, float("-inf"))
    shares = torch.cat([seen, own], dim=-1).softmax(-1)  # [G, F, B, R, K + R]
    found = torch.bmm(shares.view(G, F * B * R, K + R)[..., :K], values).view(G, F, B, R, D)
    found += torch.matmul(shares[..., K:], value.transpose(0, 1)[:, None])
    return found.permute(2, 3, 0, 1, 4).reshape(B, R, H, D)


def _copied(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kept: tuple[Tensor, Tensor] | None,
    hidden: Tensor | None,
    scale: float,
) -> Tensor:
    """The same by torch's kernel, over a copy of the kept keys for each candidate: faster where
    many tokens of a candidate are new, since no scores are stored."""
    B, _, R, _ = query.shape
    mask = torch.full((R, R), float("-inf"), dtype=query.dtype, device=query.device).triu_(1)
    if kept is not None:
        keys, values = (one[None].expand(B, -1, -1, -1) for one in kept)
        key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        before = mask.new_zeros(R, keys.shape[2]) if hidden is None else hidden
        mask = torch.cat([before, mask], dim=1)
    found = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=True
    )
    return found.transpose(1, 2)


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


# --------------------------------------------------------------------------------------------------
# Which tokens an attack may use: what a shop's form would take, and a record keeps as it is.
#
#     allowed = allowed_tokens(tokens, vocabulary)     # bool [V]
#
# As in the released code of "Manipulating LLMs to Increase Product Visibility", tokens that are not
# ASCII and special ones are forbidden. So are quotes and backslashes, which a record of JSON would
# show with a backslash before them, as other tokens (our choice).

_ESCAPED = frozenset('"\\')


def allowed_tokens(tokens: Tokenizer, vocabulary: int) -> NDArray[np.bool_]:
    """bool [V]: whether a token by itself is printable ASCII that JSON does not escape.

    Special tokens have no text. Raises ConfigError where no token is allowed.
    """
    found = np.zeros(vocabulary, dtype=np.bool_)
    for token in range(vocabulary):
        text = tokens.decode([token])
        plain = text.isascii() and text.isprintable() and not _ESCAPED & set(text)
        found[token] = bool(text.strip()) and plain
    if not found.any():
        raise ConfigError(
            "no token of this model is plain ASCII text",
            where=f"{vocabulary} tokens",
            hint="attack it by search, which needs no tokens",
        )
    return found
