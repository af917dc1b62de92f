"""Item sequences with attributes (Beauty, LastFM) as a ranking task.

Each position but the first is a row with label 1 and, beside it, one item that the user never has,
drawn uniformly, with label 0. The last position of a user is for test, the one before it for
validation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.errors import ValueInvalidError
from adwright.core.hashing import content_hash, sha256_file
from adwright.data.features import Feature
from adwright.data.tasks.next_basket_sources import read_sequences, sequence_files
from adwright.data.tasks.split import split_last
from adwright.data.tasks.task import Task, cached_task, write_task

VERSION = 1
SEQUENCE_FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("attribute", "categorical", "item"),
    Feature("attributes", "multi", "item"),
)


def build_sequences_task(source: str | Path, cache: str | Path, *, seed: int = 0) -> Task:
    """The task of the folder `source`, in a folder under `cache`, built on first use.

    seed: of the drawn negatives. Raises FileUnreadableError for a missing or unreadable file,
    ValueInvalidError for a line without items, a user twice, or one who has every item.
    """
    source = Path(source)
    hashes = [sha256_file(path) for path in sequence_files(source)]
    key = content_hash({"data": hashes, "seed": seed, "code": VERSION})
    folder = Path(cache) / f"{source.name}-{key[:16]}"

    def build() -> Task:
        events, items = read_sequences(source)
        return write_task(
            folder,
            name=source.name,
            protocol=f"{source.name}: each position of a person's sequence but the first, with "
            "one item the person never has, drawn uniformly; the last position tests, the one "
            "before it validates.",
            data_hash=key,
            rows=_rows(events, np.random.default_rng(seed)),
            events=events.select("user_id", "item_id", "time"),
            items=items,
            features=SEQUENCE_FEATURES,
        )

    return cached_task(folder, build)


def _rows(events: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The positives and, for each, a negative; order and draws depend on the seed alone."""
    positives = events.filter(pl.col("time") > 0).select(
        "user_id",
        "item_id",
        "time",
        request_id=pl.concat_str(pl.col("user_id"), pl.lit("-"), pl.col("time")),
        label=pl.lit(1, pl.Int8),
        split=split_last(pl.col("left")),
    )
    catalogue = events["item_id"].unique().sort()
    owned = events.select("user_id", "item_id").unique()
    negatives, open_rows = [], positives
    full = owned.group_by("user_id").len().filter(pl.col("len") == len(catalogue))
    if full.height:
        raise ValueInvalidError(
            "a person has every item there is, so there is no negative to draw",
            column="user_id",
            value=full["user_id"].min(),
            hint="leave this person out",
        )
    # Draw, keep what the user never has, and draw again for the rest.
    while open_rows.height:
        drawn = catalogue.gather(rng.integers(0, len(catalogue), open_rows.height))
        tried = open_rows.with_columns(drawn.alias("item_id"), label=pl.lit(0, pl.Int8))
        found = tried.join(owned, on=["user_id", "item_id"], how="anti", maintain_order="left")
        negatives.append(found)
        open_rows = open_rows.join(
            found.select("request_id"), on="request_id", how="anti", maintain_order="left"
        )
    return pl.concat([positives, *negatives])
