"""Scores of a stream's rows, in file order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from adwright.core.progress import progress
from adwright.data.batch import Batch
from adwright.data.stream import Stream, StreamConfig
from adwright.data.task import Split, Task

__all__ = ["Predictions", "open_stream", "predict", "predict_batches"]

#: Scoring wants whole people: their history is prepared once for all of their rows.
SCORING = StreamConfig(groups_per_batch=16, rows_per_group=512, window=1, shuffle=False)


@dataclass(frozen=True)
class Predictions:
    """Float64 probabilities, int8 labels and int64 user codes of N rows in file order."""

    probability: NDArray[np.float64]
    label: NDArray[np.int8]
    user: NDArray[np.int64]


def open_stream(task: Task, split: Split, config: StreamConfig) -> Stream:
    """A split of a task as a stream of batches."""
    return Stream(
        task.rows_path(split),
        task.events_path(split),
        spec=task.spec,
        items=task.item_table,
        config=config,
    )


def predict(model: nn.Module, task: Task, split: Split, *, max_history: int = 0) -> Predictions:
    """Probabilities of the positive class for all rows of a split.

    max_history: most recent events that a row may see, as in training; 0 for all.
    """
    stream = open_stream(task, split, replace(SCORING, max_history=max_history))
    scores, labels, rows = [], [], []
    with progress(stream.n_rows, f"score {split}", unit="rows") as bar:
        for batch, logits in predict_batches(model, stream):
            scores.append(logits)
            labels.append(batch.label.numpy())
            rows.append(batch.row.numpy())
            bar.advance(len(batch))
    logits = np.concatenate(scores).astype(np.float64)
    users = task.rows(split).select("user_id").collect()["user_id"].rle_id().to_numpy()
    return Predictions(
        probability=1 / (1 + np.exp(-logits)),
        label=np.concatenate(labels).astype(np.int8),
        user=users.astype(np.int64)[np.concatenate(rows)],
    )


def predict_batches(
    model: nn.Module, stream: Stream
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Batches of a stream with their logits; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch, _ in stream.epoch():
                yield batch, model(batch).float().numpy()
    finally:
        model.train(was_training)
