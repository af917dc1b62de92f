"""A small invented shop whose shoppers each like one type of product, as a task folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from adwright.data.batches.stream import StreamConfig
from adwright.data.features import Feature
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log
from adwright.data.tasks.task import Task, write_task
from adwright.models.calibration import EmbeddingConfig, Method
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.hstu_target import HSTUTargetConfig
from adwright.models.ranking.union import RankerConfig, RankerModel, ranker_model
from adwright.training.ranking.config import RunConfig
from adwright.training.ranking.fit import FitConfig
from adwright.training.ranking.run import RunResult, run

TYPES = ("tea", "rice", "milk", "jam", "soap")
START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("type", "categorical", "item"),
    Feature("store", "categorical", "context"),
    Feature("popularity", "numeric", "context", log=True),
    Feature("price", "numeric", "context"),
    Feature("visible", "numeric", "user", log=True),
)
ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(40)],
        "type": [TYPES[n % 5] for n in range(40)],
        "brand": ["own" if n % 3 else "" for n in range(40)],
        "size": [f"{n} g" if n % 2 else None for n in range(40)],
    }
)
#: Sizes at which a network learns something in a second.
MODEL = DINConfig(mlp_hidden=(16, 8), embedding=EmbeddingConfig(width=4))
HSTU = HSTUTargetConfig(
    width=16,
    blocks=2,
    qk_width=32,
    v_width=16,
    max_length=60,
    mlp_hidden=(16, 8),
    embedding=EmbeddingConfig(width=4),
    kernel="bucketed",
)
FIT = FitConfig(
    epochs=1,
    learning_rate=0.01,
    stream=StreamConfig(negative_rate=0.5, groups_per_batch=8, rows_per_group=32),
)


def shop_task(folder: Path, *, users: int = 40, seed: int = 0) -> Task:
    """Write the task: each shopper takes products of the own type far more often."""
    rng = np.random.default_rng(seed)
    rows, events = [], []
    for u in range(users):
        times = [START + timedelta(days=d) for d in range(0, 50, 2)]
        for day, time in enumerate(times):
            split = "train" if day < 17 else "valid" if day < 21 else "test"
            for item in rng.choice(40, 8, replace=False):
                chance = 0.6 if item % 5 == u % 5 else 0.05
                label = int(rng.random() < chance)
                popularity = 5.0 * (item % 7) + day
                price = float(item % 4) if item % 9 else None
                row = (f"u{u}", f"r{u}-{day}", time, f"i{item}", label, split)
                rows.append((*row, f"s{u % 3}", popularity, price))
                if label:
                    events.append((f"u{u}", f"i{item}", time))
    columns = ["user_id", "request_id", "time", "item_id", "label", "split"]
    return write_task(
        folder,
        name="shop",
        protocol="an invented shop; days 0-33 train, 34-41 validation, the rest test",
        data_hash=f"shop-{users}-{seed}",
        rows=pl.DataFrame(
            rows, schema=[*columns, "store", "popularity", "price"], orient="row"
        ).with_columns(pl.col("label").cast(pl.Int8)),
        events=pl.DataFrame(events, schema=["user_id", "item_id", "time"], orient="row"),
        items=ITEMS,
        features=FEATURES,
        rows_per_group=2000,
    )


def untrained(task: Task, config: RankerConfig = MODEL) -> RankerModel:
    """The network of `config` for the task."""
    return ranker_model(config, task.spec, task.item_table)


def shop_run(folder: Path, *, users: int = 40, calibration: Method = "platt") -> RunResult:
    """Train on the shop, into `folder`/run; the task is `folder`/task."""
    task = shop_task(folder / "task", users=users)
    config = RunConfig(
        model=MODEL,
        fit=FIT,
        calibration=calibration,
        mix=False,
        draws=50,
        seed=3,
        out=folder / "run",
    )
    return run(config, task=task)


def small_log() -> Log:
    """Sixty impressions of six people over five days, every third clicked."""
    rows = []
    for n in range(60):
        at = START + timedelta(hours=2 * n)
        shown = (f"e{n}", at, f"r{n}", f"u{n % 6}", "impression", f"i{n % 7}")
        rows.append(shown)
        if n % 3 == 0 or n % 7 == 0:
            rows.append((f"c{n}", at + timedelta(seconds=5), *shown[2:4], "click", shown[5]))
    columns = ["event_id", "time", "request_id", "user_id", "kind", "item_id"]
    events = validate_events(pl.DataFrame(rows, schema=columns, orient="row"))
    return Log(events.lazy(), Catalogue.checked(ITEMS))
