"""Deep Interest Network (Zhou et al., "Deep Interest Network for Click-Through Rate
Prediction", KDD 2018) and the Embedding&MLP base model it is compared with.

    interest(target) = sum_j a(e_j, target) e_j         equation 3, `LocalActivationUnit`
    logit = MLP([target, interest, user, context])      with Dice or PReLU between the layers

The base model pools the history without looking at the target: interest = sum_j e_j.

With `base_share` s, the two are one model, with nothing in common but their inputs, each of which
learns from a cross-entropy of its own:

    logit = (1 - s) logit_DIN + s logit_base

That is our choice: what they learn by heart differs, and is averaged out (`models.ranking.mix`).

What the paper leaves open and we chose: item vectors are the concatenated embeddings of the
item's features and a constant 1, so that the pooled vector carries the sum of the weights, the
intensity of the interest, as a number of its own; the plain sums of the base model are divided
by a constant, so that histories of thousands of events start in range; where the unit starts
(see `LocalActivationUnit`); a single logit with binary cross-entropy stands for the paper's
two-way softmax. The numbers of the paper's Table 3 for Electronics were later corrected by its
first author (DIN .8698, with Dice .8711 group AUC).

Histories are sets here, as in the paper: order inside one carries nothing, repeats count.

>>> from adwright.models.ranking.din import DINConfig
>>> DINConfig(attention_hidden=16).weight
'raw'
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Gt, settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch, distinct_history
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.embeddings import EmbeddingConfig, ItemEmbedding, RowEmbedding
from adwright.models.ranking.activation_unit import Activation, LocalActivationUnit, Weight
from adwright.models.ranking.history_counts import SeenItems, seen_by
from adwright.models.ranking.mlp import row_mlp

__all__ = ["DIN", "DINConfig"]

#: Initial scale of the base model's embeddings: smaller ones suit the plain sum (chosen on the
#: validation weeks).
BASE_SCALE = 0.05


@settings
class DINConfig:
    """Sizes and choices of DIN and of its base model.

    interest: "attention" is DIN, "sum" the Embedding&MLP base model.
    weight: "raw" (paper) or "softmax" attention. activation: "dice" or "prelu" in the MLP;
    attention_activation: the same in the activation unit. attention_hidden: its units.
    similarity_start: whether the unit starts as a function of similarity, see there.
    intensity: whether the sum of the weights is pooled beside the items.
    mlp_hidden: units of the MLP's layers.
    history_scale: divides the plain sum of the base model.
    base_share: of the logit that is a base model's, 0 for none; only with "attention".
    """

    interest: Literal["attention", "sum"] = "attention"
    weight: Weight = "raw"
    activation: Activation = "dice"
    attention_activation: Activation = "prelu"
    attention_hidden: int = 16
    similarity_start: bool = True
    mlp_hidden: tuple[int, ...] = (200, 80)
    history_scale: Annotated[float, Gt(0)] = 10.0
    intensity: bool = True
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    base_share: float = 0.0

    def __post_init__(self) -> None:
        if self.attention_hidden < 1 or not self.mlp_hidden or min(self.mlp_hidden) < 1:
            raise ConfigError("layers have at least one unit", where="DINConfig")
        if not 0 <= self.base_share < 1 or (self.base_share and self.interest != "attention"):
            raise ConfigError(
                "base_share is a share in [0, 1) of a model that attends",
                where=f"{self.base_share}, interest {self.interest}",
                hint='leave it at 0, or at interest = "sum" for the base model alone',
            )

    @property
    def title(self) -> str:
        """Its name in run folders, tables and pages."""
        if self.interest == "sum":
            return "Base"
        return "DIN+Base" if self.base_share else "DIN"

    def base(self) -> DINConfig:
        """The base model with the same embeddings and MLP."""
        embedding = replace(self.embedding, scale=BASE_SCALE)
        return replace(self, interest="sum", base_share=0.0, embedding=embedding)


class DIN(nn.Module):
    """DIN or its base model, for the features of `spec` and the catalogue `items`."""

    def __init__(self, config: DINConfig, spec: FeatureSpec, items: ItemTable) -> None:
        super().__init__()
        self.config = config
        self.item = ItemEmbedding(spec, items, config.embedding)
        self.row = RowEmbedding((*spec.coded_rows, *spec.multi_rows), config.embedding)
        width = self.item.width + (1 if config.intensity else 0)
        if config.interest == "attention":
            self.unit = LocalActivationUnit(
                width,
                hidden=config.attention_hidden,
                weight=config.weight,
                activation=config.attention_activation,
                norm=self.item.norm if config.similarity_start else 0.0,
                similar=self.item.width,
            )
        known = self.item.width + width + self.row.width + len(spec.numeric_rows)
        self.mlp = row_mlp(known, config.mlp_hidden, config.activation)
        if config.base_share:
            self.base = DIN(config.base(), spec, items)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [T] of the batch's rows."""
        if not self.config.base_share:
            return self._logits(batch)
        base: Tensor = self.base(batch)
        return torch.lerp(self._logits(batch), base, self.config.base_share)

    def _logits(self, batch: Batch) -> Tensor:
        """Those of the attention, or of the sum, alone."""
        distinct = distinct_history(batch.history, batch.offsets, batch.begin, batch.end)
        seen = seen_by(distinct)
        target, history = self._embed(batch.item, distinct.items.values)
        interest = self._interest(target, history, seen)
        row = self.row(batch)
        features = torch.cat([target, interest, row, batch.numeric], 1)
        logits: Tensor = self.mlp(features).squeeze(1)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, summed over the rows; of the base model it counts by its share."""
        logits = batch.of_rows(self._logits(batch))
        loss = functional.binary_cross_entropy_with_logits(logits, batch.label, reduction="sum")
        if not self.config.base_share:
            return loss
        return torch.lerp(loss, self.base.loss(batch), self.config.base_share)

    def activations(self, target: Tensor, history: Tensor) -> Tensor:
        """Inference only: weights [T, L] before any softmax of items `history` [L] for items
        `target` [T] (int64 codes)."""
        q, k = self._embed(target, history)
        if self.config.intensity:
            q, k = (functional.pad(x, (0, 1), value=1.0) for x in (q, k))
        return self.unit.activations(q, k)

    def history_cost(
        self, candidates: NDArray[np.int64], events: NDArray[np.int64]
    ) -> tuple[float, int]:
        """FLOPs of each user's candidates int64 [U] meeting that user's events int64 [U], and the
        floats that are read per item."""
        width = self.item.width + int(self.config.intensity)
        hidden = self.config.attention_hidden
        pairs = float(candidates @ events)
        cost = pairs * (2 * width * hidden + 4 * hidden + 2 * width)
        if not self.config.base_share:
            return cost, width
        more, read = self.base.history_cost(candidates, events)
        return cost + more, width + read

    def _embed(self, target: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the targets [T, D] and of the distinct history items [N, D]; each item of
        the batch is embedded once."""
        items, place = torch.unique(torch.cat([target, history]), return_inverse=True)
        vectors = self.item(items)
        return vectors[place[: len(target)]], vectors[place[len(target) :]]

    def _interest(self, target: Tensor, history: Tensor, seen: SeenItems) -> Tensor:
        if self.config.intensity:
            # A constant coordinate of the item vectors pools to the sum of the weights.
            target, history = (functional.pad(x, (0, 1), value=1.0) for x in (target, history))
        if self.config.interest == "attention":
            pooled: Tensor = self.unit(target, history, seen)
            return pooled
        history = history / self.config.history_scale
        pairs = seen.times[:, None] * history[seen.item]
        pooled = torch.zeros_like(target).index_add(0, seen.row, pairs)
        rows = [torch.arange(g.t0, g.t1) for g in seen.groups]
        if rows:
            sums = [(g.counts @ history[g.k0 : g.k1])[g.visit] for g in seen.groups]
            pooled = pooled.index_add(0, torch.cat(rows), torch.cat(sums))
        return pooled
