"""DIN against the DIN of four peer libraries, for benchmarks/ranking/din.py.

    python -m benchmarks.ranking._peers TASK CONFIG.json OUT     our side of one comparison

A task is exported once as the exchange folder of benchmarks/peers (ids in the codes that our
own spec gives them), so each library sees the same rows, split, features and histories. Ours
runs in a process of its own with the same thread count and allocator settings as the peers.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.batches.stream import StreamConfig
from adwright.data.features import Feature, FeatureSpec
from adwright.data.hashing import hash_expr
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task, write_task
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.ranking.fit import FitConfig, fit, predict
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT

ROWS_PER_GROUP = 64
OUR_LEARNING_RATE = 0.003


def shared_spec(task: Task) -> FeatureSpec:
    """The task's features that every peer can take: of items, one value each."""
    return FeatureSpec(
        tuple(f for f in task.spec.features if f.of != "item" or f.kind == "categorical")
    )


def column(feature: Feature) -> str:
    """The feature's name for the peers: some make attributes of names, and `type` is taken."""
    return f"feature_{feature.name}"


def export_exchange(task: Task, folder: Path, *, max_history: int) -> Path:
    """Write the exchange folder of a task; see benchmarks/peers/peer_common.py for its form.

    max_history: the cut, 0 for none.
    """
    if (folder / "meta.json").exists():
        return folder
    spec = shared_spec(task)
    items = spec.encode_items(task.items)
    context = [f for f in spec.coded_rows if f.name != "user_id"]
    events, longest, base = [], 1, 0
    with atomic_folder(folder) as new:
        for split in SPLITS:
            rows = pq.read_table(task.rows_path(split))
            history = pq.read_table(task.events_path(split))
            starts = pl.DataFrame(history.select(["user_id"])).lazy().with_row_index("first")
            first = starts.group_by("user_id").agg(pl.col("first").min())
            users = pl.DataFrame(rows.select(["user_id"])).lazy()
            at = users.join(first, on="user_id", how="left", maintain_order="left").collect()
            begin = base + at["first"].fill_null(0).to_numpy().astype(np.int64)
            end = begin + rows["visible"].to_numpy()
            longest = max(longest, int((end - begin).max(initial=1)))
            user = next(f for f in spec.coded_rows if f.name == "user_id")
            table = {
                "label": rows["label"].to_numpy().astype(np.int8),
                "user": user.codes(rows["user_id"]).astype(np.int32),
                "item": items.rows(rows["item_id"]).astype(np.int32),
                **{column(f): f.codes(rows[f.name]).astype(np.int32) for f in context},
                **{column(f): f.numbers(rows[f.name]) for f in spec.numeric_rows},
                "history_start": begin,
                "history_end": end,
            }
            pl.DataFrame(table).write_parquet(new / f"{split}.parquet")
            events.append(items.rows(history["item_id"]).astype(np.int32))
            base += history.num_rows
        side = [f for f in spec.of("item", kinds=("categorical",)) if f.name != "item_id"]
        np.save(new / "events.npy", np.concatenate(events))
        codes: dict[str, Any] = {
            column(f): items.categorical[f.name].astype(np.int32) for f in side
        }
        np.savez(new / "items.npz", **codes)
        meta = {
            "n_users": user.cardinality,
            "n_items": len(items),
            "side": {column(f): f.cardinality for f in side},
            "context": {column(f): f.cardinality for f in context},
            "numeric": [column(f) for f in spec.numeric_rows],
            "max_history": min(max_history or longest, longest),
        }
        atomic_write_text(new / "meta.json", json.dumps(meta, indent=1))
    return folder


def run_ours(
    task: Task, config: Mapping[str, Any], out: Path, allocator: Mapping[str, str]
) -> dict[str, Any]:
    """Our DIN on the task's rows, in a process of its own; a finished one is not run again."""
    result = out / "result.json"
    if not result.exists():
        out.mkdir(parents=True, exist_ok=True)
        atomic_write_text(out / "config.json", json.dumps(dict(config)))
        environment = {**os.environ, **allocator, "OMP_NUM_THREADS": str(config["threads"])}
        ours = command("benchmarks.ranking._peers", task.folder, out / "config.json", out)
        subprocess.run(ours, check=True, env=environment, cwd=ROOT)
    loaded: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return loaded


def smaller(task: Task, folder: Path, *, people: int, negatives: float) -> Task:
    """A task of every `people`-th person of `task`, with a share of the training negatives.

    Fixed rows, so that every library trains on the same ones; test rows are all kept.
    """
    if (folder / "task.json").exists():
        return Task.open(folder)
    rows, events = [], []
    for split in SPLITS:
        part = task.rows(split).with_columns(
            split=pl.lit(split), person=pl.col("user_id").cast(pl.Int64) % people
        )
        part = part.filter(pl.col("person") == 0).drop("person")
        drawn = hash_expr(["user_id", "request_id", "item_id"], 0) / 2.0**64
        if split == "train":
            part = part.filter((pl.col("label") == 1) | (drawn < negatives))
        rows.append(part.drop("visible", "frequency").collect())
        events.append(
            pl.scan_parquet(task.events_path(split))
            .filter(pl.col("user_id").cast(pl.Int64) % people == 0)
            .collect()
        )
    return write_task(
        folder,
        name=f"{task.meta['name']}, every {people}th person",
        protocol=f"{task.protocol} Every {people}th person, {negatives:.0%} of the negatives.",
        data_hash=content_hash({"of": task.data_hash, "people": people, "negatives": negatives}),
        rows=pl.concat(rows),
        events=pl.concat(events).unique(maintain_order=True),
        items=task.items,
        features=[replace(f, vocabulary=()) for f in task.spec.features],
    )


def main(task_folder: Path, config: dict[str, Any], out: Path) -> None:
    """Our side: train with fit(), time its batches, score the test rows."""
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    task = Task.open(task_folder)
    stream = StreamConfig(
        groups_per_batch=max(1, round(config["batch_size"] / _mean_group(task))),
        rows_per_group=ROWS_PER_GROUP,
        max_history=config["max_history"],
    )
    settings = DINConfig(
        attention_hidden=config["attention_hidden"][0],
        mlp_hidden=tuple(config["mlp_hidden"]),
        embedding=EmbeddingConfig(width=config["embedding_dim"], widths=()),
    )
    spec = shared_spec(task)
    model = DIN(settings, spec, spec.encode_items(task.items))
    fit_config = FitConfig(
        epochs=config["epochs"],
        learning_rate=OUR_LEARNING_RATE,
        patience=config["epochs"],
        checkpoint_every=0,
        seed=config["seed"],
        stream=stream,
    )
    times: list[tuple[float, float]] = []
    fit(
        model,
        task,
        fit_config,
        out / "run",
        on_step=lambda _: times.append((time.process_time(), time.monotonic())),
    )
    used, wall = _seconds_of_batches(np.array(times), config["epochs"])
    train_peak = _peak()
    started = (time.process_time(), time.monotonic())
    found = predict(model, task, "test", max_history=config["max_history"])
    score_used = time.process_time() - started[0]
    np.save(out / "scores.npy", found.probability.astype(np.float32))
    record = {
        "train_rows": task.n_rows("train"),
        "train_cpu_seconds": used,
        "train_wall_seconds": wall,
        "train_rows_per_cpu_second": task.n_rows("train") * config["epochs"] / used,
        "score_rows": len(found.label),
        "score_cpu_seconds": score_used,
        "score_wall_seconds": time.monotonic() - started[1],
        "score_rows_per_cpu_second": len(found.label) / score_used,
        "peak_rss_bytes": {"train": train_peak, "score": _peak()},
        "config": to_jsonable(settings),
    }
    atomic_write_text(out / "result.json", json.dumps(record, indent=1))


def _mean_group(task: Task) -> float:
    """Mean rows of a group, so that a batch has as many rows as the peers'."""
    people = task.rows("train").group_by("user_id").len().collect()["len"].to_numpy()
    return float(people.sum() / np.ceil(people / ROWS_PER_GROUP).sum())


def _seconds_of_batches(times: np.ndarray[Any, Any], epochs: int) -> tuple[float, float]:
    """CPU and wall seconds of all batches, without the validations between epochs: the first
    batch of each epoch, whose start is not known, counts as much as the mean of the others."""
    steps = np.diff(times, axis=0)
    per_epoch = len(times) // epochs
    inside = np.ones(len(steps), dtype=bool)
    inside[[per_epoch * epoch - 1 for epoch in range(1, epochs)]] = False
    cpu, wall = steps[inside].mean(0) * len(times)
    return float(cpu), float(wall)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    folder, settings_path, target = (Path(argument) for argument in sys.argv[1:])
    main(folder, json.loads(settings_path.read_text(encoding="utf-8")), target)
