"""The sequence models: the closed union of what is trained on item sequences, saved and served.

Adding a retriever of the next item takes its own file and this one: its config and network in the
unions, its kind in `config_type`, its constructor in `sequence_retriever`, and where it is to be
exported, its network over padded tensors in `dense_network`. What other files ask of a model is
here, or an attribute of its config (`kind`, `title` and the properties of `SequenceConfig`).

`kind` names a model on the command line, in run files and in artifacts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.models.kernels.attention_spec import TIME_BUCKETS, Bounds, pairs, time_bucket
from adwright.models.sequential.hstu import (
    HSTU,
    HSTUConfig,
    HSTULayer,
    HSTUStack,
    Projected,
    SASRec,
    SASRecBlock,
    SASRecConfig,
)
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import COUNT_BUCKETS, LossConfig, Repeats, unit
from adwright.models.sequential.sequence_model import SequenceInput, SequenceModel

# --------------------------------------------------------------------------------------------------
# The sequence models as plain networks over padded tensors, for export.
#
# They compute what `hstu`, `sasrec` and `mfalcon` do, with every pair of tokens in memory: U people
# at once for a retriever, one person and m candidates for a ranker. Sequences are padded at their
# end, where causal attention never looks, so padding needs no mask; only what counts from the end
# of a sequence (its last event, a truncation, the place of a candidate) reads its length. Nothing
# here branches on data, so torch.export and ONNX can trace it with U, L and m left open.
#
# Letters: U people, L events, T tokens (events and context), D width, H heads, n events of one
# person, m candidates, K tasks, F context features.


class DenseRetriever(nn.Module):
    """Queries of a trained HSTU or SASRec in inference form; weights are copied.

    timed: whether the sequences have times.
    """

    def __init__(self, model: HSTU | SASRec, *, timed: bool = True) -> None:
        super().__init__()
        self.temperature = model.config.loss.temperature
        self.input = _Input(model.input)
        self.times = model.config.reads_time
        self.known = model.config.reads_request_time
        self.popularity = model.bias is not None
        self.own = None if model.repeats is None else _OwnTerms(model, model.repeats, timed=timed)
        self.body: _Attended | _Blocks
        match model:
            case HSTU():
                self.body = _Attended(model.stack, self.input.contexts)
            case SASRec():
                self.body = _Blocks(model)
        self.requires_grad_(False)
        self.eval()

    def forward(
        self,
        items: Tensor,
        lengths: Tensor,
        time: Tensor | None = None,
        next_time: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Unit vectors over the temperature [U, D], or [U, D + 1] with popularity; zero for a
        person without events, but for popularity. With repeats also [U, L], what is added to the
        score of the item at each place, once an item: at its last place.

        items: int64 [U, L], oldest first, 0 after a person's lengths: int64 [U] events.
        time, next_time: int64 [U, L] seconds, of each event and of when the item after it is
        asked for. context: int64 [U, F]. `inputs_read` says which of these are read.
        """
        asked = next_time if self.known else time
        tokens = _Tokens(
            self.input(items, context),
            lengths + self.input.contexts,
            self.input.moved(time) if self.times else None,
            self.input.moved(asked) if self.times else None,
        )
        last = self.body(tokens)
        place = (last.lengths - 1).clamp(min=0)[:, None]
        vectors = unit(_taken(last.x, place)[:, 0])
        vectors = vectors * (lengths > 0).to(vectors.dtype)[:, None]
        queries = vectors / self.temperature
        if self.popularity:
            queries = torch.cat([queries, torch.ones_like(queries[:, :1])], 1)
        if self.own is None:
            return queries
        terms: Tensor = self.own(items, lengths, (time, next_time), vectors, queries)
        return queries, terms


class DenseRanker(nn.Module):
    """Logits of a trained HSTURanker for candidates after one history; weights are copied.

    It computes what `mfalcon` does, with the history read anew.
    """

    def __init__(self, model: HSTURanker) -> None:
        super().__init__()
        config = model.config
        self.input = _Input(model.input)
        self.action = copy.deepcopy(model.action)
        self.head = copy.deepcopy(model.head)
        self.body = _Attended(model.stack, self.input.contexts)
        self.times = config.time
        # A candidate is the last of the tokens that go on.
        self.body.truncate_to = config.truncate_to - 1
        self.requires_grad_(False)
        self.eval()

    def forward(
        self,
        items: Tensor,
        actions: Tensor,
        candidates: Tensor,
        time: Tensor | None = None,
        request_time: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Logits [m, K].

        items, actions: int64 [n], what the person had and what was done with it, oldest first;
        n lies between 0 and the model's longest sequence less 1. candidates: int64 [m].
        time: int64 [n] seconds and request_time: int64 [1], read where the model reads times.
        context: int64 [F], read where the model has context.
        """
        known = self.input(items[None], None if context is None else context[None])[0]
        acted = self.action(actions) * self.input.scale + self.input.position[: items.shape[0]]
        front, known = known[: self.input.contexts], known[self.input.contexts :]
        both = torch.stack([known, acted], 1).flatten(0, 1)
        # One token of padding at the end: without it there is none for somebody without events.
        x = torch.cat([front, both, front.new_zeros(1, front.shape[1])])[None]
        events = torch.ones_like(items).sum()
        lengths = (self.input.contexts + 2 * events)[None]
        when = self._times(time, request_time)
        tokens = _Tokens(x, lengths, when, when)
        place = self.input.position.index_select(0, events[None])
        asked = self.input.item(candidates) * self.input.scale + place
        logits: Tensor = self.head(self.body.candidates(tokens, asked, request_time))
        return logits

    def _times(self, time: Tensor | None, request_time: Tensor | None) -> Tensor | None:
        """int64 [1, T]; without an event, context has the time of the request."""
        if not self.times or time is None or request_time is None:
            return None
        first = torch.cat([time, request_time])[:1].expand(self.input.contexts)
        twice = time[:, None].expand(-1, 2).flatten(0, 1)
        return torch.cat([first, twice, request_time])[None]


def inputs_read(model: SequenceModel, *, timed: bool = True) -> tuple[str, ...]:
    """Names of the inputs that a DenseRetriever of `model` reads, in the order of its forward."""
    config, own = model.config, timed and model.repeats is not None
    read = {
        "time": config.reads_time or own,
        "next_time": config.reads_request_time or own,
        "context": config.context,
    }
    return ("items", "lengths", *(name for name, asked in read.items() if asked))


class _Tokens(NamedTuple):
    """x [U, T, D]; lengths int64 [U], how many of T are real; seconds int64 [U, T] or None."""

    x: Tensor
    lengths: Tensor
    time: Tensor | None
    query_time: Tensor | None


class _Input(nn.Module):
    """What `SequenceInput` does, padded."""

    position: Tensor

    def __init__(self, model: SequenceInput) -> None:
        super().__init__()
        self.scale = model.config.width**0.5
        self.item = copy.deepcopy(model.item)
        self.context = copy.deepcopy(model.context)
        self.contexts = len(model.context)
        self.register_buffer("position", model.position.detach().clone())

    def forward(self, items: Tensor, context: Tensor | None) -> Tensor:
        """Tokens [U, T, D] of items int64 [U, L], the context's before them."""
        events = self.item(items) * self.scale + self.position[: items.shape[1]]
        if context is None or not self.contexts:
            return cast("Tensor", events)
        known = [table(context[:, f]) for f, table in enumerate(self.context)]
        return torch.cat([torch.stack(known, 1) * self.scale, events], 1)

    def moved(self, time: Tensor | None) -> Tensor | None:
        """Times [U, T] of tokens: context stands at the time of the first event."""
        if time is None or not self.contexts:
            return time
        return torch.cat([time[:, :1].expand(-1, self.contexts), time], 1)


class _OwnTerms(nn.Module):
    """What `Repeats` adds to the scores of a person's own items."""

    vectors: Tensor
    often: Tensor

    def __init__(self, model: SequenceModel, repeats: Repeats, *, timed: bool) -> None:
        super().__init__()
        self.timed = timed
        with torch.no_grad():
            every = torch.arange(model.input.item.num_embeddings)
            self.register_buffer("vectors", model.item_vectors(every).detach().clone())
        self.repeats = copy.deepcopy(repeats)
        number = torch.arange(257).clamp(min=1).double()
        often = torch.floor(2 * torch.log2(number) + 1e-9).long()
        self.register_buffer("often", often.clamp(max=COUNT_BUCKETS - 1))

    def forward(
        self,
        items: Tensor,
        lengths: Tensor,
        times: tuple[Tensor | None, Tensor | None],
        vectors: Tensor,
        queries: Tensor,
    ) -> Tensor:
        """Terms [U, L] of items int64 [U, L]; 0 where an item comes again later, is unknown or
        padding. times: of the events and of those after them. vectors: unit vectors [U, D];
        queries: [U, D] or [U, D + 1], the same as what items are multiplied with."""
        place = torch.arange(items.shape[1])
        real = (place < lengths[:, None]) & (items > 0)
        same = (items[:, :, None] == items[:, None, :]) & real[:, None, :]  # [U, L, L]
        again = (same & (place > place[:, None])).any(-1)
        last = (lengths - 1).clamp(min=0)[:, None]
        time, next_time = times
        since = last + 1 - place
        if self.timed and time is not None and next_time is not None:
            since = next_time.gather(1, last) - time
        often = self.often[same.sum(-1).clamp(max=len(self.often) - 1)]
        known = self.vectors[items]  # [U, L, D or D + 1]
        own, width = self.repeats, self.repeats.width
        table = own.table[often * TIME_BUCKETS + time_bucket(since)]
        moment = (vectors * own.moment).sum(1)[:, None]
        usual = torch.einsum("ud,uld->ul", vectors @ own.usual.T, known[..., :width])
        rho = (table + moment + usual) / own.temperature
        rho = rho + own.popularity * known[..., width:].sum(-1)
        terms = functional.softplus(rho - torch.einsum("ud,uld->ul", queries, known))
        return terms.masked_fill(again | ~real, 0.0)


class _Attended(nn.Module):
    """The layers of an HSTU."""

    def __init__(self, stack: HSTUStack, contexts: int) -> None:
        super().__init__()
        config = stack.config
        self.layers = nn.ModuleList(copy.deepcopy(layer) for layer in stack.layers)
        self.contexts, self.window = contexts, config.window
        self.truncate_after, self.truncate_to = config.truncate_after, config.truncate_to
        self.always = max(contexts, config.prefix)
        longest = max(one.longest for one in _layers(self)) + 1
        # No token is a candidate here: the history ends behind all of them.
        for name, number in (("context", contexts), ("end", longest), ("shown", self.always)):
            self.register_buffer(name, torch.tensor(number))

    def forward(self, tokens: _Tokens) -> _Tokens:
        """The tokens after the last layer."""
        for number, layer in enumerate(_layers(self)):
            tokens = self._shortened(tokens, number)
            tokens = self._next(layer, layer.project(tokens.x), tokens)
        return tokens

    def candidates(self, tokens: _Tokens, x: Tensor, request_time: Tensor | None) -> Tensor:
        """Vectors [m, D] of the candidates x [m, D] after the tokens of one user."""
        for number, layer in enumerate(_layers(self)):
            tokens = self._shortened(tokens, number)
            seen, mine = layer.project(tokens.x), layer.project(x)
            x = layer.merge(mine.u, self._met(layer, mine, seen, tokens, request_time), x)
            tokens = self._next(layer, seen, tokens)
        return x

    def _next(self, layer: HSTULayer, parts: Projected, tokens: _Tokens) -> _Tokens:
        attended = self._attended(layer, parts, tokens)
        return tokens._replace(x=layer.merge(parts.u, attended, tokens.x))

    def _attended(self, layer: HSTULayer, parts: Projected, tokens: _Tokens) -> Tensor:
        """[U, T, H, Dv]."""
        place = torch.arange(tokens.x.shape[1])
        end = self.get_buffer("end")
        bounds = Bounds(end, end, self.get_buffer("context"), end, self.get_buffer("shown"))
        admitted, distance = pairs(place, place, bounds, self.window)
        bucket = None
        if tokens.time is not None and tokens.query_time is not None:
            elapsed = tokens.query_time[:, :, None] - tokens.time[:, None, :]
            bucket = time_bucket(elapsed)[:, None]
        scores = layer.alpha * torch.einsum("uihd,ujhd->uhij", parts.q, parts.k)
        scores = layer.biased(scores, distance, bucket)
        weights = functional.silu(scores) * (admitted.to(scores.dtype) / layer.longest)
        return torch.einsum("uhij,ujhd->uihd", weights, parts.v)

    def _met(
        self,
        layer: HSTULayer,
        mine: Projected,
        seen: Projected,
        tokens: _Tokens,
        request_time: Tensor | None,
    ) -> Tensor:
        """Attend from candidates to the tokens of one user and themselves: [m, H, Dv]."""
        place = torch.arange(tokens.x.shape[1])
        distance = tokens.lengths - place  # [T]
        admitted = distance > 0
        if self.window:
            admitted = admitted & ((distance < self.window) | (place < self.always))
        bucket = None
        if tokens.time is not None and request_time is not None:
            bucket = time_bucket(request_time - tokens.time[0])
        scores = layer.alpha * torch.einsum("chd,jhd->chj", mine.q, seen.k[0])
        scores = layer.biased(scores, distance, bucket)
        none = torch.zeros(1, dtype=torch.int64)
        own = layer.alpha * (mine.q * mine.k).sum(-1)  # [m, H]
        own = layer.biased(own, none, None if bucket is None else none)
        weights = functional.silu(scores) * admitted.to(scores.dtype)
        attended = torch.einsum("chj,jhd->chd", weights, seen.v[0])
        return (attended + functional.silu(own)[..., None] * mine.v) / layer.longest

    def _shortened(self, tokens: _Tokens, number: int) -> _Tokens:
        """The context and the last events alone, where layer `number` is the one to read so."""
        if not number or number != self.truncate_after:
            return tokens
        longest = self.contexts + self.truncate_to
        local = torch.arange(longest)
        skipped = (tokens.lengths - longest).clamp(min=0)[:, None]
        place = local + skipped * (local >= self.contexts).to(torch.int64)
        place = torch.minimum(place, (tokens.lengths - 1).clamp(min=0)[:, None])
        times = (
            None if one is None else one.gather(1, place)
            for one in (tokens.time, tokens.query_time)
        )
        return _Tokens(_taken(tokens.x, place), tokens.lengths.clamp(max=longest), *times)


class _Blocks(nn.Module):
    """The blocks of a SASRec."""

    def __init__(self, model: SASRec) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(copy.deepcopy(block) for block in model.blocks)
        self.norm = copy.deepcopy(model.norm)

    def forward(self, tokens: _Tokens) -> _Tokens:
        """The tokens after the last norm."""
        x = tokens.x
        place = torch.arange(x.shape[1])
        hidden = place[:, None] < place
        for block in self.blocks:
            x = _block(cast("SASRecBlock", block), x, hidden)
        return tokens._replace(x=self.norm(x))


def _block(block: SASRecBlock, x: Tensor, hidden: Tensor) -> Tensor:
    """One block over x [U, T, D]; hidden: bool [T, T], what a token does not see."""
    q, k, v = block.qkv(block.norms[0](x)).unflatten(-1, (3, block.heads, -1)).unbind(2)
    scores = torch.einsum("uihd,ujhd->uhij", q, k) * q.shape[-1] ** -0.5
    weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)
    x = x + block.out(torch.einsum("uhij,ujhd->uihd", weights, v).flatten(-2))
    return cast("Tensor", x + block.narrow(functional.relu(block.wide(block.norms[1](x)))))


def _layers(body: _Attended) -> list[HSTULayer]:
    return [cast("HSTULayer", layer) for layer in body.layers]


def _taken(x: Tensor, place: Tensor) -> Tensor:
    """x [U, T, D] at the places int64 [U, M]: [U, M, D]."""
    return x.gather(1, place[..., None].expand(-1, -1, x.shape[-1]))


SequenceRetriever = HSTU | SASRec
SequenceNetwork = SequenceRetriever | HSTURanker
_RetrieverConfig = HSTUConfig | SASRecConfig


def config_type(kind: str) -> type[_RetrieverConfig]:
    """The config class of a kind. Raises ConfigError for an unknown one."""
    match kind:
        case "hstu":
            return HSTUConfig
        case "sasrec":
            return SASRecConfig
        case "hstu_ranker":
            return HSTURankerConfig
        case other:
            raise ConfigError(
                f"there is no sequence model {other!r}",
                where="kind",
                hint='use "hstu" or "sasrec"',
            )


def retriever_config(values: Mapping[str, Any]) -> _RetrieverConfig:
    """The retriever's config of a table in a run file, whose kind is HSTU where it names none.

    Raises ConfigError for an unknown kind or a ranker, and as `from_jsonable`.
    """
    cls = config_type(str(values.get("kind", "hstu")))
    if issubclass(cls, HSTURankerConfig):
        raise ConfigError(
            "a ranker of actions is no retriever of the next item",
            where=f"kind {cls.kind}",
            hint='use "hstu" or "sasrec"',
        )
    return from_jsonable(cls, {k: v for k, v in values.items() if k != "kind"})


def _read(values: object) -> object:
    """Read a table as the config that its kind names; left alone, pydantic tries each in turn."""
    return retriever_config(values) if isinstance(values, Mapping) else values


RetrieverConfig = Annotated[_RetrieverConfig, BeforeValidator(_read)]


def sequence_retriever(
    config: RetrieverConfig,
    items: int,
    *,
    count: NDArray[np.int64] | None = None,
    context_sizes: tuple[int, ...] = (),
) -> SequenceRetriever:
    """A new retriever of N = `items` items; count: int64 [N + 1], see `SequenceModel`."""
    match config:
        case HSTUConfig():
            return HSTU(config, items, count=count, context_sizes=context_sizes)
        case SASRecConfig():
            return SASRec(config, items, count=count, context_sizes=context_sizes)


def sequence_model(
    config: RetrieverConfig, items: int, *, context_sizes: tuple[int, ...] = ()
) -> SequenceNetwork:
    """A new model of N = `items` items, retriever or ranker, whose weights are yet to be loaded."""
    if isinstance(config, HSTURankerConfig):
        return HSTURanker(config, items, context_sizes=context_sizes)
    return sequence_retriever(config, items, context_sizes=context_sizes)


def dense_network(model: SequenceNetwork, *, timed: bool = True) -> DenseRetriever | DenseRanker:
    """The network over padded tensors that is exported to ONNX.

    timed: whether the sequences have times. Raises ConfigError for a model that has none.
    """
    match model:
        case HSTURanker():
            return DenseRanker(model)
        case HSTU() | SASRec():
            return DenseRetriever(model, timed=timed)
        case _:
            raise ConfigError(f"{type(model).__name__} has no network to export", where="model")


def default_config(kind: str) -> RetrieverConfig:
    """For the next basket of Complete Journey, of a size that two cores train in ten minutes.

    Raises ConfigError for an unknown kind.
    """
    sizes: dict[str, Any] = {
        **{"width": 64, "max_length": 1024, "blocks": 2, "heads": 4},
        **{"popularity": True, "repeats": True},
        # Over 68,509 items the exact sum for some positions teaches more than draws for all.
        "loss": LossConfig("exact", positions=512),
    }
    match kind:
        case "hstu":
            return HSTUConfig(qk_width=16, v_width=16, **sizes)
        case "sasrec":
            return SASRecConfig(attention_dropout=0.0, **sizes)
        case other:
            return config_type(other)(**sizes)
