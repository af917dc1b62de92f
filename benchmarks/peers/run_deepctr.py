"""Trains and scores the DIN of DeepCTR-Torch. Runs inside that peer's environment.

Its own path: a dict of arrays, `compile`, `fit` without validation, `predict`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import peer_common as common
import torch

# On import the library asks the network for its newest version, through a package that it does
# not declare. An empty stand-in lets the import pass, and the question fail, without a network.
sys.modules.setdefault("requests", ModuleType("requests"))
from deepctr_torch.inputs import (  # noqa: E402
    DenseFeat,
    SparseFeat,
    VarLenSparseFeat,
)
from deepctr_torch.models import DIN  # noqa: E402

NOTES = {
    "loader": "fit() and predict() join all columns into one matrix [rows, columns + histories] "
    "in memory, twice at its peak, and feed it row by row; above 2 GiB the runner calls them with "
    "pieces of the rows, shuffled anew in each epoch",
    "ids": "all ids pass through float32; ids above 2^24 would collide and are refused here",
    "activation": "Dice in the attention unit; its Dice cannot be used in the MLP (it expects "
    "three dimensions there), so the MLP has PReLU",
    "dice": "statistics include padded positions",
    "loss": "summed over the batch, not averaged; Adam is nearly blind to the scale",
    "waste": "the forward pass also looks up and averages every history, and drops the result",
}
_LARGEST_ID = 2**24


def feature_columns(meta: common.Meta, width: int, dim: int) -> list[Any]:
    """Feature columns; a history shares the table of its item column."""
    profile = {"user": meta.n_users, **meta.context}
    items = {"item": meta.n_items, **meta.side}
    sizes = {**profile, **items}
    if max(sizes.values()) > _LARGEST_ID:
        raise ValueError(f"ids above {_LARGEST_ID} collide in this library: {sizes}")
    history = [
        VarLenSparseFeat(
            SparseFeat(f"hist_{name}", size, dim, embedding_name=name), width, length_name="length"
        )
        for name, size in items.items()
    ]
    sparse = [SparseFeat(name, size, dim) for name, size in sizes.items()]
    return [*sparse, *history, *(DenseFeat(name, 1) for name in meta.numeric)]


def arrays(
    job: common.Job, rows: common.Rows, width: int, chosen: common.Array
) -> dict[str, common.Array]:
    """The columns of the `chosen` rows, float32 as the library computes with them."""
    plain = {"user": rows.user, "length": rows.lengths, **rows.columns}
    built = {name: values[chosen].astype(np.float32) for name, values in plain.items()}
    for name, lookup in job.folder.item_columns().items():
        built[name] = lookup[rows.item[chosen]].astype(np.float32)
        history = common.histories(job.folder, rows, lookup, width)
        built[f"hist_{name}"] = history.dense(chosen, dtype=np.float32)
    return built


def piece_rows(job: common.Job, width: int, batch: int) -> int:
    """Rows of one call of fit or predict: the columns and the joined matrix both in memory."""
    size = common.dense_bytes(1, width, len(job.folder.item_columns()), 2 * 4)
    return max(batch, common.DENSE_LIMIT_BYTES // size // batch * batch)


def fit(
    job: common.Job, model: Any, rows: common.Rows, *, width: int, piece: int, batch: int
) -> None:
    """Train in pieces: in each epoch the rows are shuffled, cut and passed to `fit` in turn."""
    labels = rows.label.astype(np.float32)
    random = np.random.default_rng(job.config.seed)
    for _ in range(job.config.epochs):
        order = random.permutation(len(rows))
        for begin in range(0, len(order), piece):
            chosen = order[begin : begin + piece]
            x = arrays(job, rows, width, chosen)
            model.fit(x, labels[chosen], batch_size=batch, epochs=1, verbose=0)


def run(job: common.Job) -> tuple[common.Array, dict[str, Any]]:
    """Train and score; see `peer_common.main`."""
    config, meta = job.config, job.folder.meta
    torch.set_num_threads(config.threads)
    with job.meter.phase("preprocess"):
        train, test = job.rows("train"), job.rows("test")
        width = common.padded_width(train, test)
        batch = job.batch_size(width, units=1, keeps=6)
        piece = piece_rows(job, width, batch)
        whole = len(train) <= piece
        x = arrays(job, train, width, np.arange(len(train))) if whole else {}
        model = DIN(
            feature_columns(meta, width, config.embedding_dim),
            ["item", *meta.side],
            dnn_hidden_units=config.mlp_hidden,
            dnn_activation="prelu",
            att_hidden_size=config.attention_hidden,
            att_activation="dice",
            # The loss is a sum over the batch, so the strength grows with the batch.
            l2_reg_embedding=config.l2 * batch,
            seed=config.seed,
            device="cpu",
        )
        adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        model.compile(adam, "binary_crossentropy", metrics=[])
    with job.meter.phase("train"):
        if whole:
            labels = train.label.astype(np.float32)
            model.fit(x, labels, batch_size=batch, epochs=config.epochs, verbose=0)
        else:
            fit(job, model, train, width=width, piece=piece, batch=batch)
    del x
    scores = []
    for begin in range(0, len(test), piece):
        chosen = np.arange(begin, min(begin + piece, len(test)))
        with job.meter.phase("preprocess"):
            x = arrays(job, test, width, chosen)
        with job.meter.phase("score"):
            scores.append(model.predict(x, batch).reshape(-1))
    return np.concatenate(scores), {
        "train_rows": len(train),
        "batch_size": batch,
        "padded_width": width,
        "rows_per_fit": min(piece, len(train)),
        "loader_cpu_seconds_per_epoch": None,
    }


if __name__ == "__main__":
    common.main("deepctr", ["deepctr-torch"], NOTES, run)
