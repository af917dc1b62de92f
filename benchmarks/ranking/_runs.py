"""The response task's training runs behind benchmarks/ranking/din.py, each a resumable process.

    python -m benchmarks.ranking._runs VARIANT SEED     one run, into the cache folder

Each run trains on weeks 1-44 with 5% of the negatives, validates on weeks 45-48 and scores
every impression of weeks 49-53, with histories of natural length. What it found is kept beside the
results (`_kept`); checkpoints lie in the cache folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.batches.stream import StreamConfig
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.response import ResponseConfig, build_response_task
from adwright.data.tasks.task import Task
from adwright.metrics.classification import (
    auc,
    expected_calibration_error,
    group_auc_parts,
    log_loss,
)
from adwright.models.calibration import EmbeddingConfig, fit_calibrator, undo_negative_sampling
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.ranking.fit import FitConfig, fit, predict
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT
from benchmarks.ranking._kept import Kept, keep_run, kept_place, read_run

SEEDS = (0, 1, 2, 3, 4)
#: Variants that are calibrated, on the validation weeks.
CALIBRATED = ("base", "din")
RATE = 0.05
STREAM = StreamConfig(groups_per_batch=16, rows_per_group=64, window=8, negative_rate=RATE)
FIT = FitConfig(epochs=1, learning_rate=0.006, stream=STREAM)


@dataclass(frozen=True)
class Variant:
    """One row of the table, on a share of the households."""

    about: str
    model: DINConfig
    fit: FitConfig = FIT
    households: float = 1.0


#: The choices inside DIN are compared on a third of the households, for time.
THIRD = 0.33
TWICE = replace(FIT, epochs=2)
VARIANTS = {
    # The base model does best with smaller steps and smaller initial embeddings (chosen on the
    # validation weeks among learning rates .001, .002, .006 and scales .05, .2).
    "base": Variant(
        "Embedding&MLP",
        DINConfig(interest="sum", embedding=EmbeddingConfig(scale=0.05)),
        replace(FIT, learning_rate=0.002),
    ),
    "din": Variant("DIN: raw weights, PReLU unit, Dice MLP, no MBA", DINConfig()),
    "third_din": Variant("as din", DINConfig(), FIT, THIRD),
    "third_dice": Variant(
        "Dice in the unit too", DINConfig(attention_activation="dice"), FIT, THIRD
    ),
    "third_no_dice": Variant("Dice nowhere", DINConfig(activation="prelu"), FIT, THIRD),
    "third_softmax": Variant("softmax weights", DINConfig(weight="softmax"), FIT, THIRD),
    # By events, as these runs were counted; benchmarks/ranking/mba.py sweeps the paper's count.
    "third_mba": Variant(
        "MBA by events, lambda 1",
        DINConfig(),
        replace(FIT, decay=1.0, decay_counts="events"),
        THIRD,
    ),
    "third_random_start": Variant(
        "unit starts at random", DINConfig(similarity_start=False), FIT, THIRD
    ),
    "third_two_epochs": Variant("two epochs", DINConfig(), TWICE, THIRD),
    "third_two_epochs_mba": Variant(
        "two epochs, MBA by events, lambda 1",
        DINConfig(),
        replace(TWICE, decay=1.0, decay_counts="events"),
        THIRD,
    ),
}


def runs_folder() -> Path:
    """Where the runs lie; removing it starts them anew."""
    return cache_folder() / "bench" / "din"


def response_task(households: float = 1.0) -> Task:
    """The response task of a share of the households, built on first use."""
    config = ResponseConfig(households=households)
    return build_response_task(CompleteJourney.open(), cache_folder() / "tasks", config)


def run_all(
    workers: int, variants: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> None:
    """Every run that is not there yet, `workers` at a time, one thread each.

    variants, seeds: only these. A run that was cut off goes on from its last checkpoint.
    """
    names = variants or list(VARIANTS)
    for households in {VARIANTS[name].households for name in names}:
        response_task(households)
    waiting = [(name, seed) for seed in seeds or SEEDS for name in names]
    waiting = [run for run in waiting if not _result(*run).exists()]
    active: list[tuple[subprocess.Popen[bytes], tuple[str, int]]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    while waiting or active:
        while waiting and len(active) < workers:
            name, seed = waiting.pop(0)
            one = command("benchmarks.ranking._runs", name, seed)
            process = subprocess.Popen(one, env=environment, cwd=ROOT)
            active.append((process, (name, seed)))
        for process, run in list(active):
            if process.poll() is not None:
                active.remove((process, run))
                if process.returncode:
                    raise RuntimeError(f"the run {run} ended with {process.returncode}")
        time.sleep(0.5)


def load(name: str, seed: int) -> Kept | None:
    """What a run found; None where it is not finished."""
    return read_run(_result(name, seed))


def _result(name: str, seed: int) -> Path:
    """Where it is kept: other settings are another run."""
    variant = VARIANTS[name]
    about = {"m": to_jsonable(variant.model), "f": to_jsonable(replace(variant.fit, seed=seed))}
    key = content_hash({**about, "households": variant.households, "rate": RATE})
    return kept_place("din", f"{name}-{seed}-{key[:8]}")


def run_one(name: str, seed: int) -> None:
    """Train and score; what was computed is written at the end, result.json last."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    variant = VARIANTS[name]
    task = response_task(variant.households)
    model = DIN(variant.model, task.spec, task.item_table)
    folder = runs_folder() / _result(name, seed).stem
    started = time.process_time()
    config = replace(variant.fit, seed=seed)
    resumed = (folder / "run").exists()
    found = fit(model, task, config, folder / "run", resume=resumed)
    trained = time.process_time()
    test = predict(model, task, "test")
    scored = time.process_time()
    p = undo_negative_sampling(test.probability, RATE)
    user = task.rows("test").select("user_id").collect()["user_id"].rle_id().to_numpy()
    parts = group_auc_parts(test.label, p, user)
    record = {
        "variant": name,
        "seed": seed,
        "valid_gauc": found.gauc,
        # The seconds are then of the last piece alone.
        "resumed": resumed,
        "train_and_validate_cpu_seconds": trained - started,
        "score_rows_per_cpu_second": len(test.label) / (scored - trained),
        "about": variant.about,
        "gauc": parts.mean,
        "auc": auc(test.label, p),
        "log_loss": log_loss(test.label, p),
    }
    if name in CALIBRATED:
        # Isotonic calibration on the validation weeks, measured on the test weeks.
        valid = predict(model, task, "valid")
        before = undo_negative_sampling(valid.probability, RATE)
        calibrated = fit_calibrator("isotonic", valid.label, before)(p)
        record |= {
            "ece_calibrated": expected_calibration_error(test.label, calibrated),
            "log_loss_calibrated": log_loss(test.label, calibrated),
        }
    keep_run(_result(name, seed), record, parts)


if __name__ == "__main__":
    run_one(sys.argv[1], int(sys.argv[2]))
