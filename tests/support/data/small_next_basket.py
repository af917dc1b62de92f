"""A small next-basket task, written out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from adwright.data.features import Feature
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits

START = datetime(2026, 1, 5, 9, tzinfo=UTC)  # a Monday

FEATURES = (
    Feature("item_id", "categorical", "item"),
    Feature("kind", "categorical", "item"),
    Feature("shade", "categorical", "item"),
    Feature("words", "multi", "item"),
    Feature("town", "categorical", "user"),
    *CONTEXT,
)


def catalogue(items: int = 12) -> pl.DataFrame:
    """item_id, kind (3 of them), shade (2 kinds of each), words."""
    return pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(items)],
            "kind": [f"k{n % 3}" for n in range(items)],
            "shade": [f"s{n % 6}" for n in range(items)],
            "words": [[f"w{n % 3}", f"v{n % 5}"] for n in range(items)],
        }
    )


def events_of(visits: list[tuple[str, int, list[str], str]]) -> pl.DataFrame:
    """(user, day, items, split) to the columns of build_visits."""
    rows = [
        {
            "user_id": user,
            "request_id": f"{user}-{day}-{at}",
            "item_id": item,
            "time": START + timedelta(days=day),
            "split": split,
            "town": "north" if user < "u5" else "south",
            "weekday": str(1 + day % 7),
            "hour": "9",
        }
        for at, (user, day, items, split) in enumerate(visits)
        for item in items
    ]
    return pl.DataFrame(rows)


def small_task(people: int = 10, days: int = 8, seed: int = 0) -> NextBasket:
    """People who mostly take items of one kind; the last two days are valid and test."""
    rng = np.random.default_rng(seed)
    visits = []
    for person in range(people):
        mine = [n for n in range(12) if n % 3 == person % 3]
        for day in range(days):
            split = "test" if day == days - 1 else "valid" if day == days - 2 else "train"
            items = {f"i{rng.choice(mine)}" for _ in range(2)} | {f"i{rng.integers(12)}"}
            visits.append((f"u{person}", day, sorted(items), split))
    return build_visits(
        events_of(visits),
        catalogue(),
        name="small",
        protocol="by hand",
        data_hash=f"small-{people}-{days}-{seed}",
        features=FEATURES,
    )


def with_few_labels(task: NextBasket, visits: int = 12) -> NextBasket:
    """The task with so many of its training visits, and items 1 and 2 in none of them."""
    train = task.visits("train")
    owner = np.repeat(np.arange(len(task)), np.diff(task.target_offsets))
    barred = np.unique(owner[task.targets <= 2])
    kept = np.setdiff1d(train, barred)[:visits]
    split = task.split.copy()
    split[np.setdiff1d(train, kept)] = -1
    count = np.bincount(task.targets[np.isin(owner, kept)], minlength=len(task.items))
    return replace(task, split=split, count=count, data_hash=f"{task.data_hash}-few")
