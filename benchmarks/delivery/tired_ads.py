"""Which ads are called tired: how often wrongly, and how many that are, on made-up days (1 minute).

    python -m benchmarks.delivery.tired_ads

Ads come and go over 40 days with some 80 impressions a day, a click rate of 5%, log rates spread by
0.4, and a season that all share. `wrong`: share of looks at ads that never tire which call them
tired, at the level of 1%. `found`: share of ads called tired whose rate falls to 30% after 40% of
their impressions. With few ads the season is little known; of two, the second comes after a third
of the days, when much of the fall is over. `Thompson`: 15 items with three ads each
of which Thompson sampling shows 150 a day in all, which shows more of what began well by luck; of
one look at the end, and of any of nine looks, four days apart.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.campaigns.wanted import AdDays, tired_creatives
from adwright.core.hashing import content_hash
from benchmarks.common.result import RESULTS, write_result

DAYS = 40
AGE = np.arange(DAYS) / DAYS
SEASONS = {
    "none": np.ones(DAYS),
    "weekdays": 1 + 0.4 * np.sin(np.arange(DAYS) * 2 * np.pi / 7),
    "a wave": 1 + 0.5 * np.cos(AGE * 2 * np.pi),
    "a fall by two thirds": np.linspace(1.5, 0.5, DAYS),
}
ADS = (1, 2, 3, 30)
Floats = NDArray[np.float64]


def came_and_went(rng: np.random.Generator, season: Floats, ads: int, *, tired: int) -> AdDays:
    """Days of ads, of which the first `tired` tire."""
    n = rng.poisson(80, (ads, DAYS)).astype(np.float64)
    n[1::3, : DAYS // 3] = 0
    n[2::3, 2 * DAYS // 3 :] = 0
    rate = 0.05 * np.exp(rng.normal(0, 0.4, ads))[:, None] * season
    age = np.cumsum(n, 1) / n.sum(1, keepdims=True)
    rate[:tired] *= np.where(age[:tired] > 0.4, 0.3, 1.0)
    took = rng.binomial(n.astype(int), np.minimum(rate, 1)).astype(np.float64)
    return AdDays(tuple(f"c{at:02d}" for at in range(ads)), n, took, Counter())


def by_thompson(rng: np.random.Generator, season: Floats) -> AdDays:
    """Days of ads that never tire, as Thompson sampling shows them."""
    items, each, a_day = 15, 3, 150
    shown, took = np.zeros((2, items * each, DAYS))
    rate = 0.05 * np.exp(rng.normal(0, 0.3, items * each))
    good, bad = np.full(items * each, 2.0), np.full(items * each, 38.0)
    for day in range(DAYS):
        for item in range(items):
            mine = slice(item * each, (item + 1) * each)
            best = rng.beta(good[mine], bad[mine], (a_day, each)).argmax(1)
            n = np.bincount(best, minlength=each)
            clicks = rng.binomial(n, np.minimum(rate[mine] * season[day], 1))
            shown[mine, day], took[mine, day] = n, clicks
            good[mine] += clicks
            bad[mine] += n - clicks
    return AdDays(tuple(f"c{at:02d}" for at in range(items * each)), shown, took, Counter())


def until(days: AdDays, day: int) -> AdDays:
    """The days before one."""
    return AdDays(days.ads, days.shown[:, :day], days.responses[:, :day], days.items)


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows, figures = [], {}
    for name, season in SEASONS.items():
        for ads in ADS:
            rng, times = np.random.default_rng(ads), 3000 // ads
            calm = sum(
                len(tired_creatives(came_and_went(rng, season, ads, tired=0))) for _ in range(times)
            )
            found = [tired_creatives(came_and_went(rng, season, ads, tired=1)) for _ in range(200)]
            hit = sum(any(one.creative_id == "c00" for one in some) for some in found)
            rows.append(
                {"season": name, "ads": ads, "wrong": calm / (times * ads), "found": hit / 200}
            )
    many = [row for row in rows if row["ads"] == max(ADS)]
    figures["wrong_30_ads_most"] = max(float(str(row["wrong"])) for row in many)
    figures["found_30_ads_least"] = min(float(str(row["found"])) for row in many)
    looks = once = ever = 0
    for seed in range(40):
        days = by_thompson(np.random.default_rng(seed), SEASONS["a wave"])
        looks += len(days.ads)
        once += len(tired_creatives(days))
        ever += len(
            {
                one.creative_id
                for day in range(8, DAYS + 1, 4)
                for one in tired_creatives(until(days, day))
            }
        )
    figures["wrong_thompson_one_look"] = once / looks
    figures["wrong_thompson_nine_looks"] = ever / looks
    write_result(
        "tired_ads",
        protocol=str(__doc__).rpartition("\n\n")[2].replace("\n", " ").strip(),
        data=content_hash(sorted(SEASONS)),
        seeds=[*ADS, *range(40)],
        rows=rows,
        figures=figures,
        folder=chosen.out,
    )


if __name__ == "__main__":
    main()
