"""The loop by commands: 5,000 decisions and events, compacted, retrained, served again (5 minutes).

    python -m benchmarks.service.loop

MovieLens latest-small is served by SASRec; people take the first item every other time, so that
the new model has something to learn. Every count and propensity is checked, not only reported.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.core.hashing import content_hash
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log
from adwright.metrics.reports.comparison import RankingComparison
from benchmarks.common.result import write_result
from tests.support.service.served_loop import PLACES, PlayedLoop, play_loop

RUN = """draws = 500
threads = 1
[model]
width = 48
max_length = 100
heads = 2
[fit]
epochs = 10
batch = 64
patience = 2
all_windows = true
"""
PROTOCOL = (
    "MovieLens latest-small (100,836 ratings, each taken as a purchase at its time) is imported, "
    "SASRec is trained, published and served over HTTP from SQLite by one process, with a softmax "
    "policy of temperature 1. Users of the log ask for five places, one every 30 simulated "
    "seconds, and take the first one every other time. What the service wrote is compacted, the "
    "model is trained again on both logs with the same settings, compared with the old one on "
    "what users did last, and published; the running service takes it up. All of it by commands. "
    "propensity_error: the greatest difference between a propensity that was answered and the one "
    "that was written. lost: places, events or histories that are missing anywhere."
)


def main() -> None:
    """Play the loop, check it, and write loop.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=5_000)
    parser.add_argument("--keep", type=Path, help="Keep what was made in this new folder.")
    arguments = parser.parse_args()
    log = movielens(Path(os.environ["ADWRIGHT_DATA"]) / "ml-latest-small")
    with tempfile.TemporaryDirectory(prefix="adwright-loop-") as scratch:
        folder = Path(scratch) if arguments.keep is None else arguments.keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        here, began, cpu = Path.cwd(), time.perf_counter(), time.process_time()
        os.chdir(folder)
        try:
            played = play_loop(folder, log, RUN, decisions=arguments.decisions)
        finally:
            os.chdir(here)
        figures: dict[str, Any] = checked(played, folder, log, arguments.decisions)
        figures["seconds"] = time.perf_counter() - began
        figures["cpu_seconds"] = time.process_time() - cpu
    print(played.retrained)
    data = content_hash({"events": str(log.events.collect().hash_rows(0).sum())})
    write_result("loop", protocol=PROTOCOL, data=data, seeds=[0], rows=[], figures=figures)


def movielens(folder: Path) -> Log:
    """The ratings as purchases."""
    table = pl.read_csv(folder / "ratings.csv").rename({"movieId": "Id"}, strict=False)
    events = table.select(
        event_id=pl.format("r{}", pl.int_range(pl.len())),
        time=pl.from_epoch("timestamp", "s").dt.replace_time_zone("UTC"),
        request_id=pl.format("{}-{}", "userId", "timestamp"),
        user_id=pl.col("userId").cast(pl.String),
        kind=pl.lit("purchase"),
        item_id=pl.col("Id").cast(pl.String),
        value=pl.col("rating"),
    )
    items = events.select(pl.col("item_id").unique().sort())
    return Log(validate_events(events).lazy(), Catalogue.checked(items))


def checked(played: PlayedLoop, folder: Path, log: Log, decisions: int) -> dict[str, Any]:
    """The figures; raises AssertionError where something was lost."""
    written = played.served.filter(kind="impression")
    keys = ["request_id", "position", "item_id"]
    both = played.shown.join(written, on=keys, suffix="_written")
    error = np.abs(both["propensity"].to_numpy() - both["propensity_written"].to_numpy()).max()
    joined = pl.read_parquet(folder / "runs" / "b" / "log" / "events.parquet")
    bought = joined.filter(kind="purchase").height
    lost = {
        "places": decisions * PLACES - both.height,
        "events": played.sent - played.served.filter(kind="purchase").height,
        "log": log.events.collect().height + played.served.height - joined.height,
        "histories": bought - played.decided[1],
        "left": played.left,
    }
    if any(lost.values()) or error != 0 or played.decided[0] != "v2":
        raise AssertionError(json.dumps({"lost": lost, "error": error, "by": played.decided[0]}))
    text = (folder / "runs" / "b" / "retrained.json").read_text("utf-8")
    comparison = RankingComparison.from_json(text)
    lead = comparison.differences["old"]["ndcg@10"]
    return {
        "decisions": decisions,
        "places": both.height,
        "events": played.sent,
        "propensity_error": float(error),
        "lost": sum(lost.values()),
        "old_ndcg10": comparison.reports["old"].metrics["ndcg@10"].value,
        "new_ndcg10": comparison.reports["new"].metrics["ndcg@10"].value,
        "lead_ndcg10": lead.value,
        "lead_ndcg10_ci": [lead.low, lead.high],
    }


if __name__ == "__main__":
    main()
