"""The training runs behind sequential/hstu_quality.py: what is trained, and its measures.

A run lies in the cache folder under bench/hstu_quality and is taken up where it was cut off. What a
finished one found is kept beside the results, as float32, and read back: it takes more hours than a
machine is there for. CPU-seconds are of this process, all pieces of a run together.
"""

from __future__ import annotations

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
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.training.sequential.fit import SequentialConfig, SequentialResult, fit_sequential
from benchmarks.common.next_basket import keep, read
from benchmarks.common.result import RESULTS

SCRATCH = cache_folder() / "bench" / "hstu_quality"
KEPT = RESULTS / "cells" / "hstu_quality"
#: What a line of a run's records has beside the measures: the goal, and CPU-seconds so far.
_GOAL, _SPENT = "goal", "cpu_seconds"
Model = HSTU | SASRec
#: Per person or visit, and NaN where it is not defined.
Values = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Variant:
    """A model and its training. about: for the table."""

    about: str
    model: HSTUConfig | SASRecConfig
    fit: SequentialConfig


def build(config: HSTUConfig | SASRecConfig, sequences: ItemSequences, seed: int) -> Model:
    """A fresh model for the sequences."""
    torch.manual_seed(seed)
    match config:
        case HSTUConfig():
            return HSTU(config, sequences.items, count=sequences.count)
        case SASRecConfig():
            return SASRec(config, sequences.items, count=sequences.count)


def measured(
    name: str,
    variant: Variant,
    seed: int,
    sequences: ItemSequences,
    measure: Callable[[Model], Values],
    validate: Callable[[Model], tuple[float, dict[str, float]]] | None = None,
    *,
    curve: bool = False,
    run: bool = True,
) -> Mapping[str, Any] | None:
    """The measures of a run, made or taken up where they are missing; None without `run`.

    Beside those of `measure`: seconds and seconds_epoch (CPU), epochs, and, where the training
    validates, best_epoch and valid (the best goal), with `curve` also curve, of those
    by `validate`: [validations, 3] of epoch, CPU-seconds so far and goal.
    """
    path = _path(name, variant, seed, sequences)
    if not path.exists():
        if not run:
            return None
        values, seconds = _run(SCRATCH / path.stem, variant, seed, sequences, measure, validate)
        kept = {key: value for key, value in values.items() if curve or key != "curve"}
        keep(path, {key: np.asarray(value, np.float32) for key, value in kept.items()}, seconds)
        means = {key: round(float(np.nanmean(v)), 4) for key, v in kept.items()}
        print(path.stem, means, f"{seconds:.0f} CPU-s", flush=True)
    return read([path])[0]


def is_done(name: str, variant: Variant, seed: int, sequences: ItemSequences) -> bool:
    """Whether the run is finished."""
    return _path(name, variant, seed, sequences).exists()


def _path(name: str, variant: Variant, seed: int, sequences: ItemSequences) -> Path:
    about = {
        "m": to_jsonable(variant.model),
        "f": to_jsonable(replace(variant.fit, seed=seed)),
        "d": sequences.data_hash,
    }
    return KEPT / f"{name}-{seed}-{content_hash(about)[:12]}.npz"


def _run(
    folder: Path,
    variant: Variant,
    seed: int,
    sequences: ItemSequences,
    measure: Callable[[Model], Values],
    validate: Callable[[Model], tuple[float, dict[str, float]]] | None,
) -> tuple[Values, float]:
    fit = replace(variant.fit, seed=seed)
    model = build(variant.model, sequences, seed)
    ask = None if validate is None else lambda: validate(model)
    result, seconds = _fitted(model, sequences, fit, folder / "run", ask)
    ran = fit.epochs if fit.train_on_validation else result.records[-1]["epoch"]
    values = measure(model) | {
        "epochs": np.array(float(ran)),
        "seconds_epoch": np.array(seconds / ran),
    }
    if not fit.train_on_validation:
        values |= {"best_epoch": np.array(float(result.epoch)), "valid": np.array(result.best)}
        if validate is not None:
            lines = [(r["epoch"], r[_SPENT], r[_GOAL]) for r in result.records]
            values["curve"] = np.array(lines, np.float64)
    return values, seconds


def _fitted(
    model: Model,
    sequences: ItemSequences,
    fit: SequentialConfig,
    run: Path,
    validate: Callable[[], tuple[float, dict[str, float]]] | None,
) -> tuple[SequentialResult, float]:
    """The result of a training, and its CPU-seconds."""
    clock = run.with_suffix(".seconds")
    before = float(clock.read_text("utf-8")) if clock.exists() else 0.0
    start = time.process_time()

    def spent() -> float:
        return before + time.process_time() - start

    def note(step: int) -> None:
        if step % 40 == 0:
            clock.write_text(f"{spent()}\n", "utf-8")

    def asked() -> tuple[float, dict[str, float]]:
        goal, measures = validate() if validate else (0.0, {})
        return goal, {**measures, _GOAL: goal, _SPENT: spent()}

    resume = (run / "config.json").exists()
    run.parent.mkdir(parents=True, exist_ok=True)
    ask = None if validate is None else asked
    result = fit_sequential(model, sequences, fit, run, resume=resume, on_step=note, validate=ask)
    clock.write_text(f"{spent()}\n", "utf-8")
    return result, spent()
