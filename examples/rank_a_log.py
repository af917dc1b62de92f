"""From a log in CSV files to a ranker that scores new rows: the way for data of your own.

The log here is invented: each shopper likes one type of product and clicks it far more often.
"""

from __future__ import annotations

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

import adwright as aw
from adwright.data.sources.log import read_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task

NAMES = ["green tea", "black tea", "plum jam", "fig jam", "brown rice", "wild rice"]


def write_csv(log: Path, items: Path) -> None:
    """An invented log of impressions and clicks, and its catalogue."""
    rng = random.Random(1)
    with items.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title", "type"])
        writer.writerows((f"i{n}", name, name.split()[1]) for n, name in enumerate(NAMES))
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["event_id", "time", "request_id", "user_id", "kind", "item_id"])
        for n in range(3000):
            user, item = n % 30, rng.randrange(6)
            time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=20 * n)
            event = [f"r{n}", f"u{user}", "impression", f"i{item}"]
            writer.writerow([f"s{n}", time.isoformat(), *event])
            if rng.random() < (0.6 if item // 2 == user % 3 else 0.05):
                event[2] = "click"
                writer.writerow([f"c{n}", (time + timedelta(seconds=5)).isoformat(), *event])


def main() -> None:
    """Read, train, and ask."""
    write_csv(Path("log.csv"), Path("items.csv"))

    # Every row is checked; the first bad one would be named by file, row and column.
    log = read_log(Path("log.csv"), items=Path("items.csv"))
    config = LogTaskConfig(responses=("click",), history=("click",))
    task = build_log_task(log.events, log.catalogue, "tasks", config)

    ranker = aw.train(task, fit=aw.FitConfig(epochs=3), draws=200, out="runs/mine")
    print(ranker.report.table() if ranker.report else "")

    # What would shopper u1 be shown now? All that a row needs, but the item, is the same.
    now = datetime(2024, 3, 1, tzinfo=UTC)
    clicks = log.events.filter(kind="click", user_id="u1").collect()
    candidates = pl.DataFrame({"item_id": [f"i{n}" for n in range(6)]}).with_columns(
        time=pl.lit(now), popularity=pl.lit(100.0)
    )
    best = ranker.recommend(clicks, candidates, k=3)
    print(best)
    print(ranker.explain(clicks, best["item_id"][0]))


if __name__ == "__main__":
    main()
