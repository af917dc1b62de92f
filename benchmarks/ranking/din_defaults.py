"""DIN by its defaults alone where 1 in 2, 1 in 10 and 1 in 60 rows are positive.

    python -m benchmarks.ranking.din_defaults [--tasks movielens lastfm journey] [--workers 2]

Each run is `adwright.train(task)` with nothing said but seed and folder. Finished runs lie in the
cache folder under bench/ and are not run again; the result file is written from whatever is
finished.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.comparison import Comparison
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import train
from benchmarks.common.processes import ROOT, command
from benchmarks.common.result import write_result

SEEDS = (0, 1)
#: What the rows of each task are, and about one in how many is positive.
TASKS = {
    "movielens": "MovieLens 100k: a row is a rating, positive from 4 stars on; a fifth tests",
    "lastfm": "LastFM: each item taken among 9 drawn by popularity and uniformly, last one tests",
    "beauty": "Beauty: each item taken among 9 drawn by popularity and uniformly, last one tests",
    "journey": "Complete Journey, a tenth of the households: products on promoted shelves",
}
#: Without Beauty, which takes as long as the others together.
USUAL = ["movielens", "lastfm", "journey"]
PROTOCOL = (
    "adwright.train(task, base=True) with every setting left to the data: negative rate, epochs, "
    "batch, history and embeddings. Group AUC on the test rows, calibrated on validation "
    "rows; 95% intervals of the paired difference, bootstrap over users; of two seeds the one with "
    "the smaller lead is told, and the larger calibration error. Rules: popularity and frequency "
    "as of the row's time, the logistic model of both, and whatever else the comparison has."
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
        waiting = [(n, s) for s in SEEDS for n in asked.tasks if not _folder(n, s).exists()]
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
    """One training, by defaults."""
    out = _runs() / f"{name}-{seed}"
    train(open_bench_task(name), base=True, seed=seed, out=out, overwrite=True)


def summarise(names: list[str]) -> None:
    """The result file, of the runs that are finished."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    hashes = []
    for name in names:
        seeds = [seed for seed in SEEDS if _folder(name, seed).exists()]
        found = [(seed, Ranker.load(_folder(name, seed))) for seed in seeds]
        if not found:
            continue
        hashes.append(found[0][1].data_hash)
        leads: list[tuple[str, Interval]] = []
        errors, gaucs = [], []
        for seed, ranker in found:
            text = ranker.files["comparison.json"].decode("utf-8")
            comparison = Comparison.from_json(text)
            why = ranker.files["defaults.txt"].decode("utf-8").splitlines()
            for model, report in comparison.reports.items():
                row = {"task": name, "about": TASKS[name], "seed": seed, "model": model}
                row |= {m: report.metrics[m].value for m in ("gauc", "auc", "log_loss", "ece")}
                rows.append(row | ({"defaults": "; ".join(why)} if model == "DIN" else {}))
            leads += [(model, gap["gauc"]) for model, gap in comparison.differences.items()]
            din = comparison.reports["DIN"].metrics
            errors.append(din["ece"].value)
            gaucs.append(din["gauc"].value)
        other, least = min(leads, key=lambda lead: lead[1].value)
        figures[f"{name}_gauc"] = sum(gaucs) / len(gaucs)
        figures[f"{name}_least_lead"] = least.value
        figures[f"{name}_least_lead_ci"] = [least.low, least.high]
        figures[f"{name}_ece"] = max(errors)
        print(f"{name}: the smallest lead is that over {other}")
    write_result(
        "din_defaults",
        protocol=PROTOCOL,
        data=content_hash(hashes),
        seeds=SEEDS,
        rows=rows,
        figures=figures,
    )


def _runs() -> Path:
    return cache_folder() / "bench" / "din_defaults"


def _folder(name: str, seed: int) -> Path:
    return _runs() / f"{name}-{seed}" / "ranker"


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in TASKS:
        run_one(sys.argv[1], int(sys.argv[2]))
    else:
        main()
