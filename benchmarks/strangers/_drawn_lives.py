"""Ads whose lives are drawn: daily delivery as a platform exports it, and what is true of them."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

_DAY = dt.date(2025, 3, 1)


def drawn_ads(seed: int, *, ads: int = 400, days: int = 180, times: float = 1.0) -> pl.DataFrame:
    """A row an ad and day. A life ends with a hazard of .03 a day, whatever its age; of half of
    the ads, those of format "video", `times` that: 1 is nothing to learn."""
    rng = np.random.default_rng([seed, ads, days])
    format_ = rng.choice(["image", "video"], ads)
    hazard = 0.03 * np.where(format_ == "video", times, 1.0)
    start = rng.integers(-60, days - 2, ads)
    life = rng.geometric(hazard)
    volume = np.exp(rng.normal(7, 1, ads))
    rate = rng.beta(20, 1200, ads)
    made = pl.DataFrame(
        {
            "ad_id": [f"ad{at}" for at in range(ads)],
            "campaign_id": [f"c{one}" for one in rng.integers(0, 20, ads)],
            "format": format_,
            "placement": rng.choice(["feed", "stories", "reels"], ads),
            "audience": rng.choice(["broad", "lookalike", "retargeting"], ads),
            "start": start,
            "age": [list(range(one)) for one in life.tolist()],
            "volume": volume,
            "rate": rate,
        }
    ).explode("age")
    made = made.with_columns(day=pl.col("start") + pl.col("age")).filter(
        (pl.col("day") >= 0) & (pl.col("day") < days)
    )
    shown = np.maximum(rng.poisson(made["volume"].to_numpy()), 1)
    clicks = rng.binomial(shown, made["rate"].to_numpy())
    bought = rng.binomial(clicks, 0.05)
    spend = np.round(shown * 0.008 * np.exp(rng.normal(0, 0.2, len(shown))), 2) + 0.01
    return made.select(
        "ad_id",
        "campaign_id",
        "format",
        "placement",
        "audience",
        date=pl.lit(_DAY) + pl.duration(days=pl.col("day")),
        impressions=pl.Series(shown),
        clicks=pl.Series(clicks),
        spend=pl.Series(spend),
        conversions=pl.Series(bought),
        conversion_value=pl.Series(bought * 30.0),
    )
