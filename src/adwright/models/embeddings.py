"""Embedding tables for the coded features of a task, and the items built from them.

An item is the concatenation of the embeddings of its features (id, type, category, ...).
The catalogue travels with the model as integer buffers, so a batch carries one code per item,
and an item that occurs many times in a batch is embedded once. Gradients are sparse: a step touches
the rows that occur in the batch and no others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.features import Feature, FeatureSpec, ItemTable


@settings
class EmbeddingConfig:
    """Width of the embeddings.

    width: of every feature that `widths` does not name. widths: (feature, width) pairs.
    scale: standard deviation of the initial values (our choice; the paper leaves it open).
    """

    width: int = 4
    widths: tuple[tuple[str, int], ...] = (("item_id", 32), ("type", 8), ("user_id", 8))
    scale: float = 0.2

    def __post_init__(self) -> None:
        if self.width < 1 or any(width < 1 for _, width in self.widths):
            raise ConfigError("an embedding is at least 1 wide", where="embedding")

    def of(self, feature: Feature) -> int:
        """Width of the feature's embedding, at most its number of codes."""
        return min(dict(self.widths).get(feature.name, self.width), feature.cardinality)

    def table(self, feature: Feature) -> nn.Embedding:
        """A new table [cardinality, width] with sparse gradients."""
        table = nn.Embedding(feature.cardinality, self.of(feature), sparse=True)
        nn.init.normal_(table.weight, std=self.scale)
        return table


class ItemEmbedding(nn.Module):
    """Item codes to item vectors of width D: the concatenation over the item's features.

    Features of the kinds categorical, hashed, bucketised and multi (the mean of the values'
    embeddings, zero without values); numeric item features are appended as they are.
    """

    def __init__(self, spec: FeatureSpec, items: ItemTable, config: EmbeddingConfig) -> None:
        super().__init__()
        coded = spec.of("item", kinds=("categorical", "hashed", "bucketised"))
        multi = spec.of("item", kinds=("multi",))
        self.names, self.multi_names = [f.name for f in coded], [f.name for f in multi]
        # By position: a feature may have any name, an attribute of a module may not.
        self.tables = nn.ModuleList(config.table(f) for f in (*coded, *multi))
        codes = [items.categorical[name] for name in self.names]
        self._keep("codes", np.stack(codes, 1) if codes else np.zeros((len(items), 0), np.int64))
        self._keep("numeric", items.numeric)
        for name in self.multi_names:
            self._keep(f"{name}_values", items.multi[name][0])
            self._keep(f"{name}_offsets", items.multi[name][1])
        #: Width of each part of `parts`.
        self.widths = [config.of(f) for f in (*coded, *multi)]
        self.width = sum(self.widths) + items.numeric.shape[1]
        #: Expected squared length of an item vector before training.
        self.norm = config.scale**2 * self.width

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(f"item_{name}", torch.from_numpy(np.ascontiguousarray(values)))

    def _kept(self, name: str) -> Tensor:
        return self.get_buffer(f"item_{name}")

    def forward(self, items: Tensor) -> Tensor:
        """items int64 [N], best without repeats, to [N, D]."""
        return torch.cat([*self.parts(items), self._kept("numeric")[items]], 1)

    def parts(self, items: Tensor, *, keep: float = 1.0) -> list[Tensor]:
        """The embedding of each coded feature alone: [N, W_f] in the order of the tables.

        keep: each value of a multi-valued feature is kept with this probability.
        """
        codes = self._kept("codes")[items]
        tables = iter(self.tables)
        parts = [next(tables)(codes[:, i]) for i in range(len(self.names))]
        for name in self.multi_names:
            lists = self._lists(name, items)
            if keep < 1:
                lists = _thinned(lists, keep)
            parts.append(embed_lists(next(tables), lists))
        return parts

    def occurrences(self, items: Tensor, number: Tensor) -> list[tuple[nn.Embedding, Tensor]]:
        """Each table with how often its rows occur [n], where item items[i] occurs number[i]
        times (int64 [N], float [N])."""
        codes = self._kept("codes")[items]
        parts = [(codes[:, i], number) for i in range(len(self.names))]
        for name in self.multi_names:
            lists = self._lists(name, items)
            parts.append((lists.values, number[lists.owner()]))
        return [
            (table, number.new_zeros(table.num_embeddings).index_add_(0, rows, times).float())
            for table, (rows, times) in zip(self._tables(), parts, strict=True)
        ]

    def _tables(self) -> list[nn.Embedding]:
        return [table for table in self.tables if isinstance(table, nn.Embedding)]

    def _lists(self, name: str, items: Tensor) -> Jagged:
        return Jagged(self._kept(f"{name}_values"), self._kept(f"{name}_offsets")).select(items)


def _thinned(lists: Jagged, keep: float) -> Jagged:
    """Keep each value with probability `keep`."""
    kept = torch.rand(lists.values.numel()) < keep
    lengths = torch.zeros(len(lists), dtype=torch.int64).index_add_(
        0, lists.owner(), kept.to(torch.int64)
    )
    return Jagged(lists.values[kept], lengths_to_offsets(lengths))


class RowEmbedding(nn.Module):
    """User and context features of the rows, concatenated: [T, R]."""

    def __init__(self, features: Sequence[Feature], config: EmbeddingConfig) -> None:
        super().__init__()
        self.names = [f.name for f in features]
        self.tables = nn.ModuleList(config.table(f) for f in features)
        self.width = sum(config.of(f) for f in features)

    def forward(self, batch: Batch) -> Tensor:
        """The features of the batch's T rows to [T, R]."""
        categorical, multi = batch.categorical, batch.multi
        parts = []
        for name, table in zip(self.names, self.tables, strict=True):
            if name in multi:
                parts.append(embed_lists(table, multi[name]))
                continue
            # Rows repeat a few codes: embed each once, so its gradient is one row.
            distinct, place = torch.unique(categorical[name], return_inverse=True)
            parts.append(table(distinct)[place])
        return torch.cat(parts, 1) if parts else torch.zeros(len(batch), 0)


def embed_lists(table: nn.Module, lists: Jagged) -> Tensor:
    """Mean of the embeddings of each list's codes [U, W]; zero for an empty list."""
    distinct, place = torch.unique(lists.values, return_inverse=True)
    vectors = table(distinct)[place]
    sums: Tensor = vectors.new_zeros(len(lists), vectors.shape[1]).index_add(
        0, lists.owner(), vectors
    )
    return sums / lists.lengths.clamp(min=1)[:, None]
