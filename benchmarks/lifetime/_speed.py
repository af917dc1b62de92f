"""How long a million spells take: training, prediction, and the C of four million."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from adwright.core.assets import cache_folder
from adwright.creative.lifetime.survival_fit import fit_lifetime
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.metrics.survival import harrell_c
from benchmarks.common.next_basket import keep, read
from benchmarks.lifetime import _runs as runs
from benchmarks.lifetime._spells import SpellConfig, build_spells
from benchmarks.lifetime._tasks import WEEKS

_TRAINED, _JUDGED, _COUNTED = 1_000_000, 100_000, 4_000_000
_PARTS = 10
_NAMES = "train_1m_cpu_seconds", "predict_spells_per_cpu_second", "cindex_4m_cpu_seconds"


def speeds(*, run: bool) -> dict[str, Any]:
    """The three figures. run: measure them where they are not kept; without it they are left out.

    Training has a million spells in stores and the defaults, prediction asks its model about them
    in ten parts, of which the fastest counts; both with what it takes to encode them.
    """
    path = runs.SCRATCH / "speeds.npz"
    if not path.exists() and run:
        keep(path, dict(zip(_NAMES, _measured(), strict=True)), 0.0)
    return {name: float(found[name]) for found in read([path]) for name in _NAMES}


def _measured() -> tuple[float, float, float]:
    table = build_spells(CompleteJourney.open(), cache_folder() / "tasks", SpellConfig())
    rng = np.random.default_rng(0)

    def some(rows: np.ndarray, number: int) -> np.ndarray:
        return np.sort(rng.choice(np.flatnonzero(rows), number, replace=False))

    old = table.take(some(table.start < WEEKS[0], _TRAINED)).seen_before(WEEKS[0])
    between = (table.start >= WEEKS[0]) & (table.start < WEEKS[1])
    new = table.take(some(between, _JUDGED)).seen_before(WEEKS[1])
    began = time.process_time()
    model = fit_lifetime(old, new)
    trained = time.process_time() - began
    parts = [old.take(rows) for rows in np.array_split(np.arange(_TRAINED), _PARTS)]
    predicted = min(_seconds(partial(model.predict, part)) for part in parts)
    ages = rng.geometric(0.5, _COUNTED)
    lives = ages, rng.random(_COUNTED) < 0.9, rng.normal(size=_COUNTED) - ages
    counted = _seconds(lambda: harrell_c(*lives))
    return trained, _TRAINED / _PARTS / predicted, counted


def _seconds(what: Callable[[], object]) -> float:
    began = time.process_time()
    what()
    return time.process_time() - began
