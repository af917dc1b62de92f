"""Trains and scores the DIN of FuxiCTR. Runs inside that peer's environment.

The wheel ships one DIN, in its zoo for long histories, and a loader made for it: each user's
events are kept once and each row holds a length, so a batch is padded only to its longest row.
That loader, `BaseModel.fit` and `BaseModel.predict` are used as its `run_expid.py` does.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peer_common as common
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.torch_utils import seed_everything
from model_zoo.LongCTR.DIN import DIN
from model_zoo.LongCTR.longctr_dataloader import LongCTRDataLoader

NOTES = {
    "loader": "its loader for long histories: no dense matrix, but each batch looks up a pandas "
    "table and turns every column of it into Python lists",
    "padding": "a batch is padded to its longest history, in front",
    "dice": "statistics include padded positions",
    "numeric": "a linear map without bias to the embedding size",
    "evaluation": "its fit always evaluates and reloads the best weights; the runner replaces the "
    "evaluation by saving the weights once an epoch, so the last epoch counts",
    "clipping": "gradients are clipped to norm 10, its default",
}
_NUMERIC_PREFIX = "numeric_"


class LastEpochDIN(DIN):
    """FuxiCTR's DIN without evaluation while training, and with numeric columns.

    Its loader joins all columns into one array: with a float column among them the user number
    becomes a float and its own indexing fails. So numeric columns travel as the bits of a float32
    in an integer column and are read back here.
    """

    def eval_step(self) -> None:
        self.save_weights(self.checkpoint)

    def get_inputs(self, inputs: Any, feature_source: Any = None) -> Any:
        columns, items, mask = super().get_inputs(inputs, feature_source)
        for name, values in columns.items():
            if name.startswith(_NUMERIC_PREFIX):
                columns[name] = values.int().contiguous().view(torch.float32)
        return columns, items, mask


def feature_map(meta: common.Meta, config: common.Config, folder: Path) -> FeatureMap:
    """The features: user, context and numeric by row; item columns by the item table."""

    def categorical(source: str, size: int) -> dict[str, Any]:
        return {"source": source, "type": "categorical", "vocab_size": size, "padding_idx": 0}

    specs: OrderedDict[str, dict[str, Any]] = OrderedDict()
    for name in ("user_index", "item_index", "seq_len"):
        specs[name] = {"type": "meta"}
    specs["user"] = categorical("user", meta.n_users)
    for name, size in meta.context.items():
        specs[name] = categorical("context", size)
    for name in meta.numeric:
        specs[_NUMERIC_PREFIX + name] = {"source": "context", "type": "numeric"}
    for name, size in {"item": meta.n_items, **meta.side}.items():
        specs[name] = categorical("item", size)
    built = FeatureMap("peer", str(folder))
    built.features, built.labels = specs, ["label"]
    built.default_emb_dim = config.embedding_dim
    built.num_fields = built.get_num_fields()
    built.set_column_index()
    return built


def histories_by_start(
    job: common.Job, splits: dict[str, common.Rows]
) -> tuple[list[common.Array], common.Array]:
    """Event lists, one for each distinct history start, and those starts (sorted).

    FuxiCTR cuts the first `seq_len` events of a list, then the last `max_len` of these: one list
    serves all rows whose history starts at the same event. List 0 holds one padding id and stands
    in for an empty history, for which its DIN cannot build a batch.
    """
    starts = np.unique(np.concatenate([rows.first for rows in splits.values()]))
    ends = starts.copy()
    for rows in splits.values():
        np.maximum.at(ends, np.searchsorted(starts, rows.first), rows.end)
    lists = [job.folder.events[start:end] for start, end in zip(starts, ends, strict=True)]
    total, limit = sum(map(len, lists)), 20 * len(job.folder.events) + 1
    if total > limit:
        raise ValueError(f"histories overlap too much: {total} events in lists, limit {limit}")
    return [np.zeros(1, dtype=np.int32), *lists], starts


def write_files(job: common.Job, splits: dict[str, common.Rows], folder: Path) -> None:
    """Write train.parquet, test.parquet, user_info.parquet and item_info.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    lists, starts = histories_by_start(job, splits)
    pd.DataFrame({"full_item_seq": lists}).to_parquet(folder / "user_info.parquet")
    items = {"item_index": np.arange(job.folder.meta.n_items), **job.folder.item_columns()}
    pd.DataFrame(items).to_parquet(folder / "item_info.parquet")
    for name, rows in splits.items():
        length = rows.end - rows.first
        index = np.where(length > 0, np.searchsorted(starts, rows.first) + 1, 0)
        columns = {
            "label": rows.label.astype(np.int64),
            "user_index": index,
            "item_index": rows.item.astype(np.int64),
            "seq_len": np.maximum(length, 1),
            "user": rows.user.astype(np.int64),
        }
        for key, values in rows.columns.items():
            is_numeric = key in job.folder.meta.numeric
            bits = values.astype(np.float32).view(np.int32) if is_numeric else values
            columns[_NUMERIC_PREFIX + key if is_numeric else key] = bits.astype(np.int64)
        pd.DataFrame(columns).to_parquet(folder / f"{name}.parquet")


def build_model(job: common.Job, features: FeatureMap) -> LastEpochDIN:
    """The model, with Dice in both networks and raw attention weights."""
    config = job.config
    model = LastEpochDIN(
        features,
        gpu=-1,
        dnn_hidden_units=config.mlp_hidden,
        dnn_activations="Dice",
        attention_hidden_units=config.attention_hidden,
        attention_hidden_activations="Dice",
        learning_rate=config.learning_rate,
        embedding_dim=config.embedding_dim,
        # FuxiCTR halves the strength it is given.
        embedding_regularizer=2 * config.l2 or None,
        optimizer="adam",
        loss="binary_crossentropy",
        task="binary_classification",
        metrics=["AUC"],
        verbose=0,
        model_root=str(job.out),
    )
    Path(model.model_dir).mkdir(parents=True, exist_ok=True)
    return model


def run(job: common.Job) -> tuple[common.Array, dict[str, Any]]:
    """Train and score; see `peer_common.main`."""
    config = job.config
    seed_everything(seed=config.seed)
    torch.set_num_threads(config.threads)
    with job.meter.phase("preprocess"):
        train_rows, test_rows = job.rows("train"), job.rows("test")
        width = common.padded_width(train_rows, test_rows)
        batch = job.batch_size(width, units=1, keeps=6)
        train_rows = common.without_lonely_row(train_rows, batch)
        splits = {"train": train_rows, "test": test_rows}
        folder = job.out / "data"
        write_files(job, splits, folder)
        features = feature_map(job.folder.meta, config, folder)
        common_settings = {
            "data_loader": LongCTRDataLoader,
            "user_info": str(folder / "user_info.parquet"),
            "item_info": str(folder / "item_info.parquet"),
            "batch_size": batch,
            "num_workers": 0,
            "max_len": job.folder.meta.max_history,
        }
        train_path, test_path = (str(folder / f"{name}.parquet") for name in ("train", "test"))
        train, _ = RankDataLoader(features, "train", train_path, **common_settings)
        test = RankDataLoader(features, "test", test_data=test_path, **common_settings)
        model = build_model(job, features)
    with job.meter.phase("train"):
        model.fit(train, epochs=config.epochs)
    with job.meter.phase("score"):
        scores = model.predict(test)
    return scores, {
        "train_rows": len(train_rows),
        "batch_size": batch,
        "padded_width": width,
        "loader_cpu_seconds_per_epoch": job.loader_seconds(train),
    }


if __name__ == "__main__":
    common.main("fuxictr", ["fuxictr", "pandas", "ray"], NOTES, run)
