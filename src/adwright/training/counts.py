"""Occurrences of each embedding row in the training set, for mini-batch aware decay.

Our choice, since the paper does not say what counts as one occurrence: each training row
counts its own features (a negative by the share in which it is sampled), and each event of a
history counts its item once, however many rows can see it.
"""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor, nn

from adwright.data.features import Feature
from adwright.data.task import Task
from adwright.models.embeddings import ItemEmbedding, RowEmbedding

__all__ = ["training_counts"]


def training_counts(
    model: nn.Module, task: Task, negative_rate: float = 1.0
) -> dict[Tensor, Tensor]:
    """Float [n] counts for the table of each item and row feature of the model."""
    rows = task.rows("train").with_columns(
        weight=pl.when(pl.col("label") == 1).then(1.0).otherwise(negative_rate)
    )
    events = pl.scan_parquet(task.events_path("train"))
    codes, weights = _grouped(rows, "item_id")
    seen, times = _grouped(events.with_columns(weight=pl.lit(1.0)), "item_id")
    items = torch.from_numpy(
        task.item_table.rows(pl.concat([codes, seen]).to_arrow()).astype("int64")
    )
    number = torch.cat([weights, times])
    counts: dict[Tensor, Tensor] = {}
    for module in model.modules():
        if isinstance(module, ItemEmbedding):
            counts |= {table.weight: n for table, n in module.occurrences(items, number)}
        elif isinstance(module, RowEmbedding):
            features = {feature.name: feature for feature in task.spec.features}
            for name, part in zip(module.names, module.tables, strict=True):
                if isinstance(part, nn.Embedding):
                    counts[part.weight] = _row_counts(rows, features[name])
    return counts


def _grouped(rows: pl.LazyFrame, name: str) -> tuple[pl.Series, Tensor]:
    table = rows.group_by(name).agg(pl.col("weight").sum()).collect(engine="streaming")
    return table[name], torch.from_numpy(table["weight"].to_numpy().copy())


def _row_counts(rows: pl.LazyFrame, feature: Feature) -> Tensor:
    source = rows.select(feature.name, "weight")
    values, weights = _grouped(
        source.explode(feature.name) if feature.kind == "multi" else source, feature.name
    )
    counts = torch.zeros(feature.cardinality, dtype=torch.float64)
    counts.index_add_(0, torch.from_numpy(feature.codes(values.to_arrow())), weights)
    return counts.float()
