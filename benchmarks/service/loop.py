"""The loop by commands: 5,000 decisions and events, compacted, retrained, served anew (10 minutes);
and five turns of it with the gate, on two real logs and in the simulator (10 minutes).

    python -m benchmarks.service.loop                        # SASRec, item-item, a cascade, turns
    python -m benchmarks.service.loop --only item-item       # one; rows of the others stay
    python -m benchmarks.service.loop --only ml-latest-small movietweetings simulator

Users of MovieLens latest-small come back and take what they really took next, whether it was
offered or not, so that what a new model learns can be told from what the old one showed. Every
count and propensity is checked, not only reported.

In five turns of a world (see `_turns`) the model that decides is trained again with --publish by
its defaults. One turn also trains popularity on a log whose items are mixed up, another on feeds
with events of the future, with a flood of one item, and that run dry; none may be published.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from adwright.core.hashing import content_hash
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log
from adwright.delivery.retraining.retrain import MARGIN
from adwright.metrics.reports.report import RankingComparison
from benchmarks.common.result import RESULTS, write_result
from benchmarks.service._turns import CutLog, Simulated, World, play_turns
from tests.support.service.served_loop import PLACES, PlayedLoop, play_loop

Served = Literal["sasrec", "item-item", "cascade"]
Played = Literal["ml-latest-small", "movietweetings", "simulator"]
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
    "share of what was taken that was on the slate. lead: new minus old, 95% interval over users, "
    "on what neither was fitted on; new_not_worse: how many the gate would publish. Rows of a "
    "world: five turns of item-item by `retrain --publish` and its defaults, on ratings by time "
    "(half of them are the log, 7% come in a turn) and in the simulator (15% of Complete Journey's "
    "households, a sixth of eight weeks). lead: what the new model is worth over what the one that "
    "decided is worth, minus 1, published or not: NDCG@10 on what came in the next turn, "
    "or in the simulator what those who come next take of ten items on average. planted: whether "
    "popularity of a log with its items mixed up, or one of three broken feeds was published."
)


def main() -> None:
    """Play the loops, check them, and write loop.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=5_000)
    choices = (*get_args(Served), *get_args(Played))
    parser.add_argument("--only", nargs="*", choices=choices, default=choices)
    parser.add_argument("--keep", type=Path, help="Keep what was made in this new folder.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    whole = movielens(Path(os.environ["ADWRIGHT_DATA"]) / "ml-latest-small")
    log, future = split(whole)
    data = content_hash({"events": str(whole.events.collect().hash_rows(0).sum())})
    for name in arguments.only:
        rows = [row for row in before(arguments.results) if name_of(row) != name]
        if name in get_args(Played):
            rows.append(turned(name))
        else:
            rows.append({"model": name, **played(name, log, future, arguments)})
        print(rows[-1], flush=True)
        write_result(
            "loop",
            protocol=PROTOCOL,
            data=data,
            seeds=[0],
            rows=rows,
            figures=figures(rows),
            folder=arguments.results,
        )


def name_of(row: Mapping[str, Any]) -> str:
    """What --only calls it."""
    return str(row.get("world", row["model"]))


def turned(name: Played) -> dict[str, Any]:
    """A row: the turns of item-item in a world."""
    folder = Path(os.environ["ADWRIGHT_DATA"])
    here, cpu = Path.cwd(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="adwright-turns-") as scratch:
        match name:
            case "ml-latest-small":
                world: World = CutLog(name, ratings(folder / name))
            case "movietweetings":
                world = CutLog(name, tweets(folder / name))
            case "simulator":
                world = Simulated()
        os.chdir(scratch)
        try:
            turns, planted = play_turns(world, TRAIN["item-item"])
        finally:
            os.chdir(here)
    return {
        "world": name,
        "model": "item-item",
        "turns": [{**asdict(one), "lead": one.lead} for one in turns],
        "planted": planted,
        "cpu_seconds": time.process_time() - cpu,
    }


def ratings(folder: Path) -> pl.DataFrame:
    """MovieLens: who rated what when."""
    table = pl.read_csv(folder / "ratings.csv").rename({"movieId": "Id"}, strict=False)
    return taken(table, "userId", "Id", "timestamp")


def tweets(folder: Path) -> pl.DataFrame:
    """MovieTweetings: the same."""
    table = pl.read_csv(folder / "ratings.dat", separator=":", has_header=False)
    return taken(table, *(table.columns[place] for place in (0, 2, 6)))


def taken(table: pl.DataFrame, user: str, item: str, second: str) -> pl.DataFrame:
    """user_id, item_id and time."""
    return table.select(
        user_id=pl.col(user).cast(pl.String),
        item_id=pl.col(item).cast(pl.String),
        time=pl.from_epoch(second, "s").dt.replace_time_zone("UTC"),
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
    gate = json.loads((folder / "runs" / "b" / "gate.json").read_text("utf-8"))
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
        "decision": gate["decision"],
    }


def before(folder: Path) -> list[dict[str, Any]]:
    """The rows that were measured before."""
    path = folder / "loop.json"
    rows: list[dict[str, Any]] = (
        json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    )
    return rows


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all loops together, of each model what the new one leads by, and of all turns what was
    published."""
    loops = [row for row in rows if "world" not in row]
    worlds = [row for row in rows if "world" in row]
    found: dict[str, Any] = {
        "loops": len(loops),
        **{
            key: sum(row[key] for row in loops) for key in ("decisions", "places", "events", "lost")
        },
        "propensity_error": max((row["propensity_error"] for row in loops), default=0.0),
    }
    decided = [row["decision"] for row in loops if "decision" in row]
    if decided:
        found["new_not_worse"] = sum(one in ("better", "no worse") for one in decided)
    for row in loops:
        name = row["model"].replace("-", "_")
        for key in ("old_ndcg10", "new_ndcg10", "lead_ndcg10_ci", "cpu_seconds"):
            if key in row:
                found[f"{name}_{key}"] = row[key]
    if not worlds:
        return found
    refit = json.loads((RESULTS / "refit.json").read_text("utf-8"))["figures"]
    turns = [one for row in worlds for one in row["turns"]]
    leads = [one["lead"] for one in turns if one["published"]]
    return found | {
        "worlds": len(worlds),
        "turns": min(len(row["turns"]) for row in worlds),
        "published": len(leads),
        "published_below_margin": sum(lead < -MARGIN for lead in leads),
        "published_lowest_lead": min(leads, default=0.0),
        "published_mean_lead": sum(leads) / max(len(leads), 1),
        "held_back_ahead": sum(one["lead"] > 0 and not one["published"] for one in turns),
        "planted": sum(len(row["planted"]) for row in worlds),
        "bad_published": sum(sum(row["planted"].values()) for row in worlds),
        # Measured by `make bench-refit`; of what the loop serves, too.
        "served_equals_refit": refit["served_equals_refit"],
    }


if __name__ == "__main__":
    main()
