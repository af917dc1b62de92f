"""Mini-batch aware regularisation over one to three epochs (20 trainings, an hour of CPU).

    python -m benchmarks.ranking.mba                     what is missing, then the result
    python -m benchmarks.ranking.mba --only 0.1 3        one training: lambda and seed
    python -m benchmarks.ranking.mba --plan              what is missing
    python -m benchmarks.ranking.mba --only-summarise    the result of what is finished

Lambda is swept on validation with two seeds; the best one after two epochs and none are trained
with five. What a training measured after an epoch lies in the cache folder under bench/mba by
lambda, seed and epoch; a training that was killed goes on from its last 200 batches.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adwright.core.assets import cache_folder
from adwright.data.tasks.task import Task
from adwright.metrics.bootstrap import two_level_difference, two_level_ratio
from adwright.metrics.classification import group_auc_parts, log_loss
from adwright.models.calibration import undo_negative_sampling
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.loop.trainee import Callback, ValidationDone
from adwright.training.ranking.fit import FitConfig, fit, predict
from benchmarks.common.next_basket import keep
from benchmarks.common.result import Lead, write_result
from benchmarks.ranking import _runs as runs

EPOCHS = 3
#: 0: no regulariser. An epoch shrinks a row by .05 lambda at most, .05 being the tables' rate.
LAMBDAS = (0.0, 0.001, 0.01, 0.1, 1.0, 10.0)
SWEEP_SEEDS, SEEDS = (0, 1), (0, 1, 2, 3, 4)
#: CPU-seconds of a training on a third of the households, with its three scorings.
COST = 170
FIT = replace(runs.FIT, epochs=EPOCHS, patience=EPOCHS)
PROTOCOL = (
    "Response task of Complete Journey, {share:.0%} of the households; DIN by its defaults with "
    "all responses and 5% of the negatives, as in din.json, three epochs at constant rates, "
    "measured after each. Mini-batch aware decay with n_j as in the paper's equations 4 to 6: the "
    "training rows in which a value is the target's or one of the visible history's. Lambda was "
    "chosen by group AUC of weeks 45-48 after the second epoch, mean of two seeds; it and none "
    "were then trained with the seeds named. Group AUC and log loss: every impression of weeks "
    "49-53, sampling undone, nothing calibrated. Leads: two-level 95% intervals, over seeds and "
    "households; of an epoch over the one before, paired by training."
)
Values = dict[str, Any]
Array = np.ndarray[Any, Any]


def path_of(share: float, decay: float, seed: int, epoch: int) -> Path:
    """What was measured after an epoch."""
    name = f"{share:g}-lambda{decay:g}-seed{seed}"
    return cache_folder() / "bench" / "mba" / name / f"epoch{epoch}.npz"


def is_done(share: float, decay: float, seed: int) -> bool:
    """Whether the training is finished."""
    return all(path_of(share, decay, seed, e + 1).exists() for e in range(EPOCHS))


class _Measures(Callback):
    """Scores the test rows after each epoch, with the weights of that moment."""

    def __init__(self, model: DIN, task: Task, path: Callable[[int], Path]) -> None:
        self.model, self.task, self.path = model, task, path
        self.since = time.process_time()

    def on_validation(self, found: ValidationDone) -> None:
        """Keep what is measured; a killed training that comes here again writes the same."""
        seconds = time.process_time() - self.since
        test = predict(self.model, self.task, "test")
        p = undo_negative_sampling(test.probability, runs.RATE)
        parts = group_auc_parts(test.label, p, test.user)
        values = {
            "auc": parts.auc,
            "impressions": parts.impressions,
            "gauc": np.array(parts.mean),
            "log_loss": np.array(log_loss(test.label, p)),
            "valid_gauc": np.array(found.value),
        }
        keep(self.path(found.epoch), values, seconds)
        self.since = time.process_time()


def trained(share: float, decay: float, seed: int) -> None:
    """Train, or go on, until all epochs are measured."""
    if is_done(share, decay, seed):
        return
    task = runs.response_task(share)
    torch.manual_seed(seed)
    model = DIN(DINConfig(), task.spec, task.item_table)
    run = path_of(share, decay, seed, 1).with_name("run")
    config = asked(decay, seed)
    measures = _Measures(model, task, lambda epoch: path_of(share, decay, seed, epoch))
    resume = (run / "config.json").exists()
    fit(model, task, config, run, resume=resume, callbacks=[measures])
    shutil.rmtree(run)
    for epoch in range(EPOCHS):
        found = read(share, decay, seed, epoch + 1)
        print(f"lambda {decay:g}, seed {seed}, epoch {epoch + 1}:", _plain(found), flush=True)


def asked(decay: float, seed: int) -> FitConfig:
    """The settings of a training."""
    return replace(FIT, decay=decay, decay_counts="rows", seed=seed)


def read(share: float, decay: float, seed: int, epoch: int) -> Values:
    """What was measured after an epoch."""
    with np.load(path_of(share, decay, seed, epoch), allow_pickle=False) as kept:
        return dict(kept)


def chosen(share: float) -> float | None:
    """The best lambda by validation after two epochs; None before the sweep is done."""
    swept = [one for one in LAMBDAS if one]
    if not all(is_done(share, decay, seed) for decay in swept for seed in SWEEP_SEEDS):
        return None

    def goal(decay: float) -> float:
        found = [read(share, decay, seed, 2)["valid_gauc"] for seed in SWEEP_SEEDS]
        return float(np.mean(found))

    return max(swept, key=goal)


def missing(share: float) -> list[tuple[float, int]]:
    """(lambda, seed) of the trainings that are yet to be made, as far as is known."""
    best = chosen(share)
    wanted = [(decay, seed) for seed in SWEEP_SEEDS for decay in LAMBDAS]
    wanted += [(decay, seed) for seed in SEEDS for decay in (0.0, best) if decay is not None]
    return [one for one in dict.fromkeys(wanted) if not is_done(share, *one)]


def rows_of(share: float) -> list[Values]:
    """A row a finished training and epoch."""
    return [
        {"lambda": decay, "seed": seed, "epoch": epoch, **_plain(read(share, decay, seed, epoch))}
        for decay in LAMBDAS
        for seed in SEEDS
        if is_done(share, decay, seed)
        for epoch in range(1, EPOCHS + 1)
    ]


def figures_of(share: float) -> tuple[Values, list[Lead]]:
    """Levels of none and of the chosen lambda by epoch; leads over none, and over the epoch before.
    Nothing before the sweep is done."""
    best = chosen(share)
    tops, impressions = _tops(share, best)
    if best is None or not {("none", 1), ("mba", 1)} <= tops.keys():
        return {}, []
    rng = np.random.default_rng(0)
    figures: Values = {"mba_lambda": best}
    leads = []
    for (name, epoch), top in tops.items():
        level = two_level_ratio(top, impressions, rng)
        key = f"mba_gauc_epoch{epoch}_{name}"
        figures |= {key: level.value, f"{key}_ci": [level.low, level.high]}
        if epoch > 1:
            gap = two_level_difference(top, tops[name, epoch - 1], impressions, rng, paired=True)
            ends = (f"{name}, epoch {epoch}", f"{name}, epoch {epoch - 1}")
            key = f"mba_gauc_{name}_epoch{epoch}_minus_epoch{epoch - 1}"
            leads.append(Lead(key, *ends, "group AUC", "response task", gap))
        if name == "mba":
            gap = two_level_difference(top, tops["none", epoch], impressions, rng)
            ends = (f"mba, epoch {epoch}", f"none, epoch {epoch}")
            key = f"mba_gauc_epoch{epoch}_minus_none"
            leads.append(Lead(key, *ends, "group AUC", "response task", gap))
    return figures, leads


def _tops(share: float, best: float | None) -> tuple[dict[tuple[str, int], Array], Array]:
    """Impressions times AUC [S, U] by name and epoch, and impressions [U]."""
    tops: dict[tuple[str, int], Array] = {}
    impressions: Array = np.zeros(0)
    for name, decay in (("none", 0.0), ("mba", best)):
        seeds = [s for s in SEEDS if decay is not None and is_done(share, decay, s)]
        for epoch in range(1, EPOCHS + 1) if seeds else ():
            found = [read(share, decay or 0.0, seed, epoch) for seed in seeds]
            impressions = found[0]["impressions"]
            tops[name, epoch] = np.stack([one["auc"] * impressions for one in found])
    return tops, impressions


def _plain(found: Values) -> Values:
    return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


def _told(left: Iterable[tuple[float, int]], share: float) -> None:
    left = list(left)
    for decay, seed in left:
        print(f"missing: lambda {decay:g}, seed {seed}")
    minutes = len(left) * COST * share / runs.THIRD / 60
    print(f"{len(left)} trainings, some {minutes:.0f} minutes of CPU")


def main() -> None:
    """Train what is missing, write benchmarks/results/mba.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--households", type=float, default=runs.THIRD)
    parser.add_argument("--only", nargs=2, metavar=("LAMBDA", "SEED"))
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--only-summarise", action="store_true")
    options = parser.parse_args()
    share = options.households
    torch.set_num_threads(1)
    if options.plan:
        _told(missing(share), share)
        return
    if options.only:
        trained(share, float(options.only[0]), int(options.only[1]))
        return
    # Once the sweep is done, lambda is known, and more is missing.
    while not options.only_summarise and (left := missing(share)):
        trained(share, *left[0])
    figures, leads = figures_of(share)
    write_result(
        "mba",
        protocol=PROTOCOL.format(share=share),
        data=runs.response_task(share).data_hash,
        seeds=SEEDS,
        rows=rows_of(share),
        figures=figures,
        leads=leads,
    )


if __name__ == "__main__":
    main()
