"""Scores of a stream's rows, in file order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.errors import ValueInvalidError
from adwright.core.progress import Progress, progress
from adwright.data.batches.batch import Batch
from adwright.data.batches.stream import Stream, StreamConfig
from adwright.data.tasks.split import Split
from adwright.data.tasks.task import Task
from adwright.training.loop.distributed import gather, rank, share_of, world_size

#: Groups of whole users, whose history is prepared once for all of their rows.
SCORING = StreamConfig(groups_per_batch=128, rows_per_group=512, window=1, shuffle=False)


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


def predict(
    model: nn.Module, task: Task, split: Split, *, max_history: int = 0, divided: bool = False
) -> Predictions:
    """Probabilities of the positive class for all rows of a split, as they were drawn.

    max_history: most recent events that a row may see, as in training; 0 for all.
    divided: in a distributed run, each process scores a share and all get the whole; every
    process must call.
    Raises ValueInvalidError where the split has no rows.
    """
    stream = open_stream(task, split, replace(SCORING, max_history=max_history))
    if not stream.n_rows:
        raise ValueInvalidError(
            f"the {split} split has no rows to score",
            file=str(task.rows_path(split)),
            hint="move the dates of the split",
        )
    # A process without a group still takes part in the gathering.
    scores, labels = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    rows = [np.zeros(0, np.int64)]
    n_mine = stream.n_rows // world_size() if divided else stream.n_rows
    first = rank() == 0
    with progress(n_mine, f"score {split}") if first else nullcontext(Progress()) as bar:
        for batch, logits in predict_batches(model, stream, divided=divided):
            scores.append(logits)
            labels.append(batch.label.numpy())
            rows.append(batch.row.numpy())
            bar.advance(len(batch))
    logit, label = (_whole(parts, divided) for parts in (scores, labels))
    # Only where each process scored some of the groups they are out of order.
    order = torch.argsort(_whole(rows, divided), stable=True)
    users = task.rows(split).select("user_id").collect()["user_id"].rle_id().to_numpy()
    return Predictions(
        probability=torch.sigmoid(logit[order].double()).numpy(),
        label=label[order].to(torch.int8).numpy(),
        user=users.astype(np.int64),
    )


def predict_batches(
    model: nn.Module, stream: Stream, *, divided: bool = False
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Batches of a stream with the logits of their rows (`Batch.of_rows`); the model is left in
    the mode it was in.

    divided: only the groups that this process of a distributed run is to score.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for whole, _ in stream.epoch():
                batch = share_of(whole) if divided else whole
                if len(batch):
                    yield batch, batch.of_rows(model(batch)).float().numpy()
    finally:
        model.train(was_training)


def _whole(parts: Sequence[NDArray[Any]], divided: bool) -> Tensor:
    mine = torch.from_numpy(np.concatenate(parts))
    return gather(mine) if divided else mine
