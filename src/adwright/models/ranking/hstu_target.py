"""HSTU as a fine ranker over impressions: will this user take this item, shown at this moment?

Zhai et al., ICML 2024, arXiv 2402.17152, on what DIN reads: users, each with one history and the
rows (ads) that were shown to them at several moments. A history is read once by causal layers, and
the rows go through the same layers beside it: in each they attend to K and V of the events before
their own moment and to themselves (`candidate_attention`). What comes out of the last layer, an
ad that has met the whole history, goes into an MLP with what else is known of the row:

    logit = MLP([LN(row), item, intensity, user, context])

The ranker of the paper (`hstu_ranker`) reads actions in turn with items and scores every event of a
history. Here the history is what was taken, and impressions are rows only.

Ours: an item's vector is that of DIN, mapped to the width D by a matrix; rows are told from events
by a learned vector; there is no embedding of an event's place, as a place counted from the end
differs from row to row of one reading and one counted from the start says little, so rab_p alone
knows the order; a batch has no times, so there is no rab_t.

LN removes how much was attended to, by which a repeat is recognised: `intensity` gives the MLP the
sum of the weights, of each head and layer, as sign(s) log(1 + |s|); the sum itself grows with the
history, and users with thousands of events got extreme logits.

The initial weights are ours too. With small random weights SiLU(q . k) tells the ad itself from
hundreds of other events no better than chance (group AUC .49 on the response task, where counting
repeats has .69). So W1 starts with orthogonal rows, the same for Q and K, and with the negative of
each beside it: since SiLU(z) - SiLU(-z) = z, the pair lets a number through that SiLU alone would
bend, and q . k is a similarity of whole items. rab_p starts at minus a threshold of similarity,
high in the first layer and lower in later ones (group AUC .75 before any training). It takes as
many dimensions as an item has: one head of 128 does better than four of 32.

Letters: U people, T rows, E events, N items that occur in the batch, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, fields
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch
from adwright.data.features import FeatureSpec, ItemTable
from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.stochastic_length import StochasticLength, shorten
from adwright.models.calibration import EmbeddingConfig, ItemEmbedding, RowEmbedding
from adwright.models.kernels.attention_spec import CAUSAL, dropout
from adwright.models.kernels.silu_attention import Kernel
from adwright.models.ranking.din import Activation, row_mlp
from adwright.models.sequential.hstu import HSTUConfig, HSTULayer
from adwright.models.sequential.sequence_model import SequenceTokens

# --------------------------------------------------------------------------------------------------
# HSTU's attention of candidates over a history that many of them share.
#
# A row (a candidate, with the moment at which it was shown) sees a stretch of its user's history
# and itself. Rows whose stretches begin at the same event share a **reading**: one causal pass over
# the events from there on, in which no event sees a later one. So a row whose stretch ends at `end`
# may take K and V of the reading's events before `end`, and they are what they would be had the
# reading stopped there: M-FALCON (Zhai et al., ICML 2024, arXiv 2402.17152, appendix H) with a
# visible end a row.
#
#     o_c = [ sum_j<end SiLU(alpha q_c . k_j + rab[end - j]) v_j
#             + SiLU(alpha q_c . k_c + rab[0]) v_c ] / N
#
# Rows never see each other, and no event sees a row.

#: Scores of a tile of rows, all heads: small enough for the cache.
TILE = 1 << 18


class Readings(NamedTuple):
    """R readings of a batch, with their rows.

    items: int64 [E], codes of the events read, reading after reading, oldest first.
    offsets: int64 [R + 1], events of each. rows: int64 [R + 1], its rows: those of a batch in
    their order. end: int64 [T], how many of its reading's events each row sees; rises in a reading.
    """

    items: Tensor
    offsets: Tensor
    rows: Tensor
    end: Tensor

    def parts(self, most: int) -> Iterator[Readings]:
        """Split into parts of at most `most` events, or of one reading."""
        starts, rows = self.offsets.tolist(), self.rows.tolist()
        first, number = 0, len(rows) - 1
        while first < number:
            last = first + 1
            while last < number and starts[last + 1] - starts[first] <= most:
                last += 1
            yield Readings(
                self.items[starts[first] : starts[last]],
                self.offsets[first : last + 1] - starts[first],
                self.rows[first : last + 1] - rows[first],
                self.end[rows[first] : rows[last]],
            )
            first = last

    def shortened(
        self, longest: int, config: StochasticLength, rng: np.random.Generator
    ) -> Readings:
        """Drop events by stochastic length; a row sees those of its own that stay.
        longest: N."""
        lengths = (self.offsets[1:] - self.offsets[:-1]).numpy()
        places, offsets = shorten(lengths, longest, config, rng)
        kept = np.zeros(len(self.items) + 1, np.int64)
        kept[places + 1] = 1
        before = torch.from_numpy(np.cumsum(kept))  # Kept events before each place.
        start = self.offsets[:-1].repeat_interleave(self.rows[1:] - self.rows[:-1])
        return Readings(
            self.items[torch.from_numpy(places)],
            torch.from_numpy(offsets),
            self.rows,
            before[start + self.end] - before[start],
        )


def readings_of(batch: Batch, longest: int) -> Readings:
    """Build the readings of a batch; a row sees its latest `longest` events at most.

    Where a history is longer, or begins late, each visit begins at an event of its own, and so
    has a reading of its own.
    """
    end = batch.end.numpy()
    begin = np.maximum(batch.begin.numpy(), end - longest)
    group = np.repeat(np.arange(len(batch.offsets) - 1), batch.group_sizes.numpy())
    rows = run_starts(group, begin)
    first, last = rows[:-1], rows[1:] - 1
    start = batch.history.offsets.numpy()[group[first]] + begin[first]
    events, offsets = ranges(start, end[last] - begin[first])
    return Readings(
        batch.history.values[torch.from_numpy(events)],
        torch.from_numpy(offsets),
        torch.from_numpy(rows),
        torch.from_numpy(end - begin),
    )


def candidate_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    own_k: Tensor,
    own_v: Tensor,
    readings: Readings,
    *,
    scale: float,
    alpha: float = 1.0,
    position_bias: Tensor | None = None,
) -> Tensor:
    """Attention [T, H, Dv] of the rows to their events and to themselves, see the module.

    q, own_k: [T, H, Dqk], own_v: [T, H, Dv] of the rows. k: [E, H, Dqk], v: [E, H, Dv] of the
    events. scale: 1 / N. position_bias: [N'] by distance, the last for all longer ones; a row
    stands right after the last event that it sees. Summed in float32 at least. Beside its
    operands it keeps nothing for the backward pass.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        q, k, v, own_k, own_v = (x.to(wide) for x in (q, k, v, own_k, own_v))
        table = q.new_zeros(1) if position_bias is None else position_bias.to(wide)
        past: Tensor = _Past.apply(q, k, v, table, readings, alpha)  # type: ignore[no-untyped-call]
        own = functional.silu(alpha * (q * own_k).sum(-1) + table[0])
        return (past + own[..., None] * own_v) * scale


class _Past(torch.autograd.Function):
    """sum_j SiLU(alpha q . k_j + rab[end - j]) v_j [T, H, Dv]; tiles are computed anew in the
    backward pass."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor, readings: Readings, alpha: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, table)
        ctx.rest = readings, alpha
        q, k, v = (x.transpose(0, 1).contiguous() for x in (q, k, v))  # [H, T or E, D]
        out = torch.zeros(*q.shape[:2], v.shape[2], dtype=q.dtype)
        flipped = _flipped(table, readings)
        for rows, events, end in _tiles(readings, len(q)):
            scores = _scores(q[:, rows], k[:, events], flipped, end, alpha)
            weights = functional.silu(scores, inplace=True)
            _hide(weights, end)
            torch.bmm(weights, v[:, events], out=out[:, rows])
        return out.transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (*operands, table), (readings, alpha) = ctx.saved_tensors, ctx.rest
        q, k, v, above = (x.transpose(0, 1).contiguous() for x in (*operands, above))
        d_q, d_k, d_v = (torch.zeros_like(x) for x in (q, k, v))
        flipped = _flipped(table, readings)
        d_flipped = torch.zeros_like(flipped)
        for rows, events, end in _tiles(readings, len(q)):
            scores = _scores(q[:, rows], k[:, events], flipped, end, alpha)
            gate = torch.sigmoid(scores)
            weights = scores * gate
            # SiLU' = gate + weight (1 - gate)
            slope = gate.addcmul_(weights, 1 - gate)
            _hide(weights, end)
            d_v[:, events].baddbmm_(weights.transpose(1, 2), above[:, rows])
            d_scores = torch.bmm(above[:, rows], v[:, events].transpose(1, 2)).mul_(slope)
            _hide(d_scores, end)
            torch.bmm(d_scores, k[:, events], out=d_q[:, rows])
            d_k[:, events].baddbmm_(d_scores.transpose(1, 2), q[:, rows])
            _add_by_distance(d_flipped, d_scores.sum(0), end)
        d_table = torch.zeros_like(table).index_add_(0, _distances(table, readings), d_flipped)
        products = (d_q.mul_(alpha), d_k.mul_(alpha), d_v)
        return (*(x.transpose(0, 1) for x in products), d_table, None, None)


def _tiles(readings: Readings, heads: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, events, end of each row) of each tile; a row that sees nothing is in none."""
    starts, rows = readings.offsets.tolist(), readings.rows.tolist()
    ends = readings.end.tolist()
    for reading in range(len(rows) - 1):
        first, last = rows[reading], rows[reading + 1]
        while first < last:
            # The rows of a tile see about as much: events after the last row's end are left out.
            step = max(1, TILE // max(1, heads * ends[first]))
            after = min(first + step, last)
            if seen := ends[after - 1]:
                start = starts[reading]
                yield slice(first, after), slice(start, start + seen), readings.end[first:after]
            first = after


def _distances(table: Tensor, readings: Readings) -> Tensor:
    """int64: entries of the table for distances from the longest down to minus that."""
    longest = int(readings.end.max()) if len(readings.end) else 0
    return torch.arange(longest, -longest - 1, -1).clamp(0, len(table) - 1)


def _flipped(table: Tensor, readings: Readings) -> Tensor:
    """The table by falling distance: what a row needs is a stretch of it."""
    return table[_distances(table, readings)]


def _scores(q: Tensor, k: Tensor, flipped: Tensor, end: Tensor, alpha: float) -> Tensor:
    """alpha q . k + rab [H, T', L]."""
    middle = len(flipped) // 2
    bias = flipped.unfold(0, k.shape[1], 1)[middle - end]  # Of j: entry middle - (end - j).
    return torch.baddbmm(bias[None], q, k.transpose(1, 2), alpha=alpha)


def _hide(x: Tensor, end: Tensor) -> None:
    """Zero in x [H, T', L] what lies at or after the end of its row."""
    least, length = int(end[0]), x.shape[2]
    if least < length:
        place = torch.arange(least, length)
        x[:, :, least:].mul_(place < end[:, None])


def _add_by_distance(d_flipped: Tensor, d_bias: Tensor, end: Tensor) -> None:
    """Add the gradients [T', L] of the biases of rows that end at `end` [T']."""
    middle, length = len(d_flipped) // 2, d_bias.shape[1]
    visits, counts = torch.unique_consecutive(end, return_counts=True)
    first = 0
    for visit, count in zip(visits.tolist(), counts.tolist(), strict=True):
        mine = d_bias[first : first + count].sum(0)
        d_flipped[middle - visit : middle - visit + length] += mine
        first += count


#: Events per pass through the layers.
PART = 1 << 14
#: At the start: the score of an item with itself, and the similarities (1 for itself) from which
#: events weigh something, in the first layer and in the last.
GAIN, THRESHOLDS = 32.0, (0.8, 0.5)


@settings
class HSTUTargetConfig:
    """Sizes and choices. kind: names this model in a run file; title: in tables and pages.

    width: D. max_length: how many of its latest events a row sees. blocks: layers. heads,
    qk_width, v_width, position, scaled, norm, concat, kernel: as in `HSTUConfig`. dropout: of the
    input and in the layers.
    similarity_start, intensity: see the module. stochastic_length: of histories in training, or
    None. activation: of the MLP, whose layers have `mlp_hidden` units.
    """

    title: ClassVar[str] = "HSTU"

    kind: Literal["hstu"] = "hstu"
    width: int = 64
    max_length: int = 4200
    blocks: int = 4
    heads: int = 1
    qk_width: int = 128
    v_width: int = 64
    position: bool = True
    scaled: bool = True
    norm: Literal["layer", "group"] = "layer"
    concat: bool = False
    dropout: float = 0.1
    similarity_start: bool = True
    intensity: bool = True
    stochastic_length: StochasticLength | None = None
    activation: Activation = "dice"
    mlp_hidden: tuple[int, ...] = (200, 80)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    kernel: Kernel = "auto"

    def __post_init__(self) -> None:
        if not self.mlp_hidden or min(self.mlp_hidden) < 1:
            raise ConfigError("layers have at least one unit", where="HSTUTargetConfig")
        self.layer()

    def layer(self) -> HSTUConfig:
        """What the layers are made of. Raises ConfigError for sizes out of range."""
        names = {one.name for one in fields(HSTUConfig)} & {one.name for one in fields(self)}
        shared: dict[str, Any] = {name: getattr(self, name) for name in names}
        return HSTUConfig(time=False, **shared)


class HSTUTarget(nn.Module):
    """The ranker for the features of `spec` and the catalogue `items`.

    >>> model = HSTUTarget(HSTUTargetConfig(), task.spec, task.item_table)  # doctest: +SKIP
    >>> model(batch).shape  # doctest: +SKIP
    torch.Size([1024])
    """

    def __init__(self, config: HSTUTargetConfig, spec: FeatureSpec, items: ItemTable) -> None:
        super().__init__()
        self.config = config
        self.item = ItemEmbedding(spec, items, config.embedding)
        self.row = RowEmbedding((*spec.coded_rows, *spec.multi_rows), config.embedding)
        self.input = nn.Linear(self.item.width, config.width, bias=False)
        self.candidate = nn.Parameter(torch.empty(config.width).normal_(std=0.02))
        layer, longest = config.layer(), config.max_length + 1
        self.layers = nn.ModuleList(HSTULayer(layer, longest) for _ in range(config.blocks))
        if config.similarity_start:
            nn.init.orthogonal_(self.input.weight)
            thresholds = np.linspace(*THRESHOLDS, config.blocks).tolist()
            for one, threshold in zip(self._layers(), thresholds, strict=True):
                _start_similar(one, threshold)
        known = config.width + self.item.width + self.row.width + len(spec.numeric_rows)
        sums = config.blocks * config.heads if config.intensity else 0
        self.mlp = row_mlp(known + sums, config.mlp_hidden, config.activation)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [T] of the batch's rows."""
        readings = readings_of(batch, self.config.max_length)
        if self.training and self.config.stochastic_length is not None:
            # Of torch's generator, whose state a training run keeps.
            rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
            readings = readings.shortened(
                self.config.max_length, self.config.stochastic_length, rng
            )
        # Each item of the batch is embedded once.
        items, place = torch.unique(torch.cat([batch.item, readings.items]), return_inverse=True)
        vectors = self.item(items)
        tokens = self.input(vectors)
        of_row, of_event = place[: len(batch)], place[len(batch) :]
        met, first, row = [vectors.new_zeros(0, self._met_width())], 0, 0
        for part in readings.parts(PART):
            events, rows = len(part.items), len(part.end)
            x = tokens.index_select(0, of_event[first : first + events])
            y = tokens.index_select(0, of_row[row : row + rows]) + self.candidate
            met.append(self._meet(x, y, part))
            first, row = first + events, row + rows
        parts = [torch.cat(met), vectors[of_row], self.row(batch), batch.numeric]
        logits: Tensor = self.mlp(torch.cat(parts, 1)).squeeze(1)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, summed over the rows."""
        logits = batch.of_rows(self(batch))
        return functional.binary_cross_entropy_with_logits(logits, batch.label, reduction="sum")

    def history_cost(
        self, candidates: NDArray[np.int64], events: NDArray[np.int64]
    ) -> tuple[float, int]:
        """FLOPs of each user's candidates int64 [U] meeting that user's events int64 [U], and the
        floats that are read per item."""
        config, pairs = self.config, float(candidates @ events)
        # Each layer weighs pairs of candidate and event, each but the last those of two events;
        # all tokens are projected, and merged.
        sizes = config.heads * (config.qk_width + config.v_width)
        within = float(events @ events) / 2 * (config.blocks - 1)
        token = 2 * config.width * (2 * sizes + config.heads * config.v_width)
        flops = 2.0 * sizes * (pairs * config.blocks + within)
        flops += token * config.blocks * int(candidates.sum() + events.sum())
        return flops, self.item.width

    def _layers(self) -> list[HSTULayer]:
        return [layer for layer in self.layers if isinstance(layer, HSTULayer)]

    def _met_width(self) -> int:
        config = self.config
        return config.width + (config.blocks * config.heads if config.intensity else 0)

    def _meet(self, x: Tensor, y: Tensor, readings: Readings) -> Tensor:
        """The events x [E, D] and rows y [T, D] through the layers: LN(row) and the sums of the
        weights of each head and layer [T, D + blocks H]."""
        config = self.config
        sums: list[Tensor] = []
        x = dropout(x, config.dropout, self.training)
        y = dropout(y, config.dropout, self.training)
        tokens = SequenceTokens(x, readings.offsets, 0, torch.arange(len(x)), None, None)
        for number, layer in enumerate(self._layers()):
            past, mine = layer.project(x), layer.project(y)
            values, own = past.v, mine.v
            if config.intensity:
                # A constant coordinate of the values sums to the sum of the weights.
                values, own = (functional.pad(v, (0, 1), value=1.0) for v in (values, own))
            attended = candidate_attention(
                mine.q,
                past.k,
                values,
                mine.k,
                own,
                readings,
                scale=1 / layer.longest,
                alpha=layer.alpha,
                position_bias=layer.rab_p,
            )
            if config.intensity:
                sum_ = attended[..., -1] * layer.longest
                sums.append(sum_.sign() * sum_.abs().log1p())
                attended = attended[..., :-1]
            y = layer.merge(mine.u, attended.to(mine.v.dtype), y)
            # Of the last layer's events only K and V are of use.
            if number + 1 < config.blocks:
                x = layer.merge(past.u, layer.attend(past, tokens, CAUSAL), x)
        return torch.cat([functional.layer_norm(y, y.shape[-1:]), *sums], 1)


def _start_similar(layer: HSTULayer, threshold: float) -> None:
    """W1 and rab_p such that an event weighs something where its similarity to the row passes
    the threshold, see the module."""
    config = layer.config
    width, half = config.width, config.qk_width // 2
    if not half:
        return
    rows = torch.empty(config.heads * half, width)
    if len(rows) <= width:
        nn.init.orthogonal_(rows)
    else:
        rows.normal_(std=width**-0.5)
    # LN gives tokens the length sqrt(D), so that each column of an item gives numbers of size 1.
    rows = rows.view(config.heads, half, width) * (GAIN / (layer.alpha * half)) ** 0.5
    start = layer.w1.new_zeros(config.heads, config.qk_width, width)
    start[:, :half], start[:, half : 2 * half] = rows, -rows
    with torch.no_grad():
        layer.w1[2 * layer.sizes[0] :] = torch.cat([start, start]).flatten(0, 1)
        if layer.rab_p is not None:
            layer.rab_p.sub_(GAIN * threshold)
