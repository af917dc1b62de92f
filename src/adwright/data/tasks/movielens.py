"""MovieLens 100k as a ranking task that every peer library can read too.

A row is a rating; its label is 1 for 4 or 5 stars. The history is everything the user rated
at an earlier time. Split 80/10/10 by time over all ratings.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from adwright.core.assets import ASSETS
from adwright.core.hashing import content_hash
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.split import split_by_time
from adwright.data.tasks.task import Task, cached_task, write_task

VERSION = 1
MOVIELENS_FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("genre", "categorical", "item"),
    Feature("genres", "multi", "item"),
    Feature("year", "bucketised", "item"),
)


def build_movielens_task(source: MovieLens, cache: str | Path, *, seed: int = 0) -> Task:
    """The task in a folder under `cache`, built on first use.

    seed: of the hash that orders ratings of one user and second, and that decides on which
    side of the split ratings of the very same second fall.
    """
    key = content_hash({"data": ASSETS["recbole"].sha256, "seed": seed, "code": VERSION})
    folder = Path(cache) / f"movielens-{key[:16]}"

    def build() -> Task:
        items = source.catalogue().items.with_columns(genre=pl.col("genres").list.first())
        ratings = source.events().sort("time", hash_expr(["event_id"], seed)).collect()
        return write_task(
            folder,
            name="movielens",
            protocol="MovieLens 100k: a row is a rating, label 1 for 4 or 5 stars; history: what "
            "the person rated at an earlier second; 80/10/10 by time over all ratings.",
            data_hash=key,
            rows=_rows(ratings),
            events=ratings.select("user_id", "item_id", "time"),
            items=items,
            features=MOVIELENS_FEATURES,
            history=("rating",),
        )

    return cached_task(folder, build)


def _rows(ratings: pl.DataFrame) -> pl.DataFrame:
    """The rows of ratings that are sorted by time."""
    place = pl.int_range(pl.len()) / pl.len()
    return ratings.select(
        "user_id",
        "time",
        "item_id",
        request_id="event_id",
        label=(pl.col("value") >= 4).cast(pl.Int8),
        split=split_by_time(place, 0.8, 0.9),
    )
