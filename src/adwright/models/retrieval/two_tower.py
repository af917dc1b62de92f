"""Two towers with a self-supervised task on the items, to retrieve from a whole catalogue.

Yao et al., "Self-supervised Learning for Large-scale Item Recommendations", CIKM 2021. A query
tower and an item tower give unit vectors; an item's score is their cosine. The main loss is the
softmax of `retriever.softmax_loss` over the items of the batch. The self-supervised loss makes
two views of an item, each with some features hidden, find each other among the views of others:

    L_self = -1/N sum_i log [ exp(s(z_i, z'_i) / tau) / sum_j exp(s(z_i, z'_j) / tau) ]
    L = L_main + alpha L_self

A hidden feature is replaced by a learned default embedding; beside that, values of multi-valued
features are dropped. The views share tables and layers with the item tower (the paper's fully
shared variant). Their items are drawn uniformly from the catalogue, while the main loss sees
the log's power law: rare items get as much of the second task as frequent ones.

What the paper leaves open is our choice: the query tower adds decayed sums of the history's own
item vectors to an MLP of these, profile and context, so that what a person bought before is near
at once; `views` "spread_out" is the identity augmentation, the softmax form of the spread-out
regulariser; "feature_dropout" hides features from the item tower of the main loss and has no
second task.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.embeddings import EmbeddingConfig, ItemEmbedding
from adwright.models.retrieval.retriever import (
    FeatureMasks,
    Information,
    counts_tensor,
    inclusion_log_probability,
    layers,
    log_share,
    pool,
    softmax_loss,
)

Popularity = Literal["prior", "corrected", "ignored"]
Sharing = Literal["full", "partial"]
UnseenItems = Literal["own", "default"]
Views = Literal["none", "feature_dropout", "spread_out", "random", "correlated"]


#: Widths and scale that suit both retrievers.
RETRIEVAL_EMBEDDING = EmbeddingConfig(
    width=8, widths=(("item_id", 32), ("type", 16), ("words", 16)), scale=0.1
)


@settings
class TwoTowerConfig:
    """Sizes and losses.

    width: D of the vectors. hidden: of each tower's MLP. days: half-lives of the decayed sums
    of the history; 0 stands for no decay. temperature: tau of the main loss.
    views: what the item tower learns beside the main loss (see the module); by default nothing,
    as it helped in few of the cases that were measured (`training.retrieval.second_task`).
    alpha, view_temperature, view_items: weight, tau and batch of the second task.
    information: how `views` "correlated" counts what features share, "raw" or "normalised"; see
    `masking`. sharing: "full", views and item tower share all layers; "partial", all but the last.
    value_dropout: share of the values of a multi-valued feature that a view lacks.
    feature_dropout: probability that a feature is hidden, for `views` "feature_dropout".
    popularity: "corrected", the main loss is corrected for the sampling of its candidates and
    the cosine has to carry how frequent an item is; "prior", beside that the log of the item's
    share of the events is added to the score, and the cosine is left to affinity; "ignored",
    neither. prior_weight: of that log where items are ranked (training has all of it); 1 ranks by
    probability, less lifts rare items (our choice: .7 keeps recall at 50 and finds more of the
    tail).
    unseen_items: the id of an item without a training event, where items are ranked: "own", what
    the table has for unknown ids; "default", hidden, the default embedding that views teach.
    """

    width: int = 64
    hidden: int = 128
    days: tuple[float, ...] = (0.0, 30.0, 5.0)
    temperature: float = 0.07
    views: Views = "none"
    alpha: float = 0.3
    view_temperature: float = 0.1
    view_items: int = 512
    information: Information = "raw"
    sharing: Sharing = "full"
    value_dropout: float = 0.2
    feature_dropout: float = 0.2
    popularity: Popularity = "prior"
    prior_weight: float = 0.7
    unseen_items: UnseenItems = "own"
    embedding: EmbeddingConfig = RETRIEVAL_EMBEDDING

    def __post_init__(self) -> None:
        if min(self.width, self.hidden, self.view_items) < 1 or not self.days:
            raise ConfigError("width, hidden and view_items are at least 1, days not empty")
        if min(self.temperature, self.view_temperature) <= 0 or self.alpha < 0:
            raise ConfigError(
                "temperatures are above 0, alpha is not negative",
                where=f"{self.temperature}, {self.view_temperature}, {self.alpha}",
            )
        if not (0 <= self.value_dropout < 1 and 0 <= self.feature_dropout < 1):
            raise ConfigError("dropouts lie in [0, 1)")


class ItemTower(nn.Module):
    """Item codes to unit vectors [N, D], with some features hidden where asked.

    count: int64 [V], training events of each item code, where ids of items without any may be
    hidden (`unseen_items`).
    """

    def __init__(
        self,
        spec: FeatureSpec,
        items: ItemTable,
        config: TwoTowerConfig,
        count: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.embedding = ItemEmbedding(spec, items, config.embedding)
        self.default = nn.ParameterList(
            nn.Parameter(torch.randn(width) * config.embedding.scale)
            for width in self.embedding.widths
        )
        self.mlp = layers([sum(self.embedding.widths), config.hidden, config.width])
        self.unseen_items = config.unseen_items
        unseen = np.zeros(len(items), bool) if count is None else count == 0
        self.register_buffer("unseen", torch.from_numpy(unseen), persistent=False)
        own = config.sharing == "partial"
        self.view_head = nn.Linear(config.hidden, config.width) if own else None

    def forward(
        self,
        codes: Tensor,
        *,
        hidden: Tensor | None = None,
        keep: float = 1.0,
        view: bool = False,
    ) -> Tensor:
        """codes int64 [N] to [N, D].

        hidden: bool [F] or [N, F], features replaced by their default embedding.
        keep: probability of keeping a value of a multi-valued feature.
        view: through the last layer of the views, which may be a layer of their own.
        """
        parts = self.embedding.parts(codes, keep=keep)
        if self.unseen_items == "default" and not self.training:
            hidden = self._without_ids(codes, hidden)
        if hidden is not None:
            hidden = hidden.expand(len(codes), len(parts))
            parts = [
                torch.where(hidden[:, f, None], self.default[f], part)
                for f, part in enumerate(parts)
            ]
        head = self.mlp[-1] if self.view_head is None or not view else self.view_head
        return functional.normalize(head(self.mlp[:-1](torch.cat(parts, 1))), dim=1)

    def _without_ids(self, codes: Tensor, hidden: Tensor | None) -> Tensor | None:
        """`hidden`, and the ids of the items `unseen`: bool [N, F]."""
        if "item_id" not in self.embedding.names:
            return hidden
        alone = torch.zeros((len(codes), len(self.default)), dtype=torch.bool)
        alone[:, self.embedding.names.index("item_id")] = self.get_buffer("unseen")[codes]
        return alone if hidden is None else alone | hidden


class QueryTower(nn.Module):
    """History, profile and context to unit vectors [U, D]."""

    def __init__(self, spec: FeatureSpec, config: TwoTowerConfig) -> None:
        super().__init__()
        self.days = config.days
        features = spec.coded_rows
        self.tables = nn.ModuleList(config.embedding.table(f) for f in features)
        profile = sum(config.embedding.of(f) for f in features)
        pooled = len(config.days) * config.width
        self.gate = nn.Parameter(torch.full((len(config.days),), 1 / len(config.days)))
        self.mlp = layers([pooled + 1 + profile, config.hidden, config.width])

    def forward(self, batch: QueryBatch, vectors: Tensor, place: Tensor) -> Tensor:
        """vectors [N, D] of the batch's distinct items; place int64 [E]: the event's row."""
        events = vectors[place]
        sums = [pool(events, _decay(batch.age, days), batch.history) for days in self.days]
        units = [functional.normalize(one, dim=1) for one in sums]
        length = torch.log1p(batch.history.lengths.float())[:, None] / 8
        profile = [t(batch.profile[:, i]) for i, t in enumerate(self.tables)]
        learned = self.mlp(torch.cat([*units, length, *profile], 1))
        near = sum(self.gate[i] * unit for i, unit in enumerate(units))
        return functional.normalize(near + learned, dim=1)


class TwoTower(nn.Module):
    """A retriever with one vector per user; scores are inner products of D + 1 numbers:

    s(u, i) = cos(q_u, v_i) / tau + w log p_i

    where the last term, the log of the item's share of the training events with one event added
    to each, is there for `popularity` "prior" alone (else its place holds 0).

    count: int64 [N + 1], training events of each item code, for the logQ correction.

    >>> model = TwoTower(TwoTowerConfig(), task.spec, task.items, task.count)  # doctest: +SKIP
    >>> model.queries(task.batch(visits)).shape  # doctest: +SKIP
    torch.Size([128, 1, 64])
    """

    def __init__(
        self,
        config: TwoTowerConfig,
        spec: FeatureSpec,
        items: ItemTable,
        count: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.config = config
        self.item = ItemTower(spec, items, config, count)
        self.query = QueryTower(spec, config)
        self.register_buffer("count", counts_tensor(count))
        weight = config.prior_weight if config.popularity == "prior" else 0.0
        self.register_buffer("prior", weight * log_share(count))
        self.register_buffer("share", log_share(count), persistent=False)
        if config.views in ("random", "correlated"):
            self._masks = FeatureMasks.of(config.views, items, config.information)

    def rank_unseen_by(self, choice: UnseenItems) -> None:
        """Set the config's `unseen_items`, of a trained model."""
        self.config = replace(self.config, unseen_items=choice)
        self.item.unseen_items = choice

    def queries(self, batch: QueryBatch) -> Tensor:
        """Unit vectors over tau, and 1: [U, 1, D + 1]."""
        codes, place = torch.unique(batch.history.values, return_inverse=True)
        query = self.query(batch, self.item(codes), place) / self.config.temperature
        return functional.pad(query, (0, 1), value=1.0)[:, None]

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Unit vectors, and the weighted log of the item's share: [N, D + 1]."""
        prior = self.get_buffer("prior")[codes, None]
        return torch.cat([self.item(codes), prior], 1)

    def loss(self, batch: QueryBatch) -> Tensor:
        """L_main, summed over the pairs, plus alpha L_self times their number: []."""
        config = self.config
        both = torch.cat([batch.history.values, batch.targets.values])
        codes, place = torch.unique(both, return_inverse=True)
        events = batch.history.values.numel()
        hide = None
        if self.training and config.views == "feature_dropout":
            shape = len(codes), len(self.item.embedding.widths)
            hide = torch.rand(shape) < config.feature_dropout
        vectors = self.item(codes, hidden=hide)
        query = self.query(batch, vectors, place[:events])
        candidates, column = torch.unique(place[events:], return_inverse=True)
        logits = query @ vectors[candidates].T / config.temperature
        if config.popularity == "prior":
            logits = logits + self.get_buffer("share")[codes[candidates]]
        if config.popularity != "ignored":
            count = self.get_buffer("count")
            draws = batch.targets.values.numel()
            logits = logits - inclusion_log_probability(count, codes[candidates], draws)
        main = softmax_loss(logits, Jagged(column, batch.targets.offsets))
        if not self.training or config.views in ("none", "feature_dropout"):
            return main
        return main + config.alpha * batch.targets.values.numel() * self.view_loss()

    def view_loss(self) -> Tensor:
        """L_self on items drawn uniformly from the catalogue, [] averaged over them."""
        config = self.config
        items = len(self.get_buffer("count")) - 1
        codes = 1 + torch.randperm(items)[: config.view_items]
        if config.views == "spread_out":
            vectors = self.item(codes, view=True)
            return contrastive_loss(vectors, vectors, config.view_temperature)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
        hidden = torch.from_numpy(self._masks.draw(rng))
        keep = 1 - config.value_dropout
        first = self.item(codes, hidden=hidden, keep=keep, view=True)
        second = self.item(codes, hidden=~hidden, keep=keep, view=True)
        return contrastive_loss(first, second, config.view_temperature)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """L_self of two sets of unit vectors [N, D], averaged over the N."""
    return functional.cross_entropy(first @ second.T / temperature, torch.arange(len(first)))


def _decay(age: Tensor, days: float) -> Tensor:
    """2^(-age / days), or 1 where days is 0."""
    return torch.exp2(-age / days) if days else torch.ones_like(age)
