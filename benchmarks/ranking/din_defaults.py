"""DIN by its defaults alone where 1 in 2, 1 in 10 and 1 in 60 rows are positive.

    python -m benchmarks.ranking.din_defaults [--tasks movielens lastfm journey] [--workers 2]

Each run is a training with nothing said but seed and folder: what `adwright train din --task TASK`
and `adwright.train(task)` do. Finished runs lie in the cache folder under bench/ and are not run
again; the result file is written from whatever is finished.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.data.schema import as_events
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.data.tasks.own.drawn import drawn_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.data.tasks.response import ResponseConfig, build_response_task
from adwright.data.tasks.task import Task
from adwright.metrics.bootstrap import MethodInterval, two_level_ratio
from adwright.metrics.classification import GroupAuc, group_auc_parts, mass_bins
from adwright.metrics.reports.report import Comparison
from adwright.training.ranking.config import RunConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT, Lead, write_result

SEEDS = (0, 1, 2)
#: What the rows of each task are, and about one in how many is positive.
TASKS = {
    "movielens": "MovieLens 100k: a row is a rating, positive from 4 stars on; a fifth tests",
    "lastfm": "LastFM: each item taken among 9 drawn by popularity and uniformly, last one tests",
    "beauty": "Beauty: each item taken among 9 drawn by popularity and uniformly, last one tests",
    "journey": "Complete Journey, a tenth of the households: products on promoted shelves",
}
#: Without Beauty, which takes as long as the others together.
USUAL = ["movielens", "lastfm", "journey"]
DRAWS = 1_000
#: Of the calibration error.
BINS = 20
#: What is saved, whatever it is called in a run.
SAVED = "saved"
PROTOCOL = (
    "A training with nothing said but seed and folder: DIN and its base model, of which validation"
    " rows say whether the mean of their logits or one alone is saved; negative rate, rates, "
    "epochs, batch, history and embeddings follow from the data. Measured on the test rows, "
    "calibrated on validation rows, whose users count by what their rows say. Leads: group AUC of "
    "what is saved less that of another, seed by seed since both come of one training; 95% "
    "intervals over the seeds that the rows name and the users (of this training, over users "
    "alone, where there is one seed). Calibration error: mean over seeds, and the largest; by "
    "chance: what a model that is right on average would have of as many users, and what 19 of 20 "
    "such stay below. Rules: popularity and frequency as of the row's time, item-item, and the "
    "logistic model of the three, fitted on validation rows. Tried on validation rows of MovieLens "
    "before (group AUC of DIN, seed 0; base model .7235): defaults .7195, embeddings that start at "
    ".05 for .2 .7166, "
    "mini-batch aware decay of 1 .7209, mean of DIN and base model .7263. Probabilities of the "
    "mean by Platt's curve: on test rows the calibration error is .030 where each validation row "
    "counts the same, seed 0, .018 so."
)


def main() -> None:
    """Run what is missing, write benchmarks/results/din_defaults.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=USUAL)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    if not asked.only_summarise:
        for name in asked.tasks:
            open_bench_task(name)
        waiting = [(n, s) for s in SEEDS for n in asked.tasks if not _is_done(n, s)]
        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(_in_a_process, waiting))
    summarise(asked.tasks)


def open_bench_task(name: str) -> Task:
    """A task of TASKS, built on first use."""
    cache = cache_folder() / "tasks"
    match name:
        case "movielens":
            films = MovieLens.open()
            config = LogTaskConfig(item_features=("year", "genres"), shares=(0.7, 0.1))
            log = _liked(films.events())
            return build_log_task(log, films.catalogue(), cache, config, name="movielens-liked")
        case "journey":
            tenth = ResponseConfig(households=0.1)
            return build_response_task(CompleteJourney.open(), cache, tenth)
        case _:
            return drawn_task(open_next_item(Path(os.environ["ADWRIGHT_DATA"]) / name), cache)


def _liked(ratings: pl.LazyFrame) -> pl.LazyFrame:
    """Every rating as an impression, and a click too where it has 4 or 5 stars."""
    shown = ratings.with_columns(kind=pl.lit("impression"))
    clicks = ratings.filter(pl.col("value") >= 4).with_columns(
        event_id="liked-" + pl.col("event_id"), kind=pl.lit("click")
    )
    return as_events(pl.concat([shown, clicks])).sort("time", maintain_order=True)


def _in_a_process(task_and_seed: tuple[str, int]) -> None:
    one = command("benchmarks.ranking.din_defaults", *task_and_seed)
    subprocess.run(one, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, check=True)


def run_one(name: str, seed: int) -> None:
    """One training by defaults; what every model says of the test rows is kept beside it."""
    task, folder = open_bench_task(name), _runs() / f"{name}-{seed}"
    # What was trained of an unfinished run is taken up.
    found = run(RunConfig(seed=seed, out=folder), task=task, overwrite=True, resume=True)
    user = task.rows("test").select("user_id").collect()["user_id"].rle_id().to_numpy()
    kept: dict[str, Any] = {
        "__label": found.label,
        "__user": user,
        SAVED: found.probabilities[found.comparison.subject],
        **found.probabilities,
    }
    np.savez_compressed(folder / "test.npz", **kept)


def summarise(names: list[str]) -> None:
    """The result file, of the runs that are finished."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    hashes = []
    for name in names:
        seeds = [seed for seed in SEEDS if _is_done(name, seed)]
        if not seeds:
            continue
        rankers = [Ranker.load(_folder(name, seed)) for seed in seeds]
        hashes.append(rankers[0].data_hash)
        for seed, ranker in zip(seeds, rankers, strict=True):
            rows += _rows_of(name, seed, ranker)
        some, more = _figures_of(name, [_parts_of(name, seed) for seed in seeds])
        figures |= some
        leads += more
        errors = [row["ece"] for row in rows if row["task"] == name and row["saved"]]
        figures[f"{name}_ece"] = float(np.mean(errors))
        figures[f"{name}_ece_most"] = max(errors)
        chance = [_chance_of(name, seed) for seed in seeds]
        figures[f"{name}_ece_by_chance"] = float(np.mean([mean for mean, _ in chance]))
        figures[f"{name}_ece_by_chance_most"] = float(np.mean([high for _, high in chance]))
    write_result(
        "din_defaults",
        protocol=PROTOCOL,
        data=content_hash(hashes),
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=leads,
    )


def _rows_of(name: str, seed: int, ranker: Ranker) -> list[dict[str, Any]]:
    """A row a model of one run; that of what was saved has its defaults."""
    comparison = Comparison.from_json(ranker.files["comparison.json"].decode("utf-8"))
    why = ranker.files["defaults.txt"].decode("utf-8").splitlines()
    found = []
    for model, report in comparison.reports.items():
        saved = model == comparison.subject
        row = {"task": name, "about": TASKS[name], "seed": seed, "model": model, "saved": saved}
        row |= {m: report.metrics[m].value for m in ("gauc", "auc", "log_loss", "ece")}
        found.append(row | ({"defaults": "; ".join(why)} if saved else {}))
    return found


def _parts_of(name: str, seed: int) -> dict[str, GroupAuc]:
    """Of each model of one run, the parts of its group AUC."""
    with np.load(_runs() / f"{name}-{seed}" / "test.npz", allow_pickle=False) as kept:
        models = [model for model in kept.files if not model.startswith("__")]
        return {m: group_auc_parts(kept["__label"], kept[m], kept["__user"]) for m in models}


def _figures_of(name: str, runs: list[dict[str, GroupAuc]]) -> tuple[dict[str, Any], list[Lead]]:
    """Group AUC of each model, and by how much what is saved is ahead of it."""
    weight = runs[0][SAVED].impressions
    area = {m: np.stack([one[m].auc for one in runs]) for m in runs[0] if _is_in_all(m, runs)}
    figures: dict[str, Any] = {}
    leads: dict[str, MethodInterval] = {}
    for model, found in area.items():
        figures[f"{name}_gauc_{_key(model)}"] = float(np.average(found.mean(0), weights=weight))
        if model != SAVED:
            gap = (area[SAVED] - found) * weight
            leads[model] = two_level_ratio(gap, weight, np.random.default_rng(0), DRAWS)
    rows = [
        Lead(f"{name}_lead_{_key(m)}", "what is saved", m, "group AUC", TASKS[name], lead)
        for m, lead in leads.items()
    ]
    # 0 to 0 is what is saved itself.
    other = min(
        (model for model, lead in leads.items() if lead.low != lead.high),
        key=lambda model: leads[model].value,
    )
    figures[f"{name}_least_lead"] = leads[other].value
    figures[f"{name}_least_lead_ci"] = [leads[other].low, leads[other].high]
    print(f"{name}: the smallest lead is that over {other}")
    return figures, rows


def _key(model: str) -> str:
    return model.lower().replace("+", "_").replace("-", "_")


def chance_error(
    label: np.ndarray[Any, Any],
    probability: np.ndarray[Any, Any],
    user: np.ndarray[Any, Any],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The calibration error that a model which is right on average has by chance alone, on these
    rows [N]: its mean, and what 19 of 20 draws stay below.

    Each user's misses, less the mean miss of their bin, count with a random sign (a wild bootstrap
    of clusters; Cameron, Gelbach and Miller, Review of Economics and Statistics 90, 2008).
    """
    bins = mass_bins(probability, None, BINS)
    _, owner = np.unique(user, return_inverse=True)
    number, misses = np.zeros((2, owner.max() + 1, BINS))
    np.add.at(number, (owner, bins), 1.0)
    np.add.at(misses, (owner, bins), label - probability)
    beside = misses - number * (misses.sum(0) / np.maximum(number.sum(0), 1))
    signs = rng.choice([-1.0, 1.0], (DRAWS, len(beside)))
    drawn = np.abs(signs @ beside).sum(1) / len(label)
    return float(drawn.mean()), float(np.quantile(drawn, 0.95))


def _chance_of(name: str, seed: int) -> tuple[float, float]:
    """`chance_error` of what one run saved."""
    with np.load(_runs() / f"{name}-{seed}" / "test.npz", allow_pickle=False) as kept:
        rng = np.random.default_rng(seed)
        return chance_error(kept["__label"], kept[SAVED], kept["__user"], rng)


def _is_in_all(model: str, runs: list[dict[str, GroupAuc]]) -> bool:
    """Whether every run has the model: the mean is measured where it was saved."""
    return all(model in one for one in runs)


def _is_done(name: str, seed: int) -> bool:
    return (_runs() / f"{name}-{seed}" / "test.npz").exists()


def _runs() -> Path:
    return cache_folder() / "bench" / "din_defaults"


def _folder(name: str, seed: int) -> Path:
    return _runs() / f"{name}-{seed}" / "ranker"


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in TASKS:
        run_one(sys.argv[1], int(sys.argv[2]))
    else:
        main()
