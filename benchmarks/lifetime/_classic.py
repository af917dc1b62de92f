"""Two classic sets of lifelines: the defaults on a few hundred lives, beside Cox's model.

rossi: 432 men, weeks to an arrest after prison. gbsg2: 686 women, days to a relapse of a cancer of
the breast. Five folds, drawn by the seed; ours stops by a quarter of a fold's training, lifelines'
Cox has all of it. Kaplan-Meier gives all units one curve, a C of one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.datasets import load_gbsg2, load_rossi

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_fit import LifetimeConfig, fit_lifetime
from adwright.metrics.bootstrap import two_level_difference, two_level_ratio
from adwright.metrics.survival import harrell_c
from benchmarks.common.next_basket import keep, read
from benchmarks.common.result import Lead
from benchmarks.lifetime import _runs as runs

Classic = Literal["rossi", "gbsg2"]
Method = Literal["two_terms", "one_head", "cox"]
_FOLDS = 5
#: Of the kept folds: another number where what is kept was measured otherwise.
_VERSION = 1


def classic_sets(
    seeds: Sequence[int], *, run: bool
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
    """Rows, figures and leads. run: measure what is missing; without it is left out."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for name in get_args(Classic):
        sums: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for method in get_args(Method):
            for seed in seeds:
                path = runs.SCRATCH / f"classic-{name}-{method}-{seed}-{_VERSION}.npz"
                if not path.exists() and run:
                    won, compared = _folds(name, method, seed)
                    keep(path, {"won": won, "compared": compared}, 0.0)
                for found in read([path]):
                    sums.setdefault(method, []).append((found["won"], found["compared"]))
                    c = float(found["won"].sum() / found["compared"].sum())
                    rows.append({"task": name, "model": method, "seed": seed, "c_overall": c})
        stacked = {
            method: tuple(map(np.stack, zip(*each, strict=True))) for method, each in sums.items()
        }
        for method, (won, compared) in stacked.items():
            all_c = two_level_ratio(won, compared, np.random.default_rng(0))
            key = f"{name}_c_{method}"
            figures |= {key: all_c.value, f"{key}_ci": [all_c.low, all_c.high]}
        for other in ("one_head", "cox"):
            if {"two_terms", other} <= stacked.keys():
                (won, compared), (less, of_less) = stacked["two_terms"], stacked[other]
                gap = two_level_difference(
                    won, less, compared, np.random.default_rng(0), denominators_b=of_less
                )
                key = f"{name}_c_two_terms_minus_{other}"
                leads.append(Lead(key, "two_terms", other, "C", f"{name}, five folds", gap))
    return rows, figures, leads


def _frame(name: Classic) -> tuple[pd.DataFrame, str, str]:
    """The lives, and the names of the columns of their times and ends."""
    match name:
        case "rossi":
            return load_rossi(), "week", "arrest"
        case "gbsg2":
            return load_gbsg2(), "time", "cens"


def _folds(name: Classic, method: Method, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's pairs within its fold that are concordant, and all of them, [N]."""
    frame, time, event = _frame(name)
    fold = np.random.default_rng(seed).permutation(len(frame)) % _FOLDS
    won, compared = np.zeros((2, len(frame)))
    lives = frame[time].to_numpy(), frame[event].to_numpy()
    for at in range(_FOLDS):
        asked = fold == at
        if method == "cox":
            coded = pd.get_dummies(frame, drop_first=True, dtype=float)
            fitted = CoxPHFitter().fit(coded[~asked], time, event)
            risk = fitted.predict_partial_hazard(coded[asked]).to_numpy()
        else:
            table = _table(frame, time, event)
            valid = ~asked & (fold == (at + 1) % _FOLDS)
            config = LifetimeConfig(heads=1 if method == "one_head" else 2, seed=seed)
            model = fit_lifetime(table.take(~asked & ~valid), table.take(valid), config)
            risk = model.predict(table.take(asked)).risk()
        found = harrell_c(lives[0][asked], lives[1][asked], risk)
        won[asked], compared[asked] = found.won, found.compared
    return won, compared


def _table(frame: pd.DataFrame, time: str, event: str) -> SpellTable:
    """Numbers as they are, texts as categories."""
    columns = frame.drop(columns=[time, event])
    texts = columns.select_dtypes(exclude="number")
    numbers = columns.select_dtypes("number")
    coded = [pd.factorize(texts[column], sort=True) for column in texts]
    units = len(frame)
    zeros = np.zeros(units, np.int32)
    return SpellTable(
        entry=np.zeros(units, np.float32),
        time=frame[time].to_numpy(np.float32),
        cause=frame[event].to_numpy(np.int8),
        causes=("ended",),
        unit="week" if time == "week" else "day",
        numbers=numbers.to_numpy(np.float32),
        number_names=tuple(numbers),
        categories=np.array([codes for codes, _ in coded], np.int32).reshape(len(coded), units).T,
        category_names=tuple(texts),
        category_values=tuple(tuple(map(str, values)) for _, values in coded),
        words=np.zeros(0, np.int32),
        offsets=np.zeros(units + 1, np.int64),
        vocabulary=(),
        clicks=None,
        shown=None,
        owner=np.arange(units, dtype=np.int32),
        group=zeros,
        start=zeros,
        landmark=0.0,
    )
