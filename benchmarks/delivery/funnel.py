"""The cascade that `adwright train cascade` builds, on five logs by its defaults (8 minutes a log).

python -m benchmarks.delivery.funnel --set lastfm     one log; rows of other logs and seeds stay
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.data.schema import Catalogue
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import Log
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.data.tasks.own.next_item import (
    REPEAT_SHARE,
    build_next_item,
    open_next_item,
    repeat_share,
)
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.funnel.report import FunnelLine, FunnelReport
from adwright.metrics.bootstrap import Interval
from benchmarks.common.result import RESULTS, write_result

SetName = Literal["lastfm", "beauty", "movielens", "ml-latest-small", "journey-tenth", "journey"]
NAME = "funnel"
PROTOCOL = (
    "adwright train cascade by its defaults, 8 minutes of wall time for all of a log. Test visits "
    "are asked once, every item a candidate; intervals: 95% by bootstrap over users, differences "
    "paired. A rule is measured over the whole catalogue, a part (one model alone) over the "
    "candidates that the sources find, served as the service answers. Not below: the upper end of "
    "the interval of the difference is not below 0."
)


def main() -> None:
    """Build and measure what was asked for, and write the rows of all that was ever measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="name", choices=get_args(SetName), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument(
        "--processor", action="store_true", help="count minutes of processor, on a busy machine"
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 for the free cores")
    parser.add_argument("--data", type=Path, default=None, help="folder of ADWRIGHT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="build anew where there is a build")
    asked = parser.parse_args()
    task, repeats = opened(asked.name, asked.data)
    rows = [
        row
        for row in before(asked.results)
        if (row["set"], row["seed"]) != (asked.name, asked.seed)
    ]
    config = FunnelConfig(minutes=asked.minutes, seed=asked.seed, threads=asked.threads)
    key = content_hash({"data": task.data_hash, "minutes": asked.minutes, "seed": asked.seed})
    run = cache_folder() / "bench" / NAME / f"{asked.name}-{key[:12]}"
    if asked.again:
        shutil.rmtree(run, ignore_errors=True)
    wall, cpu = time.perf_counter(), time.process_time()
    resume = (run / "config.json").exists()
    clock = ProcessorClock() if asked.processor else None
    built = build_funnel(task, run, config, repeats=repeats, resume=resume, tell=print, clock=clock)
    spent = {"minutes": (time.perf_counter() - wall) / 60, "cpu_s": time.process_time() - cpu}
    rows += rows_of(asked.name, asked.seed, built.report, {} if resume else spent)
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=content_hash(sorted({row["data"] for row in rows})),
        seeds=sorted({row["seed"] for row in rows}),
        rows=rows,
        figures=figures(rows),
        folder=asked.results,
    )


class ProcessorClock:
    """A clock that runs only while this process works: plans are then those of a free machine."""

    def now(self) -> datetime:
        """The instant, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of processor."""
        return time.process_time()


def opened(name: SetName, data: Path | None) -> tuple[NextBasket, bool]:
    """The task of a log, and whether items are offered again."""
    match name:
        case "journey" | "journey-tenth":
            share = 1.0 if name == "journey" else 0.1
            task = build_next_basket(CompleteJourney.open(), households=share)
            return task, repeat_share(task) >= REPEAT_SHARE
        case "movielens":
            found = open_next_item("movielens")
        case "lastfm" | "beauty":
            found = open_next_item(need(data) / name)
        case "ml-latest-small":
            found = build_next_item(ratings(need(data) / name), name=name)
    return found.task, found.choices.repeats


def need(data: Path | None) -> Path:
    """The folder of the further data sets."""
    if data is None:
        raise SystemExit("pass --data, the folder with lastfm, beauty and ml-latest-small")
    return data


def ratings(folder: Path) -> Log:
    """MovieLens small as an imported log has it: one rating a request, films with their genres."""
    table = pl.read_csv(folder / "ratings.csv").rename({"movieId": "Id"}, strict=False)
    films = pl.read_csv(folder / "movies.csv").rename({"movieId": "Id"}, strict=False)
    user, item = pl.col("userId").cast(pl.String), pl.col("Id").cast(pl.String)
    events = table.select(
        event_id=pl.concat_str(user, pl.lit("-"), item),
        time=pl.from_epoch("timestamp", "s").dt.replace_time_zone("UTC").dt.cast_time_unit("us"),
        request_id=pl.concat_str(user, pl.lit("-"), "timestamp"),
        user_id=user,
        item_id=item,
        kind=pl.lit("rating"),
        value=pl.col("rating").cast(pl.Float64),
    )
    known = films.select(item_id=item, genres=pl.col("genres").str.split("|"))
    return Log(events.lazy(), Catalogue.checked(known.unique("item_id", keep="first")))


def before(folder: Path) -> list[dict[str, Any]]:
    """The rows that were measured before."""
    path = folder / f"{NAME}.json"
    rows: list[dict[str, Any]] = (
        json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    )
    return rows


def rows_of(
    name: str, seed: int, report: FunnelReport, spent: dict[str, float]
) -> list[dict[str, Any]]:
    """A row a line of the report, what serves last."""
    return [
        {
            "set": name,
            "seed": seed,
            "name": one.name,
            "kind": one.kind,
            "items": one.items,
            "recall": ends(one, "recall"),
            "ndcg10": ends(one, "ndcg"),
            "ahead_of_best_rule": ends(one, "ahead"),
            "ms": one.ms,
            "best_rule": report.best_rule,
            "visits": report.visits,
            "data": report.data_hash,
            **(spent | {"first": report.first} if one.kind == "served" else {}),
        }
        for one in report.lines
    ]


def ends(line: FunnelLine, name: Literal["recall", "ndcg", "ahead"]) -> list[float] | None:
    """Value, low and high."""
    found: Interval | None
    match name:
        case "recall":
            found = line.recall
        case "ndcg":
            found = line.ndcg
        case "ahead":
            found = line.ahead
    return None if found is None else [found.value, found.low, found.high]


def figures(rows: list[dict[str, Any]]) -> dict[str, float | int]:
    """On how many logs what serves is not below the best rule, and minutes of the longest."""
    served = [row for row in rows if row["kind"] == "served"]
    sets = {row["set"] for row in served}
    below = {row["set"] for row in served if row["ahead_of_best_rule"][2] < 0}
    taken = [row["minutes"] for row in served if "minutes" in row]
    return {
        "sets": len(sets),
        "sets_not_below_best_rule": len(sets - below),
        **({"train_minutes": max(taken)} if taken else {}),
    }


if __name__ == "__main__":
    main()
