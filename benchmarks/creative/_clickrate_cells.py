"""One training of the click rate benchmark: which system, seed and part, and what is kept of it.

A cell is a system, a seed and a part: one of five folds by story, or "time". Of each its rates of
the rows that it was not trained on are kept beside the results, rounded, so that measures can be
made again without a training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.creative.response.outcomes import (
    CreativeOutcomes,
    read_outcomes,
    stories_of,
    story_folds,
)
from benchmarks.common.next_basket import keep
from benchmarks.common.result import RESULTS
from benchmarks.creative._time_split import split_by_week
from benchmarks.creative._upworthy import UPWORTHY, check_split

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

SCRATCH = cache_folder() / "bench" / "clickrate"
KEPT = RESULTS / "cells" / "clickrate"
FOLDS, WEEK = 5, 201440
PARTS = (*(str(fold) for fold in range(FOLDS)), "time")
#: Logs of rates are kept as whole numbers of this size, a two-thousandth part of a rate.
_STEP = 1 / 2000


@dataclass(frozen=True, eq=False)
class Answer:
    """What a system says of the rows that were held out, float64 [H]: rates, and where it has them
    the ends of its 90% interval. train_seconds, score_seconds: of the processor."""

    rates: Floats
    train_seconds: float
    score_seconds: float
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True)
class Cell:
    """system: its name. key: of its settings. part: of PARTS."""

    system: str
    key: str
    seed: int
    part: str

    def path(self, task: Task) -> Path:
        """Where what it found is kept."""
        name = content_hash([task.outcomes.data_hash, self.system, self.key])
        return KEPT / self.system / f"{self.seed}-{self.part}-{name[:8]}.npz"

    def keep(self, task: Task, answer: Answer) -> None:
        """Write it, whole or not at all."""
        values: dict[str, Any] = {"rates": _packed(answer.rates)}
        if answer.low is not None and answer.high is not None:
            values |= {"low": _packed(answer.low), "high": _packed(answer.high)}
        values["score_seconds"] = np.array(answer.score_seconds)
        keep(self.path(task), values, answer.train_seconds)

    def read(self, task: Task) -> Answer | None:
        """What was kept; None where nothing was."""
        path = self.path(task)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as stored:
            kept: Mapping[str, NDArray[Any]] = dict(stored)
        low, high = (_unpacked(kept[end]) if end in kept else None for end in ("low", "high"))
        seconds = float(kept["seconds"]), float(kept["score_seconds"])
        return Answer(_unpacked(kept["rates"]), *seconds, low, high)


def latest_rates(system: str, seed: int, part: str) -> Floats | None:
    """float64 [H], what the cell of a system says that was kept last, also by earlier settings."""
    paths = (KEPT / system).glob(f"{seed}-{part}-*.npz")
    latest = max(paths, key=lambda path: path.stat().st_mtime, default=None)
    if latest is None:
        return None
    with np.load(latest, allow_pickle=False) as stored:
        return _unpacked(stored["rates"])


@dataclass(frozen=True, eq=False)
class Task:
    """Outcomes, and the story and week of each row."""

    outcomes: CreativeOutcomes
    stories: Whole
    weeks: Whole

    @cached_property
    def by_time(self) -> tuple[Whole, Whole]:
        """Rows before the week, and of stories that began in it or later."""
        split = split_by_week(self.weeks, WEEK, self.stories)
        return split.train, split.held_out

    def split(self, seed: int, part: str) -> tuple[Whole, Whole]:
        """Rows to train on and held out, of which no story is on both sides."""
        if part == "time":
            train, held = self.by_time
        else:
            fold = story_folds(self.stories, FOLDS, seed=seed)
            train, held = np.flatnonzero(fold != int(part)), np.flatnonzero(fold == int(part))
        check_split(train, held, self.stories)
        return train, held


def log_rates(outcomes: CreativeOutcomes) -> Floats:
    """float64 [N], ln((clicks + 1/2) / (impressions + 1)): finite where nobody clicked."""
    rates: Floats = np.log((outcomes.clicks + 0.5) / (outcomes.impressions + 1.0))
    return rates


def open_task() -> Task:
    """Upworthy's tests. Raises SystemExit where ADWRIGHT_DATA is not set."""
    shared = os.environ.get("ADWRIGHT_DATA")
    if not shared:
        raise SystemExit("set ADWRIGHT_DATA: upworthy/creatives.parquet lies there")
    path = Path(shared) / "upworthy" / "creatives.parquet"
    outcomes = read_outcomes(path, UPWORTHY)
    weeks = dict(pl.read_parquet(path, columns=["index", "test_week"]).iter_rows())
    return Task(outcomes, stories_of(outcomes), np.array([weeks[int(one)] for one in outcomes.ids]))


def _packed(rates: Floats) -> NDArray[np.int16]:
    least = np.exp(np.iinfo(np.int16).min * _STEP)
    return np.round(np.log(np.maximum(rates, least)) / _STEP).astype(np.int16)


def _unpacked(kept: NDArray[Any]) -> Floats:
    return np.asarray(np.exp(kept.astype(np.float64) * _STEP), np.float64)
