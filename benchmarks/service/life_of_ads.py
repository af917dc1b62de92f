"""What the loop gains over the ads of the first day, with simulated people (5 seeds, 30 minutes).

    python -m benchmarks.service.life_of_ads            what is missing, and the result
    python -m benchmarks.service.life_of_ads --seeds 1  less

Runs the main demonstration by its defaults (`adwright demo`), once a seed; once with an ad planted
that is much worse than the others; and once with two arms that are the same, whose people are dealt
anew a thousand times.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from typer.main import get_command

from adwright.campaigns.ad_results import losing_ads
from adwright.campaigns.store.store import Store
from adwright.cli.app import app
from adwright.cli.demo import run_verb
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.demos.loop import (
    BUDGET,
    LOOP,
    PLANTED,
    STATIC,
    TENANT,
    AdLifeConfig,
    AdLifeResult,
    lift_of,
    loop_demo,
)
from adwright.metrics.bootstrap import Interval, MethodInterval, with_seeds
from benchmarks.common.result import RESULTS, Figure, Lead, write_result

NAME = "life_of_ads"
KEPT = RESULTS / "cells" / NAME
#: What is planted, in log-odds of a click; the chance that it is down by then, as said beforehand.
PLANTED_ODDS, SAID = -2.0, 0.95
DEALS = 1_000
SEEDS = range(10, 15)
PROTOCOL = (
    "`adwright demo` by its defaults: simulated people, fitted on Complete Journey, meet a shop "
    "of 8 products for four weeks. Half of them meet the ads of the first day, each as often as "
    "any; the other half what the loop makes of them. Ads of an item differ by a normal taste "
    "(0.3 log-odds), of which 30% follows from words; the odds of a click fall with (1 + times "
    "seen)^-0.3: assumed, as is all that docs/simulation.md says. lift: clicks an impression of "
    "ads, loop over static, less 1; what people bought before is taken off; 95% over seeds and "
    "people. The rules of the loop, how many products there are, and how people click were "
    "settled on seeds 0 to 9 and 100. planted: an ad 2 log-odds worse than the usual one is "
    "entered for the best-selling product; said: impressions by which the rule that stops ads "
    "takes down 95% of such ads where all are shown alike, by simulation of the rule before the "
    "run, and a day of impressions, since it looks at night. A/A: both arms alike; people are "
    "dealt anew 1,000 times, false alarms are intervals of the lift that leave out 0."
)


def main() -> None:
    """Run what is missing, and write benchmarks/results/life_of_ads.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--folder", type=Path, default=Path("runs/life_of_ads"))
    parser.add_argument("--only", default="", help="a run alone: seed3, planted, same")
    asked = parser.parse_args()
    if asked.only:
        cell(asked.only, asked.folder)
        return
    rows = [cell(f"seed{seed}", asked.folder) for seed in SEEDS[: asked.seeds]]
    planted = cell("planted", asked.folder)
    same = cell("same", asked.folder)
    logs = np.log1p([row["lift"] for row in rows])
    errors = [
        (np.log1p(row["lift_high"]) - np.log1p(row["lift_low"])) / 2 for row in rows
    ]  # of one seed, over people
    half = float(np.sqrt(np.square(errors).sum())) / len(rows)
    mean = float(logs.mean())
    over = with_seeds(Interval(mean, mean - half, mean + half), logs)
    value, low, high = (float(np.expm1(one)) for one in (over.value, over.low, over.high))
    lift = MethodInterval(value, low, high, over.seeds)
    lead = Lead(
        "lift", "the loop", "the ads of the first day", "clicks an impression", "people", lift
    )
    figures: dict[str, Figure] = {
        **lead.figures(),
        "seeds_ahead": sum(row["lift"] > 0 for row in rows),
        "cpu_seconds": float(np.mean([row["cpu_seconds"] for row in rows])),
        "seconds": float(np.mean([row["seconds"] for row in rows])),
        "budget_exceeded": sum(row["budget_exceeded"] for row in (*rows, planted, same)),
        "planted_said": planted["said"],
        "planted_shown": planted["planted_shown"],
        "planted_stopped": planted["planted_stopped"],
        "same_false_alarms": same["false_alarms"],
    }
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=content_hash({"log": "complete-journey"}),
        seeds=SEEDS[: len(rows)],
        rows=[*rows, planted, same],
        figures=figures,
        leads=[lead],
    )


_ENDS = ("value", "low", "high")


def cell(name: str, folder: Path) -> dict[str, Any]:
    """A run, once: what it found is kept."""
    usual: dict[str, Any] = {"planted": {"planted": PLANTED_ODDS}, "same": {"acts": False}}
    changes = usual.get(name) or {"seed": int(name.removeprefix("seed"))}
    path = KEPT / f"{name}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    config = AdLifeConfig(out=folder / name, offline=True, **changes)
    said = planted_bound(folder / f"seed{SEEDS[0]}") if config.planted is not None else None
    began = time.monotonic(), time.process_time()
    result = loop_demo(config, partial(run_verb, get_command(app)), print)
    row = {
        "run": name,
        "seed": config.seed,
        "wear": config.appeal.wear,
        "seconds": time.monotonic() - began[0],
        "cpu_seconds": time.process_time() - began[1],
        "visits": result.visits,
        **{f"lift{at}": getattr(result.lift, end) for at, end in zip(_AT, _ENDS, strict=True)},
        **_arms(result),
        "budget_exceeded": int((result.spend["spent"] > BUDGET).sum()),
        "written": result.ads.filter(campaign_id=LOOP).height,
        "stopped": result.ads.filter(campaign_id=LOOP, state="stopped").height,
    }
    if config.planted is not None:
        ad = result.ads.row(by_predicate=pl.col("creative_id") == PLANTED, named=True)
        row |= {
            "said": said,
            "planted_shown": ad["impressions"],
            "planted_stopped": int(ad["state"] == "stopped"),
        }
    if not config.acts:
        row["false_alarms"] = false_alarms(config.out, result)
    atomic_write_text(path, json.dumps(row, indent=1) + "\n")
    return row


_AT = ("", "_low", "_high")


def _arms(result: AdLifeResult) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for arm in (STATIC, LOOP):
        mine = result.ads.filter(campaign_id=arm)
        shown, clicked = int(mine["impressions"].sum()), int(mine["clicks"].sum())
        found |= {f"{arm}_shown": shown, f"{arm}_clicked": clicked}
    return found


def planted_bound(folder: Path, worlds: int = 400) -> int:
    """Impressions after which the rule that stops ads has taken down SAID of the ads as bad as the
    planted one, beside four usual ones shown as often; and a day of what the item is shown.

    folder: of a run, for how often the best-selling product is clicked and shown.
    """
    products = pl.read_csv(folder / "products.csv", infer_schema_length=0)
    with Store.open(f"sqlite:///{(folder / 'adwright.db').resolve()}") as store:
        events = store.log(TENANT, folder / "compacted").filter(
            pl.col("campaign_id") == STATIC, pl.col("item_id") == products["id"][0]
        )
        counted = events.group_by("kind").len().collect()
        days = events.select(pl.col("time").dt.date().n_unique()).collect().item()
    counts = dict(counted.iter_rows())
    rate = counts["click"] / counts["impression"]
    odds = rate / (1 - rate) * np.exp([PLANTED_ODDS, *[0.0] * 4])
    p, rng = odds / (1 + odds), np.random.default_rng(0)
    steps = np.arange(10, 2_000, 10)
    down = np.zeros(len(steps))
    for _ in range(worlds):
        clicks = rng.binomial(10, p[:, None], (5, len(steps))).cumsum(1)
        for at, shown in enumerate(steps.tolist()):
            if _is_losing(shown, clicks[:, at]):
                down[at:] += 1
                break
    enough = np.flatnonzero(down >= SAID * worlds)
    a_day = counts["impression"] / days / 4
    return int(steps[enough[0]] + a_day) if len(enough) else -1


def _is_losing(shown: int, clicks: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    table = pl.DataFrame(
        {
            "creative_id": [PLANTED, *(f"ad{n}" for n in range(4))],
            "item_id": ["item"] * 5,
            "campaign_id": [LOOP] * 5,
            "state": ["live"] * 5,
            "impressions": [shown] * 5,
            "clicks": clicks,
        }
    )
    return any(one.creative_id == PLANTED for one in losing_ads(table))


def false_alarms(folder: Path, result: AdLifeResult) -> float:
    """Share of deals of the people of an A/A whose interval leaves out 0."""
    with Store.open(f"sqlite:///{(folder / 'adwright.db').resolve()}") as store:
        log = store.log(TENANT, folder / "compacted")
        events = log.filter(pl.col("creative_id").is_not_null()).collect()
    users = events["user_id"].unique().sort()
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(DEALS):
        arms = np.where(rng.random(len(users)) < 0.5, STATIC, LOOP)
        dealt = events.with_columns(
            campaign_id=pl.col("user_id").replace_strict(users, pl.Series(arms))
        )
        wrong += lift_of(dealt, result.before).excludes(0)
    return wrong / DEALS


if __name__ == "__main__":
    main()
