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

from dataclasses import field, fields
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch
from adwright.data.features import FeatureSpec, ItemTable
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.models.embeddings import EmbeddingConfig, ItemEmbedding, RowEmbedding
from adwright.models.kernels.attention_spec import CAUSAL, dropout
from adwright.models.kernels.silu_attention import Kernel
from adwright.models.ranking.candidate_attention import Readings, candidate_attention, readings_of
from adwright.models.ranking.din import Activation, row_mlp
from adwright.models.sequential.hstu import HSTUConfig, HSTULayer
from adwright.models.sequential.sequence_model import SequenceTokens

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
