"""Two-tower retrieval with and without self-supervised views; 40 CPU-minutes, resumable."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket, build_next_item
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig, Views
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.retrieval.ranks import catalogue_vectors
from benchmarks.common.next_basket import (
    by_seed,
    frequency,
    keep,
    measure,
    method_difference,
    popularity,
    read,
    table,
)
from benchmarks.common.result import RESULTS, Lead, write_result

PROTOCOL = (
    "Next basket of Complete Journey: every basket of the test weeks 49-53 is a query with the "
    "whole history before it; every one of the 68,509 sold items is a candidate; weeks 1-44 "
    "train, settings were chosen on weeks 45-48. Beauty with attributes: the last item of a "
    "person tests, 12,101 candidates. Slices: all; tail, targets with fewer than 20 training "
    "events; cold, targets without any; unseen, only items the person never had are ranked and "
    "count. Values are means over queries that have a target in the slice, and seeds; 95% "
    "intervals over seeds and people; differences on the same people. Ties: by popularity, then "
    "item. All variants share sizes, batches, steps and seeds; only the second task differs."
)
VARIANTS: dict[str, Views] = {
    "none": "none",
    "cfm": "correlated",
    "rfm": "random",
    "so": "spread_out",
    "fd": "feature_dropout",
}
RULES = {"popularity": popularity, "frequency": frequency}
NAMES = {
    "popularity": "popularity",
    "frequency": "personal frequency",
    "none": "two-tower, no second task",
    "fd": "feature dropout (FD)",
    "so": "spread-out (SO)",
    "rfm": "random masking (RFM)",
    "cfm": "correlated masking (CFM)",
}
MODEL = {
    "journey": TwoTowerConfig(),
    "beauty": TwoTowerConfig(view_temperature=0.1, view_items=1024),
}
FIT = {
    "journey": RetrievalConfig(epochs=2, batch=256, validation_visits=0),
    "beauty": RetrievalConfig(epochs=6, batch=256, max_history=50, validation_visits=0),
}
SCRATCH = cache_folder() / "bench" / "two_tower"


def main() -> None:
    """Run what is missing, write benchmarks/results/two_tower.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, help="run this seed alone, and write no result")
    parser.add_argument("--only", choices=["journey", "beauty"])
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument(
        "--rules", action="store_true", help="measure the rules alone, beside the result's models"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.rules:
        _rules_beside_models()
        return
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    hashes = {}
    for name in ("journey", "beauty"):
        if asked.only not in (None, name):
            continue
        task = _task(name)
        if task is None:
            continue
        hashes[name] = task.data_hash
        if asked.seed is not None:
            _train_all(name, task, [asked.seed])
            continue
        runs = _runs(name, task, asked.seeds, run=not asked.only_summarise)
        found, more, some = _summary(name, task, runs)
        rows += found
        figures |= more
        leads += some
    if asked.only is None and asked.seed is None:
        write_result(
            "two_tower",
            protocol=PROTOCOL,
            data=content_hash(hashes),
            seeds=list(range(asked.seeds)),
            rows=rows,
            figures=figures,
            leads=leads,
        )


def _task(name: str) -> NextBasket | None:
    if name == "journey":
        return build_next_basket(CompleteJourney.open())
    shared = os.environ.get("ADWRIGHT_DATA")
    return build_next_item(Path(shared) / "beauty") if shared else None


def _runs(name: str, task: NextBasket, seeds: int, *, run: bool) -> dict[str, list[Any]]:
    """Measures of each run: variant to one mapping per seed. Finished runs are read back."""
    visits = task.visits("test")
    found: dict[str, list[Any]] = {}
    for rule, score in RULES.items():
        path = SCRATCH / f"{name}-{rule}-{task.data_hash[:8]}.npz"
        if not path.exists() and run:
            keep(path, measure(score(task), task, visits).values, 0.0)
        found[rule] = read([path])
    if run:
        _train_all(name, task, range(seeds))
    for variant in VARIANTS:
        found[variant] = read([_path(name, task, variant, seed) for seed in range(seeds)])
    return found


def _rules_beside_models() -> None:
    """Measure popularity and personal frequency, and put them beside the models of the result
    file, which has to be of the same data."""
    earlier = json.loads((RESULTS / "two_tower.json").read_text("utf-8"))
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    hashes = {}
    for name in ("journey", "beauty"):
        task = _task(name)
        if task is None:
            raise SystemExit("set ADWRIGHT_DATA: the result is of Beauty too")
        hashes[name] = task.data_hash
        runs = _runs(name, task, 0, run=True)
        found, more, _ = _summary(name, task, {rule: runs[rule] for rule in RULES})
        names = [NAMES[rule] for rule in RULES]
        models = [r for r in earlier["rows"] if r["data"] == name and r["model"] not in names]
        rows += found + models
        figures |= more
    if content_hash(hashes) != earlier["data"]:
        raise SystemExit("the result is of other data: run the whole benchmark")
    write_result(
        "two_tower",
        protocol=PROTOCOL,
        data=earlier["data"],
        seeds=earlier["seeds"],
        rows=rows,
        figures=earlier["figures"] | figures,
        leads=[Lead.of(row) for row in earlier.get("leads", ())],
    )


def _train_all(name: str, task: NextBasket, seeds: Iterable[int]) -> None:
    for seed in seeds:
        for variant in VARIANTS:
            path = _path(name, task, variant, seed)
            if not path.exists():
                _train(name, task, variant, seed, path)


def _settings(name: str, variant: str, seed: int) -> tuple[TwoTowerConfig, RetrievalConfig]:
    return replace(MODEL[name], views=VARIANTS[variant]), replace(FIT[name], seed=seed)


def _path(name: str, task: NextBasket, variant: str, seed: int) -> Path:
    model, fit = _settings(name, variant, seed)
    key = content_hash({"m": to_jsonable(model), "f": to_jsonable(fit), "d": task.data_hash})
    return SCRATCH / f"{name}-{variant}-{seed}-{key[:12]}.npz"


def _train(name: str, task: NextBasket, variant: str, seed: int, path: Path) -> None:
    config, fit = _settings(name, variant, seed)
    torch.manual_seed(seed)
    model = TwoTower(config, task.spec, task.items, task.count)
    start = time.process_time()
    fit_retriever(model, task, fit)
    seconds = time.process_time() - start
    values = measure(catalogue_vectors(model, task), task, task.visits("test")).values
    keep(path, values, seconds)
    means = {key: round(float(np.nanmean(value)), 4) for key, value in values.items()}
    print(name, variant, seed, f"{seconds:.0f} CPU-s", means, flush=True)


def _summary(
    name: str, task: NextBasket, runs: dict[str, list[Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
    person = task.visit_user[task.visits("test")]
    values = {variant: by_seed(found) for variant, found in runs.items() if found}
    seconds = {variant: float(found.pop("seconds").mean()) for variant, found in values.items()}
    for rule in RULES:  # no seed
        if rule in values:
            values[rule] = {key: one[0] for key, one in values[rule].items()}
    rows = table(values, person)
    for row in rows:
        row |= {
            "data": name,
            "model": NAMES.get(row["model"], row["model"]),
            "train_cpu_seconds": round(seconds[row["model"]], 1),
            "seeds": len(runs[row["model"]]),
        }
    prefix = "" if name == "journey" else "beauty_"
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for key, slice_ in (("recall50", "all"), ("tail_recall50", "tail"), ("cold_recall50", "cold")):
        for variant in ("cfm", "rfm", "so", "fd"):
            if variant in values and "none" in values:
                a, b = (values[one][f"{slice_}/recall50"] for one in (variant, "none"))
                about = (NAMES[variant], NAMES["none"], f"recall@50, {slice_}", name)
                lead = method_difference(a, b, person)
                leads.append(Lead(f"{prefix}{key}_{variant}_minus_none", *about, lead))
    for variant, found in values.items():
        figures[f"{prefix}recall50_{variant}"] = float(np.nanmean(found["all/recall50"]))
        figures[f"{prefix}tail_recall50_{variant}"] = float(np.nanmean(found["tail/recall50"]))
    return rows, figures, leads


if __name__ == "__main__":
    main()
