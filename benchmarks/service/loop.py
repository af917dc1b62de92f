"""The loop by commands: 5,000 decisions and events, compacted, retrained, served anew (10 minutes).

    python -m benchmarks.service.loop                        # SASRec, item-item and a cascade
    python -m benchmarks.service.loop --only item-item       # one; rows of the others stay

Users of MovieLens latest-small come back and take what they really took next, whether it was
offered or not, so that what a new model learns can be told from what the old one showed. Every
count and propensity is checked, not only reported.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from adwright.core.hashing import content_hash
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log
from adwright.metrics.reports.comparison import RankingComparison
from benchmarks.common.result import RESULTS, write_result
from tests.support.service.served_loop import PLACES, PlayedLoop, play_loop

Served = Literal["sasrec", "item-item", "cascade"]
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
TRAIN: Mapping[Served, tuple[str, ...]] = {
    "sasrec": ("sasrec", "run.toml", "--events", "log"),
    "item-item": ("item-item", "log"),
    "cascade": ("cascade", "log", "--minutes", "2"),
}
#: The latest events of a user that are kept back, at most, and as a share of all of them.
LATEST, SHARE = 12, 0.3
PROTOCOL = (
    "MovieLens latest-small (100,836 ratings, each taken as a purchase at its time), but for the "
    f"latest {LATEST} of each user, is imported, a model is trained, published and served over "
    "HTTP from SQLite by one process, with a softmax policy of temperature 1. The users come "
    "back, one every 30 simulated seconds, are shown five places, and take what they really took "
    "next, in its order. What the service wrote is compacted, the model is trained again on both "
    "logs with the same settings, compared with the old one on what users did last, and "
    "published; the running service takes it up. All of it by commands, for each model. "
    "propensity_error: the greatest difference between a propensity that was answered and the one "
    "that was written. lost: places, events or histories that are missing anywhere. slated: the "
    "share of what was taken that was on the slate. lead: new minus old, 95% interval over users."
)


def main() -> None:
    """Play the loops, check them, and write loop.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=5_000)
    parser.add_argument("--only", nargs="*", choices=get_args(Served), default=get_args(Served))
    parser.add_argument("--keep", type=Path, help="Keep what was made in this new folder.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    whole = movielens(Path(os.environ["ADWRIGHT_DATA"]) / "ml-latest-small")
    log, future = split(whole)
    rows = [row for row in before(arguments.results) if row["model"] not in arguments.only]
    for name in arguments.only:
        rows.append({"model": name, **played(name, log, future, arguments)})
        print(rows[-1], flush=True)
    data = content_hash({"events": str(whole.events.collect().hash_rows(0).sum())})
    write_result(
        "loop",
        protocol=PROTOCOL,
        data=data,
        seeds=[0],
        rows=rows,
        figures=figures(rows),
        folder=arguments.results,
    )


def played(
    name: Served, log: Log, future: pl.DataFrame, arguments: argparse.Namespace
) -> dict[str, Any]:
    """A row: the loop of one model."""
    with tempfile.TemporaryDirectory(prefix="adwright-loop-") as scratch:
        folder = Path(scratch) if arguments.keep is None else arguments.keep.resolve() / name
        folder.mkdir(parents=True, exist_ok=True)
        here, began, cpu = Path.cwd(), time.perf_counter(), time.process_time()
        os.chdir(folder)
        try:
            found = play_loop(
                folder,
                log,
                TRAIN[name],
                run_file=RUN,
                decisions=arguments.decisions,
                future=future,
            )
        finally:
            os.chdir(here)
        print(found.retrained)
        row = checked(found, folder, log, arguments.decisions)
    row["seconds"] = time.perf_counter() - began
    row["cpu_seconds"] = time.process_time() - cpu
    return row


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


def split(log: Log) -> tuple[Log, pl.DataFrame]:
    """The log without the latest events of each user, and these: who comes, in an order that is
    drawn, and takes what, in the user's own order."""
    table = log.events.collect().sort("user_id", "time", "event_id")
    left = pl.int_range(pl.len(), 0, -1).over("user_id")
    kept_back = left <= (pl.len().over("user_id") * SHARE).clip(upper_bound=LATEST)
    old, late = table.filter(~kept_back), table.filter(kept_back)
    users = late["user_id"].sample(fraction=1, shuffle=True, seed=0)
    nth = pl.int_range(pl.len()).over("user_id")
    coming = pl.DataFrame({"user_id": users}).with_columns(nth=nth)
    taken = late.select("user_id", "item_id", nth=nth)
    future = coming.join(taken, on=["user_id", "nth"], maintain_order="left")
    return Log(old.lazy(), log.catalogue), future.select("user_id", "item_id")


def checked(played: PlayedLoop, folder: Path, log: Log, decisions: int) -> dict[str, Any]:
    """What was measured; raises AssertionError where something was lost."""
    written = played.served.filter(kind="impression")
    taken = played.served.filter(kind="purchase")
    keys = ["request_id", "position", "item_id"]
    both = played.shown.join(written, on=keys, suffix="_written")
    error = np.abs(both["propensity"].to_numpy() - both["propensity_written"].to_numpy()).max()
    joined = pl.read_parquet(folder / "runs" / "b" / "log" / "events.parquet")
    bought = joined.filter(kind="purchase").height
    lost = {
        "places": decisions * PLACES - both.height,
        "events": played.sent - taken.height,
        "log": log.events.collect().height + played.served.height - joined.height,
        "histories": bought - played.decided[1],
        "left": played.left,
    }
    if any(lost.values()) or error != 0 or played.decided[0] != "v2":
        raise AssertionError(json.dumps({"lost": lost, "error": error, "by": played.decided[0]}))
    text = (folder / "runs" / "b" / "retrained.json").read_text("utf-8")
    comparison = RankingComparison.from_json(text)
    lead = comparison.differences["old"]["ndcg@10"]
    slates = written.select("request_id", "item_id").unique()
    return {
        "decisions": decisions,
        "places": both.height,
        "events": played.sent,
        "propensity_error": float(error),
        "lost": sum(lost.values()),
        "slated": taken.join(slates, on=["request_id", "item_id"], how="semi").height
        / taken.height,
        "old_ndcg10": comparison.reports["old"].metrics["ndcg@10"].value,
        "new_ndcg10": comparison.reports["new"].metrics["ndcg@10"].value,
        "lead_ndcg10": lead.value,
        "lead_ndcg10_ci": [lead.low, lead.high],
        "users": comparison.reports["new"].users,
    }


def before(folder: Path) -> list[dict[str, Any]]:
    """The rows that were measured before."""
    path = folder / "loop.json"
    rows: list[dict[str, Any]] = (
        json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    )
    return rows


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all loops together, and of each model what the new one leads by."""
    found: dict[str, Any] = {
        "loops": len(rows),
        "decisions": sum(row["decisions"] for row in rows),
        "places": sum(row["places"] for row in rows),
        "events": sum(row["events"] for row in rows),
        "propensity_error": max(row["propensity_error"] for row in rows),
        "lost": sum(row["lost"] for row in rows),
        "new_not_worse": sum(row["lead_ndcg10_ci"][1] >= 0 for row in rows),
    }
    for row in rows:
        name = row["model"].replace("-", "_")
        for key in ("old_ndcg10", "new_ndcg10", "lead_ndcg10_ci", "cpu_seconds"):
            found[f"{name}_{key}"] = row[key]
    return found


if __name__ == "__main__":
    main()
