"""A small invented delivery record."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

FIRST = date(2024, 1, 1)  # a Monday
DAYS = 80


def record(creatives: int = 80, seed: int = 0) -> pl.DataFrame:
    """A row a creative, placement and day; lives of a geometric length, with days left out."""
    rng = np.random.default_rng(seed)
    starts = np.random.default_rng(0).integers(0, 70, creatives)  # alike for any seed
    rows = []
    for creative, start in enumerate(starts.tolist()):
        for day in range(start, min(start + int(rng.geometric(0.08)), DAYS)):
            for placement in ("feed", "story")[: int(rng.integers(0, 3))]:
                shown = int(rng.integers(1, 200))
                rows.append(
                    {
                        "creative_id": f"c{creative:03}",
                        "campaign_id": f"k{creative % 5}",
                        "account_id": f"a{creative % 2}",
                        "placement": placement,
                        "day": FIRST + timedelta(days=day),
                        "impressions": shown,
                        "clicks": int(rng.binomial(shown, 0.05)),
                        "spend": round(float(rng.gamma(2.0)), 2),
                        "conversions": float(rng.integers(0, 2)) / 4,
                        "conversion_value": round(float(rng.random()), 2),
                    }
                )
    return pl.DataFrame(rows)
