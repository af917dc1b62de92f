"""Public logs as the tables that a user would have: events.csv, and items.csv of what is known
of the items. Columns keep the names that their publishers gave them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from adwright.core.assets import asset
from adwright.data.sources.complete_journey import CompleteJourney

SetName = Literal["movielens", "ml-latest-small", "ml-1m", "beauty", "lastfm", "journey"]


@dataclass(frozen=True)
class LogFiles:
    """events, items: files. options: of `adwright data import`, where a column has a name that
    says too little."""

    events: Path
    items: Path
    options: tuple[str, ...] = ()


def write_log(name: SetName, data: Path, folder: Path) -> LogFiles:
    """Write the tables of a log into `folder`; data: the folder of ADWRIGHT_DATA."""
    folder.mkdir(parents=True, exist_ok=True)
    found = LogFiles(folder / "events.csv", folder / "items.csv")
    match name:
        case "movielens":
            events, items = _movielens()
        case "ml-latest-small":
            events = pl.read_csv(data / name / "ratings.csv")
            items = pl.read_csv(data / name / "movies.csv")
        case "ml-1m":
            # The place in the sequence stands for the time.
            place = pl.col("position").alias("timestamp") + 1
            events = pl.read_parquet(data / name / "sequences.parquet")
            events = events.select("user_id", "item_id", place)
            items = pl.read_parquet(data / name / "movies.parquet")
        case "beauty" | "lastfm":
            events, items = _sequences(data / name)
        case "journey":
            events, items = _journey()
            found = LogFiles(found.events, found.items, ("--columns", "time=transaction_timestamp"))
    events.write_csv(found.events)
    items.write_csv(found.items)
    return found


def _movielens() -> tuple[pl.DataFrame, pl.DataFrame]:
    folder = asset("recbole") / "recbole" / "dataset_example" / "ml-100k"
    tables = []
    for kind in ("inter", "item"):
        path = folder / f"ml-100k.{kind}"
        table = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)
        tables.append(table.rename({name: name.partition(":")[0] for name in table.columns}))
    events, items = tables
    return events, items.with_columns(pl.col("class").str.replace_all(" ", "|"))


def _sequences(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The place in the sequence stands for the time."""
    lines = [line.split() for line in (folder / "sequences.txt").read_text("utf-8").splitlines()]
    events = pl.DataFrame(
        {"user_id": [line[0] for line in lines], "item_id": [line[1:] for line in lines]}
    ).explode("item_id")
    events = events.with_columns(timestamp=1 + pl.int_range(pl.len()).over("user_id"))
    known = json.loads((folder / "item_attributes.json").read_text("utf-8"))
    of_item = {str(key): "|".join(f"a{one}" for one in value) for key, value in known.items()}
    items = events.select(pl.col("item_id").unique(maintain_order=True))
    attributes = pl.col("item_id").replace_strict(of_item, default=None, return_dtype=pl.String)
    return events, items.with_columns(attributes=attributes)


def _journey() -> tuple[pl.DataFrame, pl.DataFrame]:
    """All purchases; 17 products that were sold are described nowhere, and stand by their id."""
    source = CompleteJourney.open()
    names = ("household_id", "store_id", "basket_id", "product_id", "sales_value")
    bought = source.transactions().select(*names, "transaction_timestamp").collect()
    known = source.products().collect()
    lacking = bought.select(pl.col("product_id").unique()).join(known, on="product_id", how="anti")
    return bought, pl.concat((known, lacking.sort("product_id")), how="diagonal")
