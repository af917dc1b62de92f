"""Retrain on a log's past and the events that a service has logged since.

The two-tower retriever is trained on the purchases before the start and on those that the service
wrote, and is measured on later baskets of the log, which neither contains. What the log has of the
weeks in which the service ran is left out: the written events replace it.

The budget is small by default: it shows that the loop closes. A model for use is trained with
`fit_retriever` and its own settings.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch

from adwright.core.errors import DataError
from adwright.core.hashing import content_hash
from adwright.data.features import Feature
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits
from adwright.metrics.ranking import recall
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks
from adwright.training.run_settings import seeded


@dataclass(frozen=True)
class RetrainConfig:
    """model, fit: of the two towers. test_visits: at most so many later baskets are measured. k: of
    the recall."""

    model: TwoTowerConfig = field(default_factory=TwoTowerConfig)
    fit: RetrievalConfig = field(
        default_factory=lambda: RetrievalConfig(
            epochs=1, visits_per_epoch=20_000, validation_visits=0, max_history=100
        )
    )
    test_visits: int = 1_000
    k: int = 50


@dataclass(frozen=True)
class Retrained:
    """before, written: purchases that were trained on, of the log and of the service. recall:
    at k over all items, of the model; popular: of the most popular items; both on `visits`
    later baskets, None where the log ends before. seconds: of training and measuring."""

    before: int
    written: int
    visits: int
    k: int
    recall: float | None
    popular: float | None
    seconds: float


def retrain_two_tower(
    log: pl.DataFrame,
    written: pl.DataFrame,
    items: pl.DataFrame,
    *,
    start: datetime,
    end: datetime,
    config: RetrainConfig | None = None,
    run: str | Path | None = None,
) -> Retrained:
    """Train on `log` before the start and on `written`, measure on `log` from the end on.

    log, written: in EVENT_SCHEMA; purchases count. items: of the catalogue, its text columns
    become features. run: folder of the training run; None keeps nothing.
    Raises DataError without purchases before the start, and what `fit_retriever` raises.
    """
    config = config or RetrainConfig()
    began = time.monotonic()
    task = joined_task(log, written, items, start=start, end=end)
    asked = config.model
    model = seeded(config.fit.seed, lambda: TwoTower(asked, task.spec, task.items, task.count))
    fit_retriever(model, task, config.fit, run)
    visits = task.visits("test")
    if len(visits) > config.test_visits:
        rng = np.random.default_rng(config.fit.seed)
        visits = np.sort(rng.choice(visits, config.test_visits, replace=False))
    k = min(config.k, len(task.items) - 1)
    found = popular = None
    if len(visits):
        ranks = retrieved_ranks(catalogue_vectors(model, task), task, visits, depth=k).ranks()
        found, popular = recall(ranks, k), _popular(task, visits, k)
    purchases = [_purchases(log).filter(pl.col("time") < start).height, _purchases(written).height]
    return Retrained(
        before=purchases[0],
        written=purchases[1],
        visits=len(visits),
        k=k,
        recall=found,
        popular=popular,
        seconds=time.monotonic() - began,
    )


def joined_task(
    log: pl.DataFrame,
    written: pl.DataFrame,
    items: pl.DataFrame,
    *,
    start: datetime,
    end: datetime,
) -> NextBasket:
    """Build the next-basket task of both: the log before the start and the written events train,
    the log from the end on tests."""
    before, after = pl.col("time") < start, pl.col("time") >= end
    parts = [
        _purchases(log).filter(before).with_columns(split=pl.lit("train")),
        _purchases(written).with_columns(split=pl.lit("train")),
        _purchases(log).filter(after).with_columns(split=pl.lit("test")),
    ]
    if not parts[0].height:
        raise DataError(
            "the log has no purchase before the start",
            column="time",
            value=start.isoformat(),
            hint="start later",
        )
    time_ = pl.col("time")
    events = pl.concat(parts).with_columns(
        weekday=time_.dt.weekday().cast(pl.String), hour=time_.dt.hour().cast(pl.String)
    )
    catalogue = items.join(events.select("item_id").unique(), on="item_id", how="semi")
    features = [Feature("item_id", "categorical", "item")]
    for name, dtype in catalogue.schema.items():
        if name != "item_id" and dtype == pl.String:
            features.append(Feature(name, "categorical", "item", min_count=2))
    hashes = [str(int(part.hash_rows(0).sum())) for part in parts]
    return build_visits(
        events,
        catalogue,
        name="retrained",
        protocol=f"Next basket over {catalogue.height:,} items: the log before "
        f"{start:%Y-%m-%d %H:%M} UTC and what was written since train, the log from "
        f"{end:%Y-%m-%d %H:%M} UTC on tests. No sampled negatives.",
        data_hash=content_hash({"parts": hashes}),
        features=(*features, *CONTEXT),
    )


def _purchases(events: pl.DataFrame) -> pl.DataFrame:
    kept = events.filter(pl.col("kind") == "purchase")
    return kept.select("user_id", "request_id", "item_id", "time")


def _popular(task: NextBasket, visits: np.ndarray, k: int) -> float:
    count = torch.from_numpy(task.count.astype(np.float32))

    def score(some: np.ndarray) -> torch.Tensor:
        return count.repeat(len(some), 1)

    return recall(retrieved_ranks(score, task, visits, depth=k).ranks(), k)
