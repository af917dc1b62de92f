"""Occurrences of each embedding row in the training set, for mini-batch aware decay.

Our choice, since the paper does not say what counts as one occurrence: each training row
counts its own features (a negative by the share in which it is sampled), and each event of a
history counts its item once, however many rows can see it. Events that no training row can
see, such as those after the training period, do not count.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from adwright.data.features import Feature
from adwright.data.tasks.task import Task
from adwright.models.embeddings import ItemEmbedding, RowEmbedding

__all__ = ["training_counts"]


def training_counts(
    model: nn.Module, task: Task, negative_rate: float = 1.0, *, max_history: int = 0
) -> dict[Tensor, Tensor]:
    """Float [n] counts for the table of each item and row feature of the model.

    negative_rate: share of the rows of label 0 that training sees, which is their weight.
    max_history: most recent events that a row sees, 0 for all; a user's events count from
    the first to the last that one of the training rows sees.
    Reads the training rows once, a feature at a time; memory follows the distinct values.
    """
    rows = task.rows("train").with_columns(
        weight=pl.when(pl.col("label") == 1).then(1.0).otherwise(negative_rate)
    )
    codes, weights = _grouped(rows, "item_id")
    item = torch.from_numpy(task.item_table.rows(codes.to_arrow()).astype(np.int64))
    number = torch.zeros(len(task.item_table), dtype=torch.float64).index_add_(0, item, weights)
    for events in _seen_events(task, max_history):
        seen = torch.from_numpy(task.item_table.rows(events.to_arrow()))
        number += torch.bincount(seen, minlength=len(number))
    counts: dict[Tensor, Tensor] = {}
    features = {feature.name: feature for feature in task.spec.features}
    for module in model.modules():
        if isinstance(module, ItemEmbedding):
            every = torch.arange(len(number))
            counts |= {table.weight: n for table, n in module.occurrences(every, number)}
        elif isinstance(module, RowEmbedding):
            for name, part in zip(module.names, module.tables, strict=True):
                if isinstance(part, nn.Embedding):
                    counts[part.weight] = _row_counts(rows, features[name])
    return counts


def _seen_events(task: Task, max_history: int) -> Iterator[pl.Series]:
    """The item ids of the events that training rows can see, a row group at a time."""
    rows = pq.ParquetFile(task.rows_path("train"))
    events = pq.ParquetFile(task.events_path("train"))
    for group in range(rows.num_row_groups):
        spans = (
            pl.DataFrame(rows.read_row_group(group, columns=["user_id", "visible"]))
            .group_by("user_id")
            .agg(first=pl.col("visible").min() - max_history, end=pl.col("visible").max())
        )
        if not max_history:
            spans = spans.with_columns(first=pl.lit(0))
        yield (
            pl.DataFrame(events.read_row_group(group, columns=["user_id", "item_id"]))
            .with_columns(place=pl.int_range(pl.len()).over("user_id"))
            .join(spans, on="user_id")
            .filter(pl.col("place") >= pl.col("first"), pl.col("place") < pl.col("end"))
            .get_column("item_id")
        )


def _grouped(rows: pl.LazyFrame, name: str) -> tuple[pl.Series, Tensor]:
    table = rows.group_by(name).agg(pl.col("weight").sum()).collect(engine="streaming")
    return table[name], torch.from_numpy(table["weight"].to_numpy().copy())


def _row_counts(rows: pl.LazyFrame, feature: Feature) -> Tensor:
    source = rows.select(feature.name, "weight")
    if feature.kind == "multi":
        # As the model reads lists: null and unknown values are not there at all.
        source = source.explode(feature.name)
    values, weights = _grouped(source, feature.name)
    codes = torch.from_numpy(feature.codes(values.to_arrow()))
    counts = torch.zeros(feature.cardinality, dtype=torch.float64)
    counts.index_add_(0, codes, weights)
    if feature.kind == "multi":
        counts[0] = 0
    return counts.float()
