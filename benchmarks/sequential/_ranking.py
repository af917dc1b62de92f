"""HSTU as a fine ranker on the response task, beside DIN, and what stochastic length costs it.

    python -m benchmarks.sequential._ranking NAME SHARE SEED   one run, into the cache folder
    python -m benchmarks.sequential._ranking                   rows and figures of the finished runs

Each run trains on weeks 1-44 with 5% of the negatives, one epoch, validates on weeks 45-48 and
scores every impression of weeks 49-53. A run that was cut off goes on where it stood.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.data.tasks.split import Split
from adwright.metrics.bootstrap import (
    MethodInterval,
    bootstrap_sums,
    two_level_difference,
    with_seeds,
)
from adwright.metrics.classification import expected_calibration_error, group_auc_parts
from adwright.models.calibration import fit_calibrator, undo_negative_sampling
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.hstu_target import HSTUTargetConfig
from adwright.models.ranking.union import RankerConfig, ranker_model
from adwright.training.ranking.fit import FitConfig, fit, predict
from benchmarks.common.next_basket import keep
from benchmarks.common.result import Lead
from benchmarks.ranking._runs import FIT, RATE, THIRD, response_task

Array = np.ndarray[Any, Any]

SCRATCH = cache_folder() / "bench" / "hstu_ranking"
#: Draws of the bootstrap over households.
DRAWS = 2000
#: Households of the runs that hstu_quality.py makes.
SHARE = 1.0
PROTOCOL = (
    "Ranking: the response task of Complete Journey, trained on weeks 1-44 with all responses and "
    "5% of the negatives (redrawn each epoch), one epoch, measured on every impression of weeks "
    "49-53 with the sampling undone and nothing calibrated unless a key says so; whole histories "
    "(up to 4,193 events) for everybody but in training with stochastic length (alpha 1.6, N "
    "4,200, by age). Learning rate and dropout of HSTU were chosen on the validation weeks of a "
    "third of the households, seed 0; DIN as in its own benchmark. GAUC: impression-weighted over "
    "households with both classes. Normalised entropy: log loss over the entropy of the test "
    "rows' response rate. Intervals: 95%, over seeds and households; differences on the same "
    "households."
)


@dataclass(frozen=True)
class Variant:
    """What is trained, and how."""

    model: RankerConfig
    fit: FitConfig


ABOUT = {"din": "DIN", "hstu": "HSTU", "hstu_sl16": "HSTU, stochastic length 1.6"}
_HSTU_FIT = replace(FIT, learning_rate=0.003, checkpoint_every=50)
VARIANTS = {
    "din": Variant(DINConfig(), FIT),
    "hstu": Variant(HSTUTargetConfig(), _HSTU_FIT),
    "hstu_sl16": Variant(HSTUTargetConfig(stochastic_length=StochasticLength(1.6)), _HSTU_FIT),
}


def trained(name: str, households: float, seed: int) -> Path:
    """The probabilities of a run, which is made or taken up where it is missing."""
    path = _path(name, households, seed)
    if path.exists():
        return path
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    variant, task = VARIANTS[name], response_task(households)
    model = ranker_model(variant.model, task.spec, task.item_table)
    run = path.with_suffix("")
    resume, start = (run / "config.json").exists(), time.process_time()
    before = _spent(run)

    def note(batch: int) -> None:
        if batch % 25 == 0:
            spent = before + time.process_time() - start
            (run / "cpu_seconds.txt").write_text(f"{spent}\n", "utf-8")

    found = fit(model, task, replace(variant.fit, seed=seed), run, resume=resume, on_step=note)
    seconds = before + time.process_time() - start
    valid = found.valid or predict(model, task, "valid")
    start = time.process_time()
    test = predict(model, task, "test")
    values = {
        "valid": valid.probability.astype(np.float32),
        "test": test.probability.astype(np.float32),
        "valid_gauc": np.array(found.gauc),
        "scored_rows_per_cpu_second": np.array(len(test.label) / (time.process_time() - start)),
    }
    keep(path, values, seconds)
    print(name, households, seed, found.gauc, f"{seconds:.0f} CPU-s", flush=True)
    return path


def task_hash() -> str:
    """Of the data."""
    return response_task(SHARE).data_hash


def _path(name: str, households: float, seed: int) -> Path:
    variant = VARIANTS[name]
    about = {"m": to_jsonable(variant.model), "f": to_jsonable(variant.fit), "h": households}
    return SCRATCH / f"{name}-{households:g}-{seed}-{content_hash(about)[:12]}.npz"


def _spent(run: Path) -> float:
    """CPU-seconds of the earlier pieces of a run."""
    file = run / "cpu_seconds.txt"
    return float(file.read_text("utf-8")) if file.exists() else 0.0


class _Measured:
    """The finished seeds of one variant on the test rows, summed by household [S, U]."""

    def __init__(self, name: str, households: float, test: Mapping[str, Array]) -> None:
        self.name, self.rows, self.seeds = name, [], []
        valid = _columns(households, "valid")
        hits, losses, calibrated = [], [], []
        for seed in range(10):
            if not (path := _path(name, households, seed)).exists():
                continue
            with np.load(path, allow_pickle=False) as stored:
                run = dict(stored)
            p = undo_negative_sampling(run["test"].astype(np.float64), RATE)
            q = undo_negative_sampling(run["valid"].astype(np.float64), RATE)
            platt = fit_calibrator("platt", valid["label"], q)
            parts = group_auc_parts(test["label"], p, test["user"])
            hits.append(parts.impressions * parts.auc)
            self.impressions = parts.impressions
            losses.append(_losses(test, p))
            calibrated.append(_losses(test, platt(p)))
            self.seeds.append(seed)
            self.rows.append(
                {
                    "data": "response",
                    "model": ABOUT[name],
                    "households": households,
                    "seed": seed,
                    "valid_gauc": float(run["valid_gauc"]),
                    "gauc": parts.mean,
                    "log_loss": float(losses[-1].sum() / len(p)),
                    "log_loss_calibrated": float(calibrated[-1].sum() / len(p)),
                    "ece_calibrated": expected_calibration_error(test["label"], platt(p)),
                    "train_and_validate_cpu_seconds": float(run["seconds"]),
                    "score_rows_per_cpu_second": float(run["scored_rows_per_cpu_second"]),
                }
            )
        if self.rows:
            self.hits, self.losses = np.stack(hits), np.stack(losses)
            self.calibrated = np.stack(calibrated)


def rows_and_figures() -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
    """Table, figures and leads of what is finished; `cj_ne_loss_sl16_percent` among the figures.

    Keys begin with cj_rank_ for all households, with cj_rank_third_ for a third of them;
    without a run of all of them, the cost of stochastic length is that of the third.
    """
    table: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for prefix, households in (("cj_rank_third", THIRD), ("cj_rank", 1.0)):
        if not any(_path(name, households, s).exists() for name in VARIANTS for s in range(10)):
            continue
        test = _columns(households, "test")
        measured = [_Measured(name, households, test) for name in VARIANTS]
        found = {one.name: one for one in measured if one.rows}
        table += [row for one in found.values() for row in one.rows]
        figures |= _figures(prefix, found, test)
        leads += _leads(prefix, found, figures)
    return table, figures, leads


def _figures(
    prefix: str, found: Mapping[str, _Measured], test: Mapping[str, Array]
) -> dict[str, Any]:
    """Figures of one share of the households."""
    figures: dict[str, Any] = {}
    number = int(test["user"].max()) + 1
    shown = np.bincount(test["user"], minlength=number).astype(np.float64)
    taken = np.bincount(test["user"], test["label"], minlength=number)
    for name, one in found.items():
        for key, by_seed, below, statistic in (
            ("gauc", one.hits, [one.impressions], _ratio),
            ("log_loss", one.losses, [shown], _ratio),
            ("ne", one.losses, [shown, taken], _normalised),
            ("log_loss_calibrated", one.calibrated, [shown], _ratio),
            ("ne_calibrated", one.calibrated, [shown, taken], _normalised),
        ):
            where = f"{prefix}_{key.replace('_calibrated', '')}_{name}"
            where += "_calibrated" if key.endswith("_calibrated") else ""
            interval = _interval(by_seed, below, statistic)
            figures[where] = interval.value
            figures[f"{where}_ci"] = [interval.low, interval.high]
    return figures


def _interval(
    by_seed: Array, below: list[Array], statistic: Callable[[Array], Array]
) -> MethodInterval:
    """Of a statistic of sums over households that is linear in the first one, [S, U] by seed."""
    people = bootstrap_sums(
        np.stack([by_seed.mean(0), *below], 1), statistic, np.random.default_rng(0), draws=DRAWS
    )
    totals = [np.array([[one.sum(), *(b.sum() for b in below)]]) for one in by_seed]
    return with_seeds(people, [float(statistic(total)[0]) for total in totals])


def _leads(prefix: str, found: Mapping[str, _Measured], figures: dict[str, Any]) -> list[Lead]:
    """Of HSTU over DIN, and of HSTU with stochastic length over HSTU; the change of entropy in
    percent is a figure of the contract too."""
    leads = []
    for name, other in (("hstu", "din"), ("hstu_sl16", "hstu")):
        if name not in found or other not in found:
            continue
        a, b = found[name], found[other]
        rng = np.random.default_rng(0)
        gap = two_level_difference(a.hits, b.hits, a.impressions, rng, DRAWS)
        about = (ABOUT[name], ABOUT[other])
        data = "response task" if prefix == "cj_rank" else "response task, a third"
        key = f"{prefix}_gauc_{name}_minus_{other}"
        leads.append(Lead(key, *about, "group AUC", data, gap))
        for suffix, mine, theirs in (
            ("", a.losses, b.losses),
            ("_calibrated", a.calibrated, b.calibrated),
        ):
            change = _change(mine, theirs)
            key = f"{prefix}_ne_change_{name}_{other}{suffix}_percent"
            measure = "normalised entropy, change in percent"
            leads.append(Lead(key, *about, measure, data, change, lower=True))
            if name == "hstu_sl16":
                figures[f"cj_ne_loss_sl16{suffix}_percent"] = change.value
                figures[f"cj_ne_loss_sl16{suffix}_percent_ci"] = [change.low, change.high]
    return leads


def _change(mine: Array, theirs: Array) -> MethodInterval:
    """By how many percent the loss changes: both have the entropy of the same rows below."""
    people = bootstrap_sums(
        np.stack([mine.mean(0), theirs.mean(0)], 1),
        lambda totals: 100 * (_ratio(totals) - 1),
        np.random.default_rng(0),
        draws=DRAWS,
    )
    # To first order a seed moves the change by what it moves its own side, times the slope.
    a, b = mine.sum(1), theirs.sum(1)
    return with_seeds(people, 100 * a / b.mean(), 100 * b * a.mean() / b.mean() ** 2)


def _ratio(totals: Array) -> Array:
    return totals[:, 0] / totals[:, 1]


def _normalised(totals: Array) -> Array:
    """Log loss over the entropy of the rate."""
    loss, rate = totals[:, 0] / totals[:, 1], totals[:, 2] / totals[:, 1]
    return loss / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))


def _losses(test: Mapping[str, Array], p: Array) -> Array:
    """Summed log loss of each household [U]."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    each = -np.where(test["label"] == 1, np.log(p), np.log1p(-p))
    return np.bincount(test["user"], each)


def _columns(households: float, split: Split) -> dict[str, Array]:
    frame = response_task(households).rows(split).select("user_id", "label").collect()
    return {
        "user": frame["user_id"].rle_id().to_numpy().astype(np.int64),
        "label": frame["label"].to_numpy(),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trained(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(rows_and_figures()[:2], indent=1))
