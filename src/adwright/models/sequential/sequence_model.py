"""What the sequence models share: input, head and loss.

Input: an item's embedding times sqrt(D), plus a learned embedding of its place in the sequence;
before the events stand one token a context feature, where the model has any. Head: the output
at an event and the items' embeddings, both of length 1; the score of an item as the next one
is their product over the temperature. HSTU and SASRec differ in nothing else than what stands
between, so that a comparison compares that (as SASRec* in Zhai et al., ICML 2024).

Letters: U people, E events, T tokens (events and context), D width, N items.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import with_overrides
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import dropout
from adwright.models.retrieval.two_tower import counts_tensor
from adwright.models.sequential.losses import (
    LossConfig,
    Repeats,
    last_own_items,
    next_item_loss,
    unit,
)


@dataclass(frozen=True)
class SequenceConfig:
    """Sizes that every sequential model has.

    kind: its name in commands, run files and artifacts. title: in tables and pages.
    width: D. max_length: the longest sequence of events. blocks: layers. heads: of each.
    dropout: of the input and in the layers. context: tokens of what is known of a person stand
    before the events. popularity: an item's score has a number of its own, which starts at the
    log of its share of the events. repeats: items of the user's history get a score of their
    own beside it, see `repeats`. loss: see `losses`.
    """

    kind: ClassVar[str]
    title: ClassVar[str]

    width: int = 50
    max_length: int = 200
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2
    context: bool = False
    popularity: bool = False
    repeats: bool = False
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        for name in ("width", "max_length", "blocks", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1", where=str(getattr(self, name)))
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout lies in [0, 1)", where=str(self.dropout))

    @property
    def reads_time(self) -> bool:
        """Whether the layers read the times of the events."""
        return False

    @property
    def reads_request_time(self) -> bool:
        """Whether they read when the next item is asked for."""
        return False

    @property
    def truncates(self) -> bool:
        """Whether the last layer sees only the latest events."""
        return False

    @property
    def pair_cost(self) -> float:
        """Multiplications that a pair of events costs in a forward pass.

        The factor was measured on one core, beside the formula's half of all pairs.
        """
        return self.blocks * 3.0 * self.width

    def without_time(self) -> Self:
        """The config for sequences without times."""
        return self

    def resized(
        self, *, max_length: int | None = None, blocks: int | None = None, width: int | None = None
    ) -> Self:
        """The config with other sizes where they are not None."""
        return with_overrides(self, {"max_length": max_length, "blocks": blocks, "width": width})


@dataclass(frozen=True)
class SequenceTokens:
    """A batch as the layers of a model read it.

    x: float [T, D]. offsets: int64 [U + 1]. contexts: how many first tokens of every sequence
    are context. event: int64 [T], the event of each token, -1 for context. time, query_time:
    int64 [T] seconds, or None; a context token stands at the time of the first event.
    """

    x: Tensor
    offsets: Tensor
    contexts: int
    event: Tensor
    time: Tensor | None
    query_time: Tensor | None

    def select(self, place: Tensor, offsets: Tensor) -> SequenceTokens:
        """Only the tokens `place` (int64 [K], rising), which lie at `offsets`."""
        return SequenceTokens(
            self.x.index_select(0, place),
            offsets,
            self.contexts,
            self.event[place],
            None if self.time is None else self.time[place],
            None if self.query_time is None else self.query_time[place],
        )


@dataclass(frozen=True)
class Encoded:
    """What the layers give: vectors float [K, D] at the events int64 [K], rising, of the batch."""

    vectors: Tensor
    event: Tensor


class SequenceInput(nn.Module):
    """Item codes to tokens.

    items: N. context_sizes: codes of each context feature; only read where the config has
    context.
    """

    def __init__(
        self, config: SequenceConfig, items: int, context_sizes: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        if config.context and not context_sizes:
            raise ConfigError(
                "context needs the sizes of its features",
                where="context_sizes",
                hint="pass the sequences' context_sizes, or set context to False",
            )
        self.config = config
        self.item = nn.Embedding(items + 1, config.width, padding_idx=0)
        self.position = nn.Parameter(torch.empty(config.max_length, config.width))
        sizes = context_sizes if config.context else ()
        self.context = nn.ModuleList(nn.Embedding(size, config.width) for size in sizes)
        deviation = config.width**-0.5
        for table in (self.item, *self.context):
            nn.init.trunc_normal_(table.weight, std=0.02)
        nn.init.trunc_normal_(self.position, std=deviation)
        with torch.no_grad():
            self.item.weight[0] = 0

    def places(self, batch: SequenceBatch) -> Tensor:
        """int64 [E], the place of each event in its sequence, from 0.

        Raises ValueInvalidError for a sequence longer than the model's longest.
        """
        lengths = batch.items.lengths
        longest = int(lengths.max()) if len(batch) else 0
        if longest > self.config.max_length:
            raise ValueInvalidError(
                "a sequence is longer than the model was made for",
                value=f"{longest} events, max_length {self.config.max_length}",
                hint="cut it to the latest events",
            )
        starts = torch.repeat_interleave(batch.items.offsets[:-1], lengths)
        return torch.arange(len(starts), device=starts.device) - starts

    def forward(self, batch: SequenceBatch, query_time: Tensor | None) -> SequenceTokens:
        """The batch's tokens; query_time: int64 [E] seconds, what an event knows of the time."""
        config = self.config
        events = self.item(batch.items.values) * config.width**0.5
        events = events + self.position[self.places(batch)]
        number, offsets = len(self.context), batch.items.offsets
        here = offsets.device
        event = torch.arange(len(events), device=here)
        if not number:
            x = dropout(events, config.dropout, self.training)
            return SequenceTokens(x, offsets, 0, event, batch.time, query_time)
        if batch.context is None or batch.context.shape[1] != number:
            raise ValueInvalidError(
                f"the model reads {number} context features",
                value=None if batch.context is None else list(batch.context.shape),
                hint="pass the context of each person",
            )
        tables = enumerate(self.context)
        known = torch.stack([t(batch.context[:, f]) for f, t in tables], 1) * config.width**0.5
        offsets = offsets + number * torch.arange(len(offsets), device=here)
        # Row r of both parts together is token order[r]'s.
        at_event = event + number * (1 + batch.items.owner())
        at_context = offsets[:-1, None] + torch.arange(number, device=here)
        order = torch.empty(int(offsets[-1]), dtype=torch.int64, device=here)
        rows = torch.arange(len(order), device=here)
        order[torch.cat([at_context.flatten(), at_event])] = rows
        x = torch.cat([known.flatten(0, 1), events]).index_select(0, order)
        first = batch.items.offsets[:-1].clamp(max=max(len(events) - 1, 0))

        def joined(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            start = value[first] if len(value) else value.new_zeros(len(first))
            return torch.cat([start.repeat_interleave(number), value])[order]

        blank = event.new_full((at_context.numel(),), -1)
        return SequenceTokens(
            dropout(x, config.dropout, self.training),
            offsets,
            number,
            torch.cat([blank, event])[order],
            joined(batch.time),
            joined(query_time),
        )


class SequenceModel(nn.Module):
    """A model of the next item; a subclass defines the layers in `encode`.

    items: N of the catalogue, coded from 1. count: int64 [N + 1], training events of each code,
    for draws by popularity; without, all items count the same.
    """

    def __init__(
        self,
        config: SequenceConfig,
        items: int,
        *,
        count: NDArray[np.int64] | None = None,
        context_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.input = SequenceInput(config, items, context_sizes)
        ones = np.ones(items + 1, dtype=np.int64)
        self.register_buffer("count", counts_tensor(ones if count is None else count))
        known = self.get_buffer("count").clamp(min=1)
        share = torch.log(known / known.sum())
        self.bias = nn.Parameter(share) if config.popularity else None
        self.repeats: Repeats | None = None
        if config.repeats:
            self.repeats = Repeats(config.width, config.loss.temperature)

    @property
    def max_length(self) -> int:
        """How many of the latest events the model reads."""
        return self.config.max_length

    @abstractmethod
    def encode(self, batch: SequenceBatch) -> Encoded:
        """Unit vectors at the events that pass the last layer, always the latest of each user."""

    def queries(self, batch: SequenceBatch) -> Tensor:
        """Query vectors at the last event of each user: [U, D], over the temperature, or [U, D + 1]
        with `popularity`; without events they score by popularity alone."""
        encoded = self.encode(batch)
        ends = batch.items.offsets[1:] - 1
        place = torch.searchsorted(encoded.event, ends)
        vectors = encoded.vectors.new_zeros(len(batch), encoded.vectors.shape[1])
        filled = batch.items.lengths > 0
        vectors[filled] = encoded.vectors[place[filled]]
        return self.asking(vectors)

    def asking(self, vectors: Tensor) -> Tensor:
        """Scale unit vectors [U, D] to query vectors."""
        scaled = vectors / self.config.loss.temperature
        if self.bias is None:
            return scaled
        return torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1)

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Vectors [N, D] or [N, D + 1], see `queries`, of item codes int64 [N]."""
        vectors = unit(self.input.item(codes))
        return vectors if self.bias is None else torch.cat([vectors, self.bias[codes, None]], 1)

    def own_terms(self, batch: SequenceBatch, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `repeats` adds to the scores of users with `queries` [U, D]: (int64 [M] users, int64
        [M] item codes, [M] terms); empty without it."""
        if self.repeats is None:
            none = batch.items.values[:0]
            return none, none, queries.new_zeros(0)
        own = last_own_items(batch)
        unit_vectors = queries[:, : self.config.width] * self.config.loss.temperature
        items = self.item_vectors(own.codes)
        return own.row, own.codes, self.repeats.last_terms(unit_vectors, queries, items, own)

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Loss [] summed over the events that have a target, see `losses`; of a sample of positions
        it is scaled up to all."""
        encoded = self.encode(batch)
        target = batch.target[encoded.event]
        asked = (target > 0).nonzero()[:, 0]
        few, every = self.config.loss.positions, len(asked)
        if 0 < few < every:
            drawn = torch.randperm(every, device=asked.device)[:few]
            asked = asked[drawn.sort().values]
        vectors, event = encoded.vectors[asked], encoded.event[asked]
        personal = None
        if self.repeats is not None:
            queries = self.asking(vectors)
            personal = self.repeats.personal(batch, vectors, queries, event, self.item_vectors)
        loss = next_item_loss(
            vectors,
            target[asked],
            self.input.item.weight,
            self.config.loss,
            count=self.get_buffer("count"),
            bias=self.bias,
            personal=personal,
        )
        return loss * (every / max(len(asked), 1))

    def asked(self, batch: SequenceBatch) -> int:
        """How many events the loss is summed over."""
        return int((batch.target > 0).sum())

    @staticmethod
    def spoken(tokens: SequenceTokens) -> Encoded:
        """The unit vectors of the tokens that are events."""
        if not tokens.contexts:
            return Encoded(unit(tokens.x), tokens.event)
        kept = (tokens.event >= 0).nonzero()[:, 0]
        return Encoded(unit(tokens.x.index_select(0, kept)), tokens.event[kept])

    @staticmethod
    def latest(tokens: SequenceTokens, number: int | Tensor) -> SequenceTokens:
        """The context and the last `number` tokens of each sequence; one for all, or int64 [U]."""
        lengths = tokens.offsets[1:] - tokens.offsets[:-1]
        kept = lengths.clamp(max=tokens.contexts + number)
        offsets = lengths_to_offsets(kept)
        local = torch.arange(int(offsets[-1]), device=offsets.device)
        local = local - torch.repeat_interleave(offsets[:-1], kept)
        skipped = torch.repeat_interleave(lengths - kept, kept)
        start = torch.repeat_interleave(tokens.offsets[:-1], kept)
        return tokens.select(start + local + skipped * (local >= tokens.contexts), offsets)
