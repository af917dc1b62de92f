"""Occurrences n_j of each embedding row in the training set, for mini-batch aware decay.

Two ways to count, of which `Occurrence` names one:

rows     the paper's (Zhou et al., KDD 2018, equations 4 to 6): a value occurs in every training
         row that has it, so an item in each row of which it is the target or stands in the
         history that the row sees. A row has it once, however often it stands there. Every batch
         in which a value occurs has a row of it, so over an epoch a row of the table is decayed
         by lambda at most, as often as it may occur.
events   the one of earlier versions: each row counts its own features, and each event of a
         history counts its item once, however many rows can see it. n_j is smaller by the number of
         rows that see an event (4 to 90 times on the response task), and the decay larger by
         as much; how much depends on how many rows of a user stand in one batch.

A negative counts by the share in which it is sampled. Events that no training row can see, such as
those after the training period, do not count. A user's or context's own features are counted
alike, but for a list that has a value twice: in `rows` that is one occurrence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from adwright.data.features import Feature, ItemTable
from adwright.data.ranges import distinct
from adwright.data.sequences.rows_with import ItemValues, SeenRows
from adwright.data.tasks.task import Task
from adwright.models.embeddings import ItemEmbedding, RowEmbedding

__all__ = ["Occurrence", "training_counts"]

#: What one occurrence of a value is, see the module.
Occurrence = Literal["rows", "events"]


def training_counts(
    model: nn.Module,
    task: Task,
    negative_rate: float = 1.0,
    *,
    max_history: int = 0,
    occurrence: Occurrence = "rows",
) -> dict[Tensor, Tensor]:
    """Float [n] counts for the table of each item and row feature of the model.

    negative_rate: share of the rows of label 0 that training sees, which is their weight.
    max_history: most recent events that a row sees, 0 for all. occurrence: see the module; in
    "events" a user's events count from the first to the last that one of the training rows sees.
    Reads the training rows once, and once a row feature; memory follows the row group and the
    distinct values.
    """
    rows = task.rows("train").with_columns(weight=_weight(negative_rate))
    modules = list(model.modules())
    items = [one for one in modules if isinstance(one, ItemEmbedding)]
    counts: dict[Tensor, Tensor] = {}
    match occurrence:
        case "rows":
            names = {name for embedding in items for name in _names(embedding)}
            found = _in_rows(task, sorted(names), negative_rate, max_history)
            for embedding in items:
                for name, table in zip(_names(embedding), embedding.tables, strict=True):
                    if isinstance(table, nn.Embedding):
                        counts[table.weight] = found[name]
        case "events":
            number = _in_events(task, rows, max_history)
            every = torch.arange(len(number))
            for embedding in items:
                counts |= {table.weight: n for table, n in embedding.occurrences(every, number)}
    features = {feature.name: feature for feature in task.spec.features}
    for module in modules:
        if isinstance(module, RowEmbedding):
            for name, part in zip(module.names, module.tables, strict=True):
                if isinstance(part, nn.Embedding):
                    once = occurrence == "rows"
                    counts[part.weight] = _row_counts(rows, features[name], once=once)
    return counts


def _weight(negative_rate: float) -> pl.Expr:
    return pl.when(pl.col("label") == 1).then(1.0).otherwise(negative_rate)


def _names(module: ItemEmbedding) -> list[str]:
    """The features of its tables, in their order."""
    return [*module.names, *module.multi_names]


def _in_rows(
    task: Task, names: Iterable[str], negative_rate: float, max_history: int
) -> dict[str, Tensor]:
    """Counts by `rows` of the values of these item features."""
    values = {name: _values(task.item_table, name, task) for name in names}
    found = {name: np.zeros(of.width) for name, of in values.items()}
    for seen in _groups(task, negative_rate, max_history) if values else ():
        for name, of in values.items():
            found[name] += seen.count(of)
    return {name: torch.from_numpy(number).float() for name, number in found.items()}


def _values(items: ItemTable, name: str, task: Task) -> ItemValues:
    width = next(f.cardinality for f in task.spec.features if f.name == name)
    if name in items.categorical:
        return ItemValues(items.categorical[name], np.arange(len(items) + 1), width)
    codes, offsets = items.multi[name]
    return ItemValues(*distinct(codes, offsets, width), width)


def _groups(task: Task, negative_rate: float, max_history: int) -> Iterator[SeenRows]:
    """The training rows and the events behind them, a row group at a time."""
    rows_file = pq.ParquetFile(task.rows_path("train"))
    events_file = pq.ParquetFile(task.events_path("train"))
    columns = ["user_id", "item_id", "visible", "label"]
    for group in range(rows_file.num_row_groups):
        rows = pl.DataFrame(rows_file.read_row_group(group, columns=columns))
        events = pl.DataFrame(events_file.read_row_group(group, columns=["user_id", "item_id"]))
        # The events' order of users, and behind them those without any.
        users = pl.concat([events["user_id"], rows["user_id"]]).unique(maintain_order=True)
        numbered = users.to_frame().with_row_index("number")
        yield SeenRows(
            user=_numbers(rows, numbered),
            visible=rows["visible"].to_numpy().astype(np.int64),
            item=task.item_table.rows(rows.to_arrow()["item_id"]).astype(np.int64),
            weight=rows.select(_weight(negative_rate)).to_series().to_numpy(),
            event_user=_numbers(events, numbered),
            event_item=task.item_table.rows(events.to_arrow()["item_id"]).astype(np.int64),
            max_history=max_history,
        )


def _numbers(
    frame: pl.DataFrame, users: pl.DataFrame
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    joined = frame.select("user_id").join(users, on="user_id", how="left", maintain_order="left")
    return joined["number"].to_numpy().astype(np.int64)


def _in_events(task: Task, rows: pl.LazyFrame, max_history: int) -> Tensor:
    """Counts by `events` of each item, float64 [N + 1]."""
    codes, weights = _grouped(rows, "item_id")
    item = torch.from_numpy(task.item_table.rows(codes.to_arrow()).astype(np.int64))
    number = torch.zeros(len(task.item_table), dtype=torch.float64).index_add_(0, item, weights)
    for events in _seen_events(task, max_history):
        seen = torch.from_numpy(task.item_table.rows(events.to_arrow()))
        number += torch.bincount(seen, minlength=len(number))
    return number


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


def _row_counts(rows: pl.LazyFrame, feature: Feature, *, once: bool) -> Tensor:
    source = rows.select(feature.name, "weight")
    if feature.kind == "multi":
        # As the model reads lists: null and unknown values are not there at all.
        listed = pl.col(feature.name)
        source = source.with_columns(listed.list.unique() if once else listed)
        source = source.explode(feature.name)
    values, weights = _grouped(source, feature.name)
    codes = torch.from_numpy(feature.codes(values.to_arrow()))
    counts = torch.zeros(feature.cardinality, dtype=torch.float64)
    counts.index_add_(0, codes, weights)
    if feature.kind == "multi":
        counts[0] = 0
    return counts.float()
