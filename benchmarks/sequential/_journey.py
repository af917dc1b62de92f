"""HSTU and SASRec on the next basket of Complete Journey, beside rules and the two towers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.metrics.ranking import ndcg_per_user, recall_per_user
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.models.sequential.hstu import HSTUConfig, SASRecConfig
from adwright.models.sequential.losses import LossConfig
from adwright.training.retrieval.fit import (
    RetrievalConfig,
    Scorer,
    catalogue_vectors,
    fit_retriever,
    retrieved_ranks,
)
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import visit_scorer, visit_validation
from benchmarks.common.next_basket import (
    by_seed,
    frequency,
    interval,
    keep,
    means_by_seed,
    method_difference,
    popularity,
    read,
)
from benchmarks.common.result import Lead
from benchmarks.sequential._runs import SCRATCH, Model, Values, Variant, measured

PROTOCOL = (
    "Next basket of Complete Journey: every basket of the test weeks 49-53 is a query with the "
    "whole history before it (up to 4,193 events); each of the 68,509 sold items is a candidate. "
    "Weeks 1-44 train; the number of epochs is chosen by recall@50 of 500 households' baskets "
    "of weeks 45-48. Slices: all; repeat, items that the household had before, ranked among all; "
    "new, only items that it never had are ranked and count. Values are means over queries that "
    "have a target in the slice; intervals over seeds and households, of one seed over households; "
    "differences on the same households. "
    "Sequential models: 4 layers, width 64, 4 heads (HSTU's of 32, with W2 reading [U, A, U * A]; "
    "a SASRec has an FFN, and no dropout of attention's weights, which would cost several times "
    "its attention here), a rate of .002 (.001 for the one that is cut); an event predicts one of "
    "the next basket's items, exact softmax over the catalogue at 1,024 positions of each batch of "
    "16 households "
    "(of 64 windows where the model is cut to 200); own part: how popular an item is, and how "
    "often and how long ago the household had it, have a voice in the score "
    "(`adwright.models.sequential.losses`)."
)
RULES = {"popularity": popularity, "frequency": frequency}
LOSS = LossConfig("exact", positions=1024)
_FIT = SequentialConfig(
    epochs=3,
    batch=16,
    learning_rate=2e-3,
    schedule="linear",
    precision="bfloat16",
    exclude_seen=False,
)
_HSTU = HSTUConfig(
    width=64,
    heads=4,
    qk_width=32,
    v_width=32,
    blocks=4,
    max_length=4200,
    concat=True,
    w1_deviation=0.08,
    popularity=True,
    repeats=True,
    loss=LOSS,
)
_SASREC = SASRecConfig(
    width=64,
    heads=4,
    blocks=4,
    max_length=4200,
    attention_dropout=0.0,
    popularity=True,
    repeats=True,
    loss=LOSS,
)
#: Whole sequences in windows where the model reads less than all.
_CUT = replace(_FIT, all_windows=True, batch=64, learning_rate=1e-3)
VARIANTS = {
    "hstu": Variant("HSTU, own part", _HSTU, _FIT),
    "sasrec": Variant("SASRec, own part", _SASREC, _FIT),
    "sasrec_200": Variant("SASRec cut to 200, own part", replace(_SASREC, max_length=200), _CUT),
    "hstu_sl16": Variant(
        "HSTU, own part, stochastic length 1.6",
        _HSTU,
        replace(_FIT, stochastic_length=StochasticLength(1.6)),
    ),
    "hstu_plain": Variant("HSTU", replace(_HSTU, popularity=False, repeats=False), _FIT),
}
#: Of every model, as its row says it.
NAMES = {"popularity": "popularity", "frequency": "personal frequency", "two_tower": "two towers"}
NAMES |= {name: variant.about for name, variant in VARIANTS.items()}
_TOWERS = (TwoTowerConfig(), RetrievalConfig(epochs=2, batch=256, validation_visits=0))


def runs_of(seeds: Iterable[int], only: str | None, *, run: bool) -> dict[str, list[Any]]:
    """Model to the measures of its finished runs; with `run`, missing ones are made."""
    task = build_next_basket(CompleteJourney.open())
    visits = task.visits("test")
    sequences = sequences_of_task(task, split="task")
    asked = validation_visits(task)

    def measure(model: Model) -> Values:
        return _measures(visit_scorer(model, task), task, visits)

    def validate(model: Model) -> tuple[float, dict[str, float]]:
        return visit_validation(model, task, asked)()

    runs: dict[str, list[Any]] = {}
    for name, rule in RULES.items():
        path = SCRATCH / f"journey-{name}-{task.data_hash[:8]}.npz"
        if run and only in (None, name) and not path.exists():
            keep(path, _measures(rule(task), task, visits), 0.0)
        runs[name] = read([path])
    if only in (None, "two_tower"):
        runs["two_tower"] = [r for s in seeds for r in _towers(task, visits, s, run=run)]
    for name, variant in VARIANTS.items():
        if only in (None, name):
            made = [
                measured(f"journey-{name}", variant, s, sequences, measure, validate, run=run)
                for s in seeds
            ]
            runs[name] = [dict(one) for one in made if one is not None]
    return runs


def task_hash() -> str:
    """Of the data."""
    return build_next_basket(CompleteJourney.open()).data_hash


def validation_visits(task: NextBasket) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The validation baskets of 500 households."""
    visits = task.visits("valid")
    people = np.unique(task.visit_user[visits])
    chosen = np.random.default_rng(0).choice(people, 500, replace=False)
    return visits[np.isin(task.visit_user[visits], chosen)]


def _towers(task: NextBasket, visits: Any, seed: int, *, run: bool) -> list[dict[str, Any]]:
    path = SCRATCH / f"journey-two_tower-{seed}-{task.data_hash[:8]}.npz"
    if run and not path.exists():
        model_config, fit = _TOWERS
        torch.manual_seed(seed)
        model = TwoTower(model_config, task.spec, task.items, task.count)
        start = time.process_time()
        fit_retriever(model, task, replace(fit, seed=seed))
        seconds = time.process_time() - start
        values = _measures(catalogue_vectors(model, task), task, visits)
        keep(path, values | {"seconds_epoch": np.array(seconds / fit.epochs)}, seconds)
    return read([path])


def _measures(score: Scorer, task: NextBasket, visits: Any) -> Values:
    """ "slice_measure" to float64 [V]; NaN where the slice has no target."""
    found = retrieved_ranks(score, task, visits, depth=50)
    codes, bounds = task.seen(visits)
    width = len(task.items)
    owner = np.repeat(np.arange(len(visits)), np.diff(found.offsets))
    seen = np.repeat(np.arange(len(visits)), np.diff(bounds)) * width + codes
    had = np.isin(owner * width + found.item, seen)
    parts = {
        "all": found,
        "repeat": found.where(had),
        "new": retrieved_ranks(score, task, visits, depth=50, unseen=True),
    }
    values: Values = {}
    for name, part in parts.items():
        ranks = part.ranks()
        values[f"{name}_recall50"] = recall_per_user(ranks, 50)
        values[f"{name}_ndcg10"] = ndcg_per_user(ranks, 10)
    return values


def rows_and_figures(
    runs: Mapping[str, list[Any]],
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
    """The table, the figures of the contract as far as the runs are there, and HSTU's leads."""
    task = build_next_basket(CompleteJourney.open())
    person = task.visit_user[task.visits("test")]
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    models = {name: by_seed(found) for name, found in runs.items() if found}
    for rule in RULES:  # no seed
        if rule in models:
            models[rule] = {key: one[0] for key, one in models[rule].items()}
    for name, mean in models.items():
        row: dict[str, Any] = {
            "data": "journey",
            "model": NAMES[name],
            "seeds": 0 if name in RULES else len(runs[name]),
        }
        measures = [key for key in mean if key.endswith(("_recall50", "_ndcg10"))]
        row |= {key: [round(x, 5) for x in interval(mean[key], person)] for key in measures}
        plain = ("epochs", "best_epoch", "valid", "seconds_epoch")
        row |= means_by_seed({key: mean[key] for key in measures})
        rows.append(row | {key: float(np.mean(mean[key])) for key in plain if key in mean})
        figures[f"cj_recall50_{name}"] = float(np.nanmean(mean["all_recall50"]))
        figures[f"cj_ndcg10_{name}"] = float(np.nanmean(mean["all_ndcg10"]))
        if name != "hstu" and "hstu" in models:
            for key in measures:
                found = method_difference(models["hstu"][key], mean[key], person)
                about = (NAMES["hstu"], NAMES[name], key, "next basket", found)
                leads.append(Lead(f"cj_{key}_hstu_minus_{name}", *about))
    return rows, figures, leads
