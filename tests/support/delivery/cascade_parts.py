"""The parts of a small cascade: a task of twelve items, and models that learned nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import torch

from adwright.data.features import fit_spec
from adwright.data.tasks.choice import choice_catalogue, choice_features
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.decision import Request
from adwright.delivery.stages.histories import Histories
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.retrieval.multi_interest import HCN, HCNConfig
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import RetrieverArtifact
from tests.support.data.small_next_basket import START, small_task

#: After everything that anybody of the task did.
LATER = START + timedelta(days=30, hours=3)
EMBEDDING = EmbeddingConfig(width=3)
DRAWS = Draws(number=10)


@cache
def task() -> NextBasket:
    return small_task()


@cache
def two_tower(seed: int = 0) -> RetrieverArtifact:
    torch.manual_seed(seed)
    config = TwoTowerConfig(width=8, hidden=8, views="none", embedding=EMBEDDING)
    source = task()
    model = TwoTower(config, source.spec, source.items, source.count)
    return RetrieverArtifact.of(model, source, seed=seed)


@cache
def hcn() -> RetrieverArtifact:
    torch.manual_seed(1)
    config = HCNConfig(width=8, hidden=8, interests=3, events=20, embedding=EMBEDDING)
    source = task()
    return RetrieverArtifact.of(HCN(config, source.spec, source.items, source.count), source)


@cache
def ranker(**changes: Any) -> Ranker:
    """A DIN of the choice task's features, fitted on rows that are made up here."""
    source = task()
    catalogue = choice_catalogue(source)
    rng = np.random.default_rng(0)
    number = 200
    rows = pl.DataFrame(
        {
            "item_id": rng.choice(source.items.ids, number),
            "town": rng.choice(["north", "south"], number),
            "weekday": rng.integers(1, 8, number).astype(str),
            "hour": ["9"] * number,
            "popularity": rng.integers(0, 30, number),
            "visible": rng.integers(0, 30, number),
            "frequency": rng.integers(0, 5, number),
            "recent": rng.integers(0, 4, number),
            "recency": rng.uniform(0, 90, number),
        }
    )
    spec = fit_spec(choice_features(source.spec, 1), rows.lazy(), catalogue.lazy())
    torch.manual_seed(2)
    config = DINConfig(mlp_hidden=(8,), attention_hidden=4, embedding=EMBEDDING)
    model = DIN(config, spec, spec.encode_items(catalogue))
    return Ranker(model=model, spec=spec, catalogue=catalogue, **changes)


def histories() -> Histories:
    return Histories.of_task(task())


def deployment() -> Deployment:
    return Deployment(two_tower(), hcn(), ranker(), DRAWS, histories=histories())


def request(user_id: str = "u3", *, time: datetime = LATER, **changes: Any) -> Request:
    fields: dict[str, Any] = {"request_id": f"r-{user_id}", "user_id": user_id, "time": time}
    return Request(**fields | changes)


def on_day(day: int) -> datetime:
    """Nine o'clock of a day of the task."""
    return (START + timedelta(days=day)).astimezone(UTC)
