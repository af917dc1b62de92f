"""What `train two-tower` does about a second task, by its own rule, on test (resumable, by seed).

    python -m benchmarks.delivery.second_task                      what is missing, then the result
    python -m benchmarks.delivery.second_task --set beauty --share 10 --seed 0     one alone
    python -m benchmarks.delivery.second_task --only-summarise

`two_tower` measures settings that were looked for at length; here is what a user gets who says
nothing: defaults that follow from the data, weights tried by validation, and the id of items
without a training event by validation too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.tasks.next_basket import NextBasket
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig, UnseenItems
from adwright.training.retrieval.fit import RetrievalConfig, catalogue_vectors, fit_retriever
from adwright.training.retrieval.run import (
    WEIGHTS,
    choose_unseen,
    two_tower_defaults,
    with_second_task,
)
from adwright.training.search import seeded
from benchmarks.common.next_basket import (
    by_seed,
    interval,
    keep,
    means_by_seed,
    method_difference,
    read,
)
from benchmarks.common.result import RESULTS, Lead, write_result
from benchmarks.delivery._two_tower_cells import SCRATCH, by_slice, open_task, with_share

KEPT = RESULTS / "cells" / "second_task"
#: Data, share of the labels in percent, and seeds; all have fewer than ten labels an item.
CASES = {
    ("beauty", 10): 5,
    ("beauty", 30): 3,
    ("lastfm", 10): 5,
    ("lastfm", 30): 3,
    ("journey", 10): 3,
}
PROTOCOL = (
    "Data, shares of the labels, slices and measures as in two_tower.json. none: two towers as "
    "`train two-tower --second-task 0` trains them, by defaults that follow from the data. rule: "
    "as the command does with nothing said: weights .3 and 1 of correlated views at temperature .1 "
    "are tried beside none by recall of validation visits, with each seed, and the best is "
    "trained; it may be none. own, default: of what the rule trained, items without a training "
    "event ranked with the id that the table has for unknown ones, or with the default embedding; "
    "rule has what validation chose. Intervals: 95%, over seeds and people; differences on the "
    "same people."
)
MODELS = {
    "none": "no second task",
    "rule": "what the command does",
    "own": "its items without an event by the unknown id",
    "default": "its items without an event by the default embedding",
}
SLICES = ("all", "head", "tail", "cold")
WAYS: tuple[UnseenItems, ...] = get_args(UnseenItems)
Floats = NDArray[np.float32]


def main() -> None:
    """Run what is missing, write benchmarks/results/second_task.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=sorted({name for name, _ in CASES}))
    parser.add_argument("--share", type=int, choices=sorted({share for _, share in CASES}))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    leads: list[Lead] = []
    hashes = {}
    for (name, share), seeds in CASES.items():
        if asked.set not in (None, name) or asked.share not in (None, share):
            continue
        task = open_task(name)
        if task is None:
            raise SystemExit(f"set ADWRIGHT_DATA: {name} lies there")
        of = with_share(task, share)
        if not asked.only_summarise:
            for seed in range(seeds) if asked.seed is None else [asked.seed]:
                _measured(name, share, of, seed)
        runs = [one for seed in range(seeds) for one in read([_file(name, share, of, seed)])]
        if runs:
            made, some = summary(name, share, of, runs)
            rows, leads = rows + made, leads + some
            hashes[f"{name}-{share}"] = of.data_hash
    if (asked.set, asked.share, asked.seed) == (None, None, None):
        write_result(
            "second_task",
            protocol=PROTOCOL,
            data=content_hash(hashes),
            seeds=list(range(max(row["seeds"] for row in rows))),
            rows=rows,
            figures={},
            leads=leads,
        )


def _measured(name: str, share: int, task: NextBasket, seed: int) -> None:
    """Train without a second task and by the rule, and keep what both find on the test."""
    path = _file(name, share, task, seed)
    if path.exists():
        return
    start = time.process_time()
    defaults, folder = two_tower_defaults(task), SCRATCH / "rule" / f"{name}-{share}-{seed}"
    chosen = {
        "none": with_second_task(task, defaults, folder=folder, seed=seed, weight=0.0),
        "rule": with_second_task(task, defaults, folder=folder, seed=seed),
    }
    found: dict[str, Any] = {}
    for title, towers in chosen.items():
        model = _trained(task, towers.model, replace(towers.fit, seed=seed))
        told = choose_unseen(model, task)
        found |= _values(title, model, task)
        weight = 0.0 if towers.model.views == "none" else towers.model.alpha
        found[f"{title}/weight"] = np.array(weight)
        print(f"{name} {share}% seed {seed} {title}: weight {weight:g}; {told}", flush=True)
        if title == "rule":
            found["chosen"] = np.array(model.config.unseen_items if told else "alike")
            for way in WAYS:
                model.rank_unseen_by(way)
                found |= _values(way, model, task)
    keep(path, found, time.process_time() - start)


def _trained(task: NextBasket, config: TwoTowerConfig, fit: RetrievalConfig) -> TwoTower:
    model = seeded(fit.seed, lambda: TwoTower(config, task.spec, task.items, task.count))
    fit_retriever(model, task, fit)
    return model.eval()


def _values(title: str, model: TwoTower, task: NextBasket) -> dict[str, Floats]:
    """Measures of the test visits, "TITLE/slice/measure" to [V]."""
    found = by_slice(catalogue_vectors(model, task), task)
    return {f"{title}/{key}": v for key, v in found.items() if key.split("/")[0] in SLICES}


def summary(
    name: str, share: int, task: NextBasket, runs: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[Lead]]:
    """A row for each of `MODELS`, and the leads of the rule and of the default embedding."""
    person = task.visit_user[task.visits("test")]
    keys = [key.removeprefix("none/") for key in runs[0] if key.startswith("none/")]
    keys = [key for key in keys if key.split("/")[0] in SLICES and len(runs[0][f"none/{key}"])]
    keys = [key for key in keys if not np.isnan(runs[0][f"none/{key}"]).all()]
    values = {m: by_seed([{k: run[f"{m}/{k}"] for k in keys} for run in runs]) for m in MODELS}
    each = round(float(task.count.sum()) / (len(task.items) - 1), 2)
    about: dict[str, Any] = {"data": name, "share": share, "labels_an_item": each}
    rows = []
    for model, found in values.items():
        row = about | {"model": MODELS[model], "seeds": len(runs)}
        if model in ("none", "rule"):
            row["weights"] = [float(run[f"{model}/weight"]) for run in runs]
        if model == "rule":
            row["unseen_items"] = [str(run["chosen"]) for run in runs]
        row |= {key: [round(x, 5) for x in interval(one, person)] for key, one in found.items()}
        rows.append(row | means_by_seed(found))
    leads = []
    for a, b in (("rule", "none"), ("default", "own")):
        for key in keys:
            lead = method_difference(values[a][key], values[b][key], person)
            title = f"{name}{share}_{key.replace('/', '_')}_{a}_minus_{b}"
            data = f"{name}, {share}% of the labels"
            leads.append(Lead(title, MODELS[a], MODELS[b], key, data, lead))
    return rows, leads


def _file(name: str, share: int, task: NextBasket, seed: int) -> Path:
    """Where a case is kept: other defaults are another run."""
    towers = two_tower_defaults(task)
    about = {"model": to_jsonable(towers.model), "fit": to_jsonable(towers.fit)}
    key = content_hash({**about, "task": task.data_hash, "weights": list(WEIGHTS)})
    return KEPT / f"{name}-{share}-{seed}-{key[:8]}.npz"


if __name__ == "__main__":
    main()
