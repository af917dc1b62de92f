"""Trains and scores the DIN of torch-rechub. Runs inside that peer's environment.

Its own path: `DataGenerator` over a dict of arrays, `CTRTrainer.fit` without a validation loader,
`CTRTrainer.predict`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import peer_common as common
import torch
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.ranking import DIN
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

NOTES = {
    "numeric": "its DIN drops dense features, so numeric columns enter as 20 quantile buckets",
    "attention": "one activation unit for each history column, not one on their concatenation; "
    "no padding mask; padded positions contribute nothing only because padding_idx is set here, "
    "but they do enter the batch normalisation of the unit",
    "dice": "its Dice normalises over the neurons of a row, with one scalar alpha",
    "normalisation": "batch normalisation in both networks cannot be switched off",
    "loader": "row by row; needs arrays of [rows, max_history]; above 2 GiB the runner hands it a "
    "lazy column that pads one row at a time",
}

Columns = dict[str, Any]


def features(job: common.Job, edges: dict[str, common.Array]) -> tuple[list[Any], ...]:
    """Feature columns (profile and context, history, target) that share the item tables."""
    meta, width = job.folder.meta, job.config.embedding_dim
    profile = {"user": meta.n_users, **meta.context}
    profile |= {name: len(edges[name]) + 2 for name in meta.numeric}
    items = {"item": meta.n_items, **meta.side}
    target = [SparseFeature(name, size, width, padding_idx=0) for name, size in items.items()]
    history = [
        SequenceFeature(f"hist_{name}", size, width, "concat", shared_with=name, padding_idx=0)
        for name, size in items.items()
    ]
    return [SparseFeature(name, size, width) for name, size in profile.items()], history, target


def columns(
    job: common.Job,
    rows: common.Rows,
    edges: dict[str, common.Array],
    *,
    width: int,
    lazy: bool,
) -> Columns:
    """The dict of columns for one split; `lazy` pads each history row when it is asked for."""
    built: Columns = {"user": rows.user}
    for name, values in rows.columns.items():
        built[name] = common.bucket_ids(values, edges[name]) if name in edges else values
    items = job.folder.item_columns()
    for name, lookup in items.items():
        built[name] = lookup[rows.item]
        history = common.histories(job.folder, rows, lookup, width)
        built[f"hist_{name}"] = history if lazy else history.dense()
    return built


def run(job: common.Job) -> tuple[common.Array, dict[str, Any]]:
    """Train and score; see `peer_common.main`."""
    config = job.config
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    with job.meter.phase("preprocess"):
        train, test = job.rows("train"), job.rows("test")
        width = common.padded_width(train, test)
        columns_count = 1 + len(job.folder.meta.side)
        batch = job.batch_size(width, units=columns_count, keeps=8)
        train = common.without_lonely_row(train, batch)
        size = common.dense_bytes(len(train) + len(test), width, columns_count, 4)
        lazy = size > common.DENSE_LIMIT_BYTES
        names = job.folder.meta.numeric
        edges = {name: common.bucket_edges(train.columns[name]) for name in names}
        x_train, x_test = (
            columns(job, rows, edges, width=width, lazy=lazy) for rows in (train, test)
        )
        y_train, y_test = (rows.label.astype(np.float32) for rows in (train, test))
        generator = DataGenerator(x_train, y_train)
        loader, _, test_loader = generator.generate_dataloader(
            x_val=x_test, y_val=y_test, x_test=x_test, y_test=y_test, batch_size=batch
        )
        profile, history, target = features(job, edges)
        model = DIN(
            features=profile,
            history_features=history,
            target_features=target,
            mlp_params={"dims": config.mlp_hidden},
            attention_mlp_params={"dims": config.attention_hidden},
        )
        trainer = CTRTrainer(
            model,
            optimizer_params={"lr": config.learning_rate, "weight_decay": 0.0},
            regularization_params={"embedding_l2": config.l2},
            n_epoch=config.epochs,
            device="cpu",
            model_path=str(job.out),
        )
    with job.meter.phase("train"):
        trainer.fit(loader)
    with job.meter.phase("score"):
        scores = np.array(trainer.predict(model, test_loader))
    return scores, {
        "train_rows": len(train),
        "batch_size": batch,
        "padded_width": width,
        "lazy_histories": lazy,
        "loader_cpu_seconds_per_epoch": job.loader_seconds(loader),
    }


if __name__ == "__main__":
    common.main("rechub", ["torch-rechub"], NOTES, run)
