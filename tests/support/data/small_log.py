"""A small invented log, and the task of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from adwright.data.features import Feature
from adwright.data.schema import RESPONSE_KINDS
from adwright.data.tasks.task import Task, write_task

START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("type", "categorical", "item"),
    Feature("tags", "multi", "item"),
    Feature("weight", "numeric", "item"),
    Feature("store", "categorical", "context"),
    Feature("device", "hashed", "context", buckets=7),
    Feature("hour", "bucketised", "context"),
    Feature("labels", "multi", "context"),
    Feature("price", "numeric", "context", log=True),
    Feature("visible", "numeric", "user", log=True),
    Feature("frequency", "numeric", "user"),
)


class Tables(NamedTuple):
    """What a task is written from."""

    rows: pl.DataFrame
    events: pl.DataFrame
    items: pl.DataFrame


def make_tables(n_users: int = 23, seed: int = 0) -> Tables:
    """Users of 0 to 40 events and 1 to 30 requests; times collide on purpose."""
    rng = np.random.default_rng(seed)
    rows, events = [], []
    for user in range(n_users):
        name = f"u{user:02}"
        for _ in range(int(rng.integers(0, 40)) if user % 5 else 0):
            day = int(rng.integers(0, 30))
            events.append((name, f"i{rng.integers(0, 25)}", START + timedelta(days=day)))
        for request in range(int(rng.integers(1, 30))):
            day = int(rng.integers(0, 33))
            split = "train" if day < 20 else "valid" if day < 26 else "test"
            for _ in range(int(rng.integers(1, 6))):
                rows.append(
                    {
                        "user_id": name,
                        "request_id": f"{name}-{request}",
                        "time": START + timedelta(days=day),
                        "item_id": f"i{rng.integers(0, 28)}",
                        "label": int(rng.random() < 0.3),
                        "split": split,
                        "store": None if rng.random() < 0.1 else f"s{rng.integers(0, 4)}",
                        "device": f"d{rng.integers(0, 9)}",
                        "hour": None if rng.random() < 0.1 else float(rng.integers(0, 24)),
                        "labels": [f"l{n}" for n in rng.integers(0, 5, int(rng.integers(0, 4)))],
                        "price": None if rng.random() < 0.2 else float(rng.gamma(2.0)),
                    }
                )
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(25)],
            "type": [f"t{n % 4}" if n % 7 else None for n in range(25)],
            "tags": [[f"g{n % 3}", f"g{n % 5}"][: n % 3] for n in range(25)],
            "weight": [float(n) if n % 6 else None for n in range(25)],
        },
        schema_overrides={"tags": pl.List(pl.String)},
    )
    table = pl.DataFrame(rows, schema_overrides={"label": pl.Int8, "labels": pl.List(pl.String)})
    log = pl.DataFrame(events, schema=["user_id", "item_id", "time"], orient="row")
    return Tables(table, log, items)


def write(
    folder: Path,
    tables: Tables,
    *,
    history: tuple[str, ...] = RESPONSE_KINDS,
    rows_per_group: int = 150,
) -> Task:
    """The task of these tables."""
    return write_task(
        folder,
        name="small",
        protocol="made up",
        data_hash="0" * 64,
        rows=tables.rows,
        events=tables.events,
        items=tables.items,
        features=FEATURES,
        history=history,
        rows_per_group=rows_per_group,
    )
