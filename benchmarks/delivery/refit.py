"""Whether what is served knows the newest events, on five logs (an hour).

    python -m benchmarks.delivery.refit --set lastfm --minutes 1     one log; the others stay

The last event of each user is taken away before the log is imported, so that nothing of what the
commands do can have seen it. What was done is kept in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import adwright
from adwright.core.artifacts import load_artifact
from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.funnel.build import fit_log_rules
from adwright.delivery.funnel.funnel import Funnel
from adwright.models.retrieval.item_item import (
    ItemItem,
    count_linear,
    count_neighbours,
    linear_neighbours,
    regression,
)
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.retrieval.rules import HALF_LIVES, decayed_counts
from benchmarks.common.result import RESULTS, write_result
from benchmarks.delivery.funnel_parts.logs import write_log

NAME, K = "refit", 10
SETS = ("beauty", "lastfm", "ml-latest-small", "movielens", "movietweetings")
PROTOCOL = (
    "The last event of each user with three or more is taken out of the log; the rest goes through "
    "data import, train item-item, train cascade and recommend, by their defaults but for "
    "--minutes, each a process of its own, before the cascade was fitted again and after. NDCG@10 "
    "is of the event that was taken out, over the whole catalogue, as `recommend` wrote it. "
    "Where a log has times, that event may lie years before the moment that is asked about, and "
    "popularity lately looks worse than it is. "
    "new_items: items whose first event lies after the cascade's split; new_shown: users who are "
    "shown any. same: the share of users whose ten are those of a refit by hand, from all events "
    "of the log with the settings that its search finds and the weights of the saved mixture; "
    "networks as they were saved. served_equals_refit: logs on which that is everybody."
)
Floats = NDArray[np.float64]


def main() -> None:
    """Do what was asked for, and write what was ever done on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="names", choices=SETS, action="append")
    parser.add_argument("--state", choices=("before", "after"), default="after")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    for name in asked.names or SETS:
        path = cache_folder() / "bench" / NAME / f"{name}-{asked.state}"
        if not (path / "row.json").exists():
            shutil.rmtree(path, ignore_errors=True)
            row = measured(name, path, asked.minutes)
            row = {"set": name, "state": asked.state, "minutes": asked.minutes, **row}
            (path / "row.json").write_text(json.dumps(row))
        written(path.parent, asked.results)


def written(root: Path, folder: Path) -> None:
    """Write refit.json from all that is kept."""
    rows = [json.loads(path.read_text()) for path in sorted(root.glob("*/row.json"))]
    figures: dict[str, float] = {}
    for row in rows:
        short = f"{row['set'].replace('-', '_')}_{row['state']}"
        for key in ("ndcg_cascade", "ndcg_item_item", "same", "new_shown"):
            figures[f"{short}_{key}"] = row[key]
    after = [row for row in rows if row["state"] == "after"]
    figures["logs"] = len(after)
    figures["served_equals_refit"] = sum(row["same"] == 1 for row in after)
    digest = content_hash({f"{row['set']}-{row['state']}": row["data"] for row in rows})
    write_result(
        NAME, protocol=PROTOCOL, data=digest, seeds=[0], rows=rows, figures=figures, folder=folder
    )


def measured(name: str, path: Path, minutes: float) -> dict[str, Any]:
    """One log, from the file to the figures."""
    options, hidden = prepared(name, path)
    command(path, "data", "import", "events.csv", "log", *options)
    train = ("--out", "item-item"), ("--out", "cascade", "--minutes", str(minutes))
    item_item = command(path, "train", "item-item", "log", *train[0])
    cascade = command(path, "train", "cascade", "log", *train[1])
    for model in ("item-item", "cascade"):
        command(path, "recommend", model, "--out", f"{model}.parquet")
    gains = {
        model: gain(pl.read_parquet(path / f"{model}.parquet"), hidden)
        for model in ("item-item", "cascade")
    }
    lead = gains["cascade"] - gains["item-item"]
    report = json.loads((path / "cascade" / "report.json").read_text())
    return {
        "data": load_artifact(path / "cascade" / "deployment").data_hash,
        "users": hidden.height,
        "serves": next(note for note in report["notes"] if " serves: NDCG" in note),
        "knows": report["notes"][-1],
        "cpu_item_item": item_item[0],
        "cpu_cascade": cascade[0],
        "wall_cascade": cascade[1],
        "ndcg_item_item": float(gains["item-item"].mean()),
        "ndcg_cascade": float(gains["cascade"].mean()),
        "lead": float(lead.mean()),
        "lead_error": float(lead.std() / np.sqrt(len(lead))),
        **beside_refit(path),
    }


def prepared(name: str, path: Path) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Write the log without the last event of each user, and return these; options of import."""
    data = Path(os.environ["ADWRIGHT_DATA"])
    path.mkdir(parents=True)
    options: tuple[str, ...] = ()
    if name == "movietweetings":
        rows = (data / name / "ratings.dat").read_text().split()
        parts = list(zip(*(row.split("::") for row in rows), strict=True))
        names = ("user_id", "item_id", "rating", "timestamp")
        events = pl.DataFrame(dict(zip(names, map(list, parts), strict=True)))
        events = events.with_columns(pl.col("rating", "timestamp").cast(pl.Int64))
    else:
        files = write_log(name, data, path)  # type: ignore[arg-type]
        events, options = pl.read_csv(files.events), ("--items", files.items.name)
        items = pl.read_csv(files.items, infer_schema=False)
        items.rename({items.columns[0]: "item_id"}).write_csv(files.items)
        events = events.rename(dict(zip(events.columns, ("user_id", "item_id"), strict=False)))
    events = events.sort("timestamp", maintain_order=True).with_row_index("row")
    last = pl.col("row").max().over("user_id")
    taken = (pl.col("row") == last) & (pl.len().over("user_id") >= 3)
    hidden = events.filter(taken).select(pl.col("user_id", "item_id").cast(pl.String))
    events.filter(~taken).drop("row").write_csv(path / "events.csv")
    return options, hidden


def command(path: Path, *arguments: str) -> tuple[float, float]:
    """Run adwright in `path`; (CPU-seconds, seconds)."""
    source = str(Path(adwright.__file__).parents[1])
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with (path / "log.txt").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "adwright", *arguments],
            cwd=path,
            env={**os.environ, "PYTHONPATH": source},
            stdout=log,
            stderr=log,
            check=True,
        )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return round(cpu, 1), round(time.monotonic() - began, 1)


def gain(shown: pl.DataFrame, hidden: pl.DataFrame) -> Floats:
    """NDCG@10 of each hidden event: [users]."""
    found = hidden.join(shown, on=["user_id", "item_id"], how="left", maintain_order="left")
    rank = found["rank"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    return np.where(rank <= K, 1 / np.log2(rank + 1), 0.0)


def beside_refit(path: Path) -> dict[str, float | int]:
    """How many users are shown what a refit by hand shows, and what is new to all."""
    found = open_next_item(path / "log")
    task, repeats = found.task, found.choices.repeats
    rules, _ = fit_log_rules(log_of_task(task), repeats=repeats)
    # All visits train.
    log = log_of_task(replace(task, split=np.zeros_like(task.split)))
    if not np.array_equal(log.train_end, log.offsets[1:]):
        raise ValueError("an event of the log does not train")
    saved = Funnel.load(path / "cascade" / "deployment")
    parts, (item, moment, offsets) = saved.parts, (log.item, log.moment, log.offsets)
    count = np.bincount(item, minlength=log.items + 1)
    config = rules.item_item.config
    table = count_neighbours(item, moment, offsets, log.items, config.neighbours)
    changed: dict[str, Any] = {"count": count}
    item_item, regressed = parts.models.get("item-item"), parts.models.get("linear")
    if isinstance(item_item, ItemItemArtifact):
        model = ItemItem(config, table, count)
        parts = parts.with_models({"item-item": replace(item_item, model=model)})
    if isinstance(regressed, ItemItemArtifact):
        linear = regressed.model.config
        near = linear.neighbours
        counts = count_linear(item, moment, offsets, log.items, near, memory=config.recency)
        solved = regression(counts, near.shrink)
        best = linear_neighbours(counts, solved, near.neighbours, target=near.target)
        fitted = replace(regressed, model=ItemItem(linear, best, counts.count))
        parts = parts.with_models({"linear": fitted})
    if parts.lately is not None and log.time is not None and rules.lately is not None:
        train, _ = log_of_task(task).training
        days = next(
            d
            for d in HALF_LIVES
            if np.array_equal(
                decayed_counts(item[train], log.time[train], log.items, d), rules.lately
            )
        )
        changed["lately"] = decayed_counts(item, log.time, log.items, days)
    replace(saved, parts=replace(parts, **changed)).save(path / "refit", overwrite=True)
    command(path, "recommend", "refit", "--out", "refit.parquet")
    columns = ("user_id", "rank", "item_id")
    shown, ours = (
        pl.read_parquet(path / f"{name}.parquet").select(columns) for name in ("cascade", "refit")
    )
    users = shown["user_id"].n_unique()
    differing = shown.join(ours, on=columns, how="anti")["user_id"].n_unique()
    new = [task.items.ids[code - 1] for code in np.flatnonzero((count > 0) & (task.count == 0))]
    new_shown = shown.filter(pl.col("item_id").is_in(new))["user_id"].n_unique()
    return {"same": 1 - differing / users, "new_items": len(new), "new_shown": new_shown}


if __name__ == "__main__":
    main()
