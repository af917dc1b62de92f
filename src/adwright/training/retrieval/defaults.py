"""Defaults of two towers and of HCN, counted from the next-basket task.

    batch        visits that have about 2,500 targets together: these are each other's negatives
    history      what 95 of 100 training visits see whole, from 50 to 500 events
    epochs       so many that training sees 2.5 million targets, from 2 to 20; 1,500 validation
                 visits stop it earlier
    half-lives   1.5 and 10 times the gap between two visits of a user, a day at least (what is done
             in one sitting is about one thing), beside no decay; where the log has no times,
             places stand for days
    embeddings   32 numbers an item, 16 for lists and for what has more than a thousand values, 8
                 for the rest

Complete Journey, where a visit takes ten items and users come every few days, gets about what the
models' own defaults say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from adwright.data.features import FeatureSpec
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.models.embeddings import EmbeddingConfig
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.training.retrieval.artifact import RetrieverConfig, retriever_for
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.run_settings import seeded
from adwright.training.search import (
    Defaults,
    SearchResult,
    Settings,
    near_power_of_two,
    search_defaults,
    within,
)

TARGETS_A_BATCH, TARGETS = 2_500, 2_500_000
#: What the searches try: factors of the rates and of the width, and the temperature.
RETRIEVER_SPACE = {
    "learning_rate": (0.3, 1.0, 3.0),
    "embedding_learning_rate": (0.3, 1.0, 3.0),
    "temperature": (0.05, 0.07, 0.1),
    "width": (0.5, 1.0, 2.0),
}

RetrieverDefaults: TypeAlias = Defaults[RetrieverConfig, RetrievalConfig]


class _Visits(NamedTuple):
    """Of the training visits: how many, targets of all, events that 95 of 100 see, days between
    two of a user (0 where nobody comes twice; 1 for places that stand for days); and what the gaps
    are counted in."""

    visits: int
    targets: int
    history: int
    gap: float
    unit: str


def two_tower_defaults(task: NextBasket) -> Defaults[TwoTowerConfig, RetrievalConfig]:
    """Two towers without a second task, and their training."""
    found = _counted(task)
    model = TwoTowerConfig(embedding=_embedding(task.spec), days=(0.0, *_half_lives(found.gap)))
    return Defaults(model, *_fit(found, f"half-lives of {_lengths(model.days[1:], found.unit)}"))


def hcn_defaults(task: NextBasket) -> Defaults[HCNConfig, RetrievalConfig]:
    """HCN and its training: what is recent is five gaps between visits old at most."""
    found = _counted(task)
    recent = 5 * found.gap or HCNConfig().short_days
    model = HCNConfig(embedding=_embedding(task.spec), short_days=recent)
    reach = _lengths((recent,), found.unit)
    return Defaults(model, *_fit(found, f"the short history reaches back {reach}"))


def retriever_search(
    task: NextBasket,
    defaults: RetrieverDefaults,
    *,
    trials: int,
    folder: Path,
    seed: int = 0,
) -> tuple[RetrieverDefaults, SearchResult]:
    """Look for better settings by the recall of validation visits; see `search`. folder: of the
    trials. Returns the defaults changed by the best trial, with a sentence that says so."""

    def measure(tried: RetrieverDefaults) -> float:
        model = seeded(seed, lambda: retriever_for(tried.model, task))
        return fit_retriever(model, task, replace(tried.fit, seed=seed)).recall

    return search_defaults(
        defaults,
        _changed,
        measure,
        RETRIEVER_SPACE,
        trials=trials,
        folder=folder,
        about={"task": task.data_hash, "model": type(defaults.model).__name__},
        goal=f"recall@{defaults.fit.k}",
        seed=seed,
    )


def _changed(defaults: RetrieverDefaults, settings: Settings, epochs: int) -> RetrieverDefaults:
    fit, model = defaults.fit, defaults.model
    return Defaults(
        replace(
            model,
            temperature=float(settings.get("temperature", model.temperature)),
            width=round(model.width * settings.get("width", 1.0)),
        ),
        replace(
            fit,
            epochs=epochs,
            learning_rate=fit.learning_rate * settings.get("learning_rate", 1.0),
            embedding_learning_rate=fit.embedding_learning_rate
            * settings.get("embedding_learning_rate", 1.0),
        ),
        defaults.why,
    )


def _counted(task: NextBasket) -> _Visits:
    visits = task.visits("train")
    number = task.target_offsets[visits + 1] - task.target_offsets[visits]
    seen = task.visit_end[visits] - task.user_offsets[task.visit_user[visits]]
    user, time = task.visit_user[visits], task.visit_time[visits]
    order = np.lexsort((time, user))
    gaps = np.diff(time[order])[np.diff(user[order]) == 0]
    gaps = gaps[gaps > 0]
    gap = max(float(np.median(gaps)) / MICROSECONDS_PER_DAY, 1.0) if len(gaps) else 0.0
    return _Visits(
        len(visits),
        int(number.sum()),
        int(np.quantile(seen, 0.95)) if len(seen) else 0,
        min(gap, 1.0) if task.timeless else gap,
        "places" if task.timeless else "days",
    )


def _fit(found: _Visits, of_time: str) -> tuple[RetrievalConfig, tuple[str, ...]]:
    each = found.targets / max(found.visits, 1)
    config = RetrievalConfig(
        epochs=within(TARGETS / max(found.targets, 1), 2, 20),
        batch=near_power_of_two(TARGETS_A_BATCH / max(each, 1), 128, 1024),
        max_history=within(found.history / 50, 1, 10) * 50,
        k=50,
    )
    return config, (
        f"at most {config.epochs} epochs of {found.visits:,} visits with {found.targets:,} "
        f"targets, fewer when {config.patience} validations are no better",
        f"batches of {config.batch} visits, {each:.1f} targets each",
        f"histories: the latest {config.max_history} events; 95 of 100 visits see at most "
        f"{found.history:,}",
        of_time,
    )


def _half_lives(gap: float) -> tuple[float, ...]:
    """Of the decayed sums, in days, the longer one first."""
    return (10 * gap, 1.5 * gap) if gap else (30.0, 5.0)


def _lengths(lengths: tuple[float, ...], unit: str) -> str:
    return " and ".join(f"{length:.2g} {unit}" for length in lengths)


def _embedding(spec: FeatureSpec) -> EmbeddingConfig:
    wide = {"item_id": 32}
    for feature in spec.features:
        if feature.name not in wide and (feature.kind == "multi" or feature.cardinality > 1_000):
            wide[feature.name] = 16
    return EmbeddingConfig(width=8, widths=tuple(wide.items()), scale=0.1)
