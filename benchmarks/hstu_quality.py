"""HSTU and SASRec on ML-1M by position, whole catalogue (an hour of CPU time a run, resumable).

python benchmarks/hstu_quality.py                  what is missing, then the result
python benchmarks/hstu_quality.py --only hstu      this model alone, and no result
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _result import write_result
from _retrieval import difference, interval, keep, read

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.item_sequences import ItemSequences
from adwright.data.sequence_sets import read_movielens_1m
from adwright.metrics.ranking import hit_rate_per_user, ndcg_per_user
from adwright.models.hstu import HSTU, HSTUConfig
from adwright.models.sasrec import SASRec, SASRecConfig
from adwright.training.sequence_ranks import rank_next
from adwright.training.sequential import SequentialConfig, fit_sequential

SCRATCH = cache_folder() / "bench" / "hstu_quality"
PROTOCOL = (
    "ML-1M: 6,040 people, 3,706 films, 1,000,209 events, in the order of the file (no times are "
    "known). The last event of a person tests, the one before it validates, all before train; "
    "sequences of at most 200. Every film that the person had not yet is ranked, none is sampled "
    "away; ties by a hash. The epoch is chosen by NDCG@10 of 2,000 people's validation events, "
    "asked every 5 epochs; the test is asked once. Both models have 2 blocks of 1 head, width 50, "
    "dropout .2, exact softmax at temperature .05, batches of 128, AdamW at .001, bfloat16 "
    "products. Intervals: 95% by bootstrap over people of the mean over seeds."
)
CONFIGS: dict[str, HSTUConfig | SASRecConfig] = {
    "hstu": HSTUConfig(time=False),
    "sasrec": SASRecConfig(),
}
FIT = SequentialConfig(
    epochs=100, validate_every=5, validation_people=2000, patience=6, precision="bfloat16"
)


def main() -> None:
    """Run what is missing, write benchmarks/results/hstu_quality.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=list(CONFIGS))
    asked = parser.parse_args()
    shared = os.environ.get("ADWRIGHT_DATA")
    if not shared:
        raise SystemExit("set ADWRIGHT_DATA to the folder that holds ml-1m")
    torch.set_num_threads(1)
    sequences = read_movielens_1m(Path(shared) / "ml-1m")
    runs: dict[str, list[Any]] = {}
    for name in CONFIGS:
        if asked.only in (None, name):
            runs[name] = read([trained(name, sequences, seed) for seed in range(asked.seeds)])
    if asked.only:
        return
    means = {
        name: {key: np.mean([run[key] for run in found], axis=0) for key in found[0]}
        for name, found in runs.items()
    }
    people = np.arange(len(means["hstu"]["ndcg10"]))
    write_result(
        "hstu_quality",
        protocol=PROTOCOL,
        data=sequences.data_hash,
        seeds=list(range(asked.seeds)),
        rows=[row(name, found, people) for name, found in means.items()],
        figures=figures(means, people),
    )


def trained(name: str, sequences: ItemSequences, seed: int) -> Path:
    """The measures of a run, which is made or taken up where it is missing."""
    config, fit = CONFIGS[name], replace(FIT, seed=seed)
    about = {"m": to_jsonable(config), "f": to_jsonable(fit), "d": sequences.data_hash}
    key = f"{name}-{seed}-{content_hash(about)[:12]}"
    path = SCRATCH / f"{key}.npz"
    if path.exists():
        return path
    torch.manual_seed(seed)
    model: HSTU | SASRec
    match config:
        case HSTUConfig():
            model = HSTU(config, sequences.items, count=sequences.count)
        case SASRecConfig():
            model = SASRec(config, sequences.items, count=sequences.count)
    run = SCRATCH / key
    resume = (run / "config.json").exists()
    start = time.process_time()
    before = _spent(run)
    result = fit_sequential(model, sequences, fit, run, resume=resume, on_step=_clock(run, start))
    seconds = before + time.process_time() - start
    found = rank_next(model, sequences, "test")
    epochs = result.records[-1]["epoch"]
    values = {
        "ndcg10": ndcg_per_user(found.ranks, 10),
        "hr10": hit_rate_per_user(found.ranks, 10),
        "hr50": hit_rate_per_user(found.ranks, 50),
        "tied": np.array(float(found.ranks.tied.mean())),
        "epochs": np.array(float(epochs)),
        "best_epoch": np.array(float(result.epoch)),
        "valid": np.array(result.best),
    }
    keep(path, values, seconds)
    print(name, seed, {k: float(np.mean(v)) for k, v in values.items()}, f"{seconds:.0f} CPU-s")
    return path


def _spent(run: Path) -> float:
    """CPU-seconds of the earlier pieces of a run."""
    file = run / "cpu_seconds.txt"
    return float(file.read_text("utf-8")) if file.exists() else 0.0


def _clock(run: Path, start: float) -> Any:
    """Notes the CPU-seconds of this piece now and then."""
    before = _spent(run)

    def note(step: int) -> None:
        if step % 48 == 0:
            spent = before + time.process_time() - start
            (run / "cpu_seconds.txt").write_text(f"{spent}\n", "utf-8")

    return note


def row(name: str, found: Mapping[str, Any], people: Any) -> dict[str, Any]:
    """The table's row of a model."""
    measures = {key: interval(found[key], people) for key in ("ndcg10", "hr10", "hr50")}
    numbers = {key: float(found[key]) for key in ("tied", "epochs", "best_epoch", "valid")}
    each = float(found["seconds"]) / numbers["epochs"]
    return {"model": name, **measures, **numbers, "cpu_seconds_epoch": each}


def figures(means: Mapping[str, Mapping[str, Any]], people: Any) -> dict[str, Any]:
    """The figures of the contract, and the lead over SASRec."""
    hstu, sasrec = means["hstu"], means["sasrec"]
    _, low, high = difference(hstu["ndcg10"], sasrec["ndcg10"], people)
    return {
        "ml1m_ndcg10": float(hstu["ndcg10"].mean()),
        "ml1m_hr10": float(hstu["hr10"].mean()),
        "ml1m_cpu_seconds_epoch": float(hstu["seconds"] / hstu["epochs"]),
        "ml1m_sasrec_ndcg10": float(sasrec["ndcg10"].mean()),
        "ml1m_sasrec_hr10": float(sasrec["hr10"].mean()),
        "ml1m_sasrec_cpu_seconds_epoch": float(sasrec["seconds"] / sasrec["epochs"]),
        "ml1m_ndcg10_hstu_minus_sasrec_ci": [low, high],
    }


if __name__ == "__main__":
    main()
