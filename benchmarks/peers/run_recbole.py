"""Trains and scores the DIN of RecBole. Runs inside that peer's environment.

Its own path: atomic files with a split made beforehand (`benchmark_filename`), `Config`, its
data loaders, `Trainer.fit` without validation, `model.predict` over its loader of labelled rows.
Only the histories take another way in: a text field with all past items of every row, which
RecBole pads to a dense int64 matrix, would not fit in memory for long histories.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peer_common as common
import torch
from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.layers import SequenceAttLayer
from recbole.model.sequential_recommender.din import DIN
from recbole.trainer import Trainer
from recbole.utils import FeatureSource, FeatureType, init_seed

NOTES = {
    "features": "its DIN feeds neither user id nor context nor numeric columns to the network, "
    "only the item with its side features and the history",
    "attention": "sigmoid units, no Dice; weights divided by the root of the width; its one size "
    "setting serves both networks, so the runner rebuilds the attention layer (its own class) "
    "with the hidden sizes asked for",
    "normalisation": "batch normalisation before each Dice cannot be switched off",
    "loader": "built for a dense int64 matrix [rows, max_history] made in a Python loop; the "
    "runner hands it int32 histories padded by batch instead, which favours it",
    "regulariser": "weight decay on all parameters; it has none for the embeddings alone",
}
_NAME = "peer"


class LazyHistoryDataset(SequentialDataset):
    """A sequential dataset whose batches get their padded history when they are taken.

    `histories` is set on each split after the split is built; its rows match `inter_feat`.
    """

    histories: common.Histories

    def _benchmark_presets(self) -> None:
        source = FeatureSource.INTERACTION
        self.set_field_property(self.item_list_length_field, FeatureType.TOKEN, source, 1)

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        batch = super().__getitem__(index, join)
        rows = np.asarray(index)
        lengths = self.histories.end[rows] - self.histories.start[rows]
        lists = {
            self.iid_field + self.config["LIST_SUFFIX"]: self.histories.batch(rows),
            self.item_list_length_field: lengths,
        }
        tensors = {name: torch.from_numpy(values).long() for name, values in lists.items()}
        batch.update(Interaction(tensors))
        return batch


class SizedDIN(DIN):
    """RecBole's DIN with an attention network of its own size."""

    def __init__(self, config: Any, dataset: Any, attention_hidden: list[int]) -> None:
        super().__init__(config, dataset)
        self.attention = SequenceAttLayer(
            self.attention.mask_mat,
            [self.att_list[0], *attention_hidden],
            activation="Sigmoid",
            softmax_stag=False,
            return_seq_weight=False,
        )
        self.attention.apply(self._init_weights)


def write_atomic_files(job: common.Job, splits: dict[str, common.Rows], folder: Path) -> None:
    """Write `peer.SPLIT.inter` for each split and `peer.item` with all items."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        columns = {
            "user_id:token": rows.user,
            "item_id:token": rows.item,
            "label:float": rows.label,
        }
        path = folder / f"{_NAME}.{name}.inter"
        pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    items = {"item_id:token": np.arange(1, job.folder.meta.n_items)}
    items |= {f"{name}:token": values[1:] for name, values in job.folder.side.items()}
    pd.DataFrame(items).to_csv(folder / f"{_NAME}.item", sep="\t", index=False)


def library_config(job: common.Job, width: int, batch: int) -> Config:
    """RecBole's configuration: labelled rows, no sampling, no evaluation while training."""
    config = job.config
    settings = {
        "data_path": str(job.out / "data"),
        "checkpoint_dir": str(job.out / "saved"),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {
            "inter": ["user_id", "item_id", "label"],
            "item": ["item_id", *job.folder.meta.side],
        },
        "MAX_ITEM_LIST_LENGTH": width,
        "embedding_size": config.embedding_dim,
        "mlp_hidden_size": config.mlp_hidden,
        "train_batch_size": batch,
        "eval_batch_size": batch,
        "epochs": config.epochs,
        "learning_rate": config.learning_rate,
        # Adam's weight decay w adds w * W to the gradient, as the penalty w / 2 * W ** 2 does.
        "weight_decay": 2 * config.l2,
        "seed": config.seed,
        "train_neg_sample_args": None,
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": None,
            "mode": "labeled",
        },
        "metrics": ["AUC"],
        "valid_metric": "AUC",
        "use_gpu": False,
        "show_progress": False,
    }
    sys.argv = sys.argv[:1]  # its Config would read our command line as settings
    return Config(model="DIN", dataset=_NAME, config_dict=settings)


def loaders(job: common.Job, config: Config, splits: dict[str, common.Rows]) -> tuple[Any, Any]:
    """RecBole's loaders of the train and test rows, with histories in its own item numbers."""
    dataset = LazyHistoryDataset(config)
    train, _, test = data_preparation(config, dataset)
    tokens = dataset.field2id_token[dataset.iid_field]
    renumber = np.zeros(job.folder.meta.n_items, dtype=np.int32)
    renumber[tokens[1:].astype(np.int64)] = np.arange(1, len(tokens))
    width = config["MAX_ITEM_LIST_LENGTH"]
    for loader, name in ((train, "train"), (test, "test")):
        loader._dataset.histories = common.histories(job.folder, splits[name], renumber, width)
    return train, test


def run(job: common.Job) -> tuple[common.Array, dict[str, Any]]:
    """Train and score; see `peer_common.main`."""
    torch.set_num_threads(job.config.threads)
    os.chdir(job.out)  # it writes its logs to the current folder
    with job.meter.phase("preprocess"):
        train, test = job.rows("train"), job.rows("test")
        width = common.padded_width(train, test)
        batch = job.batch_size(width, units=1, keeps=2)
        train = common.without_lonely_row(train, batch)
        # RecBole insists on a validation file; it is never evaluated, so the test file stands in.
        splits = {"train": train, "valid": test, "test": test}
        write_atomic_files(job, splits, job.out / "data" / _NAME)
        config = library_config(job, width, batch)
        init_seed(config["seed"], config["reproducibility"])
        train_loader, test_loader = loaders(job, config, splits)
        model = SizedDIN(config, train_loader._dataset, job.config.attention_hidden)
        trainer = Trainer(config, model)
    with job.meter.phase("train"):
        trainer.fit(train_loader, valid_data=None, saved=False, verbose=False)
    with job.meter.phase("score"), torch.no_grad():
        model.eval()
        scores = [model.predict(batch[0]).numpy() for batch in test_loader]
    return np.concatenate(scores), {
        "train_rows": len(train),
        "batch_size": batch,
        "padded_width": width,
        "loader_cpu_seconds_per_epoch": job.loader_seconds(train_loader),
    }


if __name__ == "__main__":
    common.main("recbole", ["recbole", "pandas", "ray"], NOTES, run)
