"""A log of lives that differ in what they bring, by pool and by life, made up in milliseconds."""

from __future__ import annotations

import numpy as np
import polars as pl

from adwright.creative.lifetime.retirement.lives import LifeLog

__all__ = ["small_life_log"]


def small_life_log(
    lives: int = 120, *, seed: int = 0, pools: int = 12, noise: float = 1.0, drift: float = 0.0
) -> LifeLog:
    """Weeks 1 to 20. Lives of 1 to 12 weeks, some with weeks left out; every tenth week has no
    cost. noise: standard deviation of value per cost at cost 1; drift: of its steps by week."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, pools, lives)
    level = 5 + rng.normal(size=pools)[pool] + 0.7 * rng.normal(size=lives)
    first = rng.integers(1, 18, lives)
    last = np.minimum(first + rng.geometric(0.2, lives) - 1, 20)
    rows, offsets = [], [0]
    for i in range(lives):
        now = level[i]
        for week in range(first[i], last[i] + 1):
            now += drift * rng.normal()
            if first[i] < week < last[i] and rng.random() < 0.1:
                continue
            cost = 0.0 if rng.random() < 0.1 else float(rng.integers(1, 6))
            value = max(cost * now + float(np.sqrt(cost)) * noise * rng.normal(), 0.0)
            rows.append((week, cost, value))
        offsets.append(len(rows))
    table = np.array(rows)
    return LifeLog(
        unit="week",
        ids=pl.DataFrame(
            {
                "unit_id": [f"u{i}" for i in range(lives)],
                "item_id": [f"p{i}" for i in range(lives)],
                "creative_id": [f"c{i}" for i in range(lives)],
                "name": [f"ad {i}" for i in range(lives)],
            }
        ),
        first=first.astype(np.int64),
        last=last.astype(np.int64),
        owner=pool.astype(np.int64),
        pool=(7 * pool - 3).astype(np.int64),
        period=table[:, 0].astype(np.int64),
        cost=table[:, 1],
        value=table[:, 2],
        shown=10 * table[:, 1],
        offsets=np.array(offsets, np.int64),
        cost_name="spend",
        value_name="sales",
        closed=20,
    )
