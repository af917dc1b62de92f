"""What M-FALCON caches of a history: K and V of its tokens in each layer, and how they grow.

A token of the history sees nothing that comes after it, so new events leave K and V of the
tokens before them as they were. What a cached history and a new one have in common, from the first
event on, is therefore reused, and only the rest is read: after a new event two tokens instead of
all. An event whose action has become known costs one token and what follows it.

Nothing is reused where the first event or the context differs, so also where the events were cut at
the front, which moves all places. Layers behind a truncation that lets other tokens pass than
before are computed again from their input (`History.before`, cached for this).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import AttentionSpec, Bounds, pairs, time_bucket
from adwright.models.sequential.hstu import HSTULayer
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.sequence_model import SequenceModel, SequenceTokens

__all__ = ["History", "LayerHistory", "SeenTokens", "in_common", "layers_of", "read_history"]


class SeenTokens(Protocol):
    """What candidates see of a history in one layer, in whatever form it is kept: k [n, H, Dqk]
    and v [n, H, Dv] float32, time int64 [n] seconds or None; its length is n, which differs
    between layers after a truncation."""

    @property
    def k(self) -> Tensor: ...

    @property
    def v(self) -> Tensor: ...

    @property
    def time(self) -> Tensor | None: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class LayerHistory:
    """`SeenTokens` as plain tensors."""

    k: Tensor
    v: Tensor
    time: Tensor | None

    def __len__(self) -> int:
        return len(self.k)


@dataclass(frozen=True)
class History:
    """One user's history as the layers have read it.

    person: the batch of one that was read. layers: of the model. events: how many. contexts:
    tokens before them. before: [T, D], all tokens as they come to the truncation; None without.
    """

    person: SequenceBatch
    layers: tuple[SeenTokens, ...]
    events: int
    contexts: int
    before: Tensor | None

    @property
    def tokens(self) -> int:
        """T, before any truncation."""
        return self.contexts + 2 * self.events


def layers_of(model: HSTURanker) -> list[HSTULayer]:
    """The layers of the model, typed."""
    return [layer for layer in model.stack.layers if isinstance(layer, HSTULayer)]


def in_common(model: HSTURanker, kept: History, person: SequenceBatch) -> int:
    """Count the first tokens that a user's history shares with the cached one; 0 where the context
    or the first item differs."""
    config, old = model.config, kept.person
    if person.action is None or (config.time and person.time is None):
        return 0  # reading it says what is missing
    if config.context and not torch.equal(_known(old.context), _known(person.context)):
        return 0
    shorter = min(kept.events, len(person.items.values))
    same = old.items.values[:shorter] == person.items.values[:shorter]
    if config.time:
        same &= _known(old.time)[:shorter] == _known(person.time)[:shorter]
    acted = same & (_known(old.action)[:shorter] == _known(person.action)[:shorter])
    whole = int(acted.long().cumprod(0).sum())
    item = whole < shorter and bool(same[whole])
    tokens = 2 * whole + int(item)
    # The first event says when the context stands.
    moved = not tokens and max(kept.events, len(person.items.values)) > 0
    return 0 if moved else kept.contexts + tokens


def read_history(
    model: HSTURanker, person: SequenceBatch, onto: History | None = None, common: int = 0
) -> History:
    """Read the history of a batch of one; the model is in eval mode.

    onto, common: a cached history, and how many of its first tokens are reused.
    Raises ValueInvalidError for a history that leaves no place for a candidate.
    """
    config = model.config
    events = int(person.items.offsets[-1])
    model.require_place(events)
    with torch.no_grad():
        tokens = model.tokens(person)
        spec = model.stack.spec(tokens)
        onto = onto if common else None
        first, x, before = common, tokens.x[common:], None
        chain = layers_of(model)
        layers: list[SeenTokens] = []
        for number, layer in enumerate(chain):
            if number and number == config.truncate_after:
                before = x if onto is None else torch.cat([_required(onto.before)[:first], x])
                # A candidate is the last of the tokens that go on.
                tokens = SequenceModel.latest(replace(tokens, x=before), config.truncate_to - 1)
                cut = len(tokens.x) < len(before)
                if cut or (onto is not None and len(onto.layers[number]) < onto.tokens):
                    onto, first = None, 0
                x = tokens.x[first:]
            parts = layer.project(x)
            k, v = parts.k, parts.v
            if onto is not None:
                seen = onto.layers[number]
                k, v = torch.cat([seen.k[:first], k]), torch.cat([seen.v[:first], v])
            # Without an event, context has no time of its own but that of the request.
            layers.append(LayerHistory(k, v, tokens.time if events else None))
            if number + 1 == len(chain):
                break
            if onto is None:
                attended = layer.attend(parts, replace(tokens, x=x), spec)
            else:
                attended = _attend_late(layer, parts.q, layers[-1], first, tokens, spec)
            x = layer.merge(parts.u, attended, x)
    return History(person, tuple(layers), events, tokens.contexts, before)


def _attend_late(
    layer: HSTULayer,
    q: Tensor,
    seen: SeenTokens,
    first: int,
    tokens: SequenceTokens,
    spec: AttentionSpec,
) -> Tensor:
    """Attend from the L tokens from `first` on: A V [L, H, Dv], by the formula."""
    place = torch.arange(len(seen))
    bounds = Bounds(*(one[0] for one in Bounds.of(tokens.offsets, spec)))
    admitted, distance = pairs(place[first:], place, bounds, spec.window)
    bucket = None
    if tokens.time is not None and tokens.query_time is not None:
        bucket = time_bucket(tokens.query_time[first:, None] - tokens.time)
    scores = layer.alpha * torch.einsum("ihd,jhd->hij", q, seen.k)
    scores = layer.biased(scores, distance, bucket)
    weights = functional.silu(scores) * admitted
    return torch.einsum("hij,jhd->ihd", weights, seen.v) / layer.longest


def _known(values: Tensor | None) -> Tensor:
    return torch.zeros(0, dtype=torch.int64) if values is None else values


def _required(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueInvalidError("the history was read by a model without truncation")
    return values
