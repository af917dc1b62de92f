"""A log and its catalogue together: opened by name, read from a user's files, saved, described.

A saved log is a folder in one of three formats, checked before it is written:

    parquet   events.parquet, items.parquet, creatives.parquet, campaigns.parquet, users.parquet
    csv       the same as .csv; lists in the catalogue need Parquet
    atomic    NAME.inter, NAME.item, NAME.user, RecBole's atomic files

Tables without rows are left out, but for the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from adwright.core.atomic import atomic_folder
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.data.schema import Catalogue, check_items_known, validate_items
from adwright.data.sources.atomic_files import read_atomic, write_atomic
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.movielens import MovieLens
from adwright.data.sources.open_bandit import BanditCampaign, BanditPolicy, OpenBandit
from adwright.data.sources.tables import (
    read_campaigns,
    read_creatives,
    read_events,
    read_items,
    write_events,
    write_table,
)

__all__ = [
    "Description",
    "Log",
    "LogFormat",
    "PublicLog",
    "describe",
    "open_log",
    "read_atomic_log",
    "read_log",
    "save_log",
]

PublicLog = Literal["complete-journey", "open-bandit", "movielens"]
LogFormat = Literal["parquet", "csv", "atomic"]


@dataclass(frozen=True)
class Log:
    """events: an EventLog, lazy. catalogue: its items, creatives and campaigns. users: user_id
    and what is known of them, or None."""

    events: pl.LazyFrame
    catalogue: Catalogue
    users: pl.DataFrame | None = None

    def __repr__(self) -> str:
        """What is known without reading the events."""
        items = self.catalogue.items
        known = ", ".join(name for name in items.columns if name != "item_id") or "their ids"
        return f"<Log of {items.height:,} items, of which is known: {known}>"

    def _repr_html_(self) -> str:
        """In a notebook: the same, and the first events."""
        return f"<p>{escape(repr(self)[1:-1])}</p>{self.events.head(5).collect()._repr_html_()}"


@dataclass(frozen=True)
class Description:
    """What a log holds.

    kinds: kind of event -> number. first, last: times of events, None without any.
    history: name of a quantile -> events of a user. catalogue: table -> rows.
    features: columns of the items.
    """

    events: int
    users: int
    items: int
    first: datetime | None
    last: datetime | None
    kinds: Mapping[str, int]
    history: Mapping[str, float]
    catalogue: Mapping[str, int]
    features: tuple[str, ...]


def open_log(
    source: str | Path, *, offline: bool = False, bounds: ReadBounds = USUAL_BOUNDS
) -> Log:
    """A log by the name of a public data set, or from the folder or file in which it is.

    source: "complete-journey", "open-bandit" (all six logs), "movielens", a folder that
    `save_log` wrote as Parquet or CSV, or a file of events, whose items are then the ids alone.
    offline: never download. bounds: of each table that is a file.
    Raises AssetError where a public data set cannot be had, FileUnreadableError, SchemaError
    and ValueInvalidError for files.
    """
    match str(source):
        case "complete-journey":
            journey = CompleteJourney.open(offline=offline)
            return Log(journey.events(), journey.catalogue())
        case "movielens":
            films = MovieLens.open(offline=offline)
            return Log(films.events(), films.catalogue(), films.users())
        case "open-bandit":
            return _open_bandit(OpenBandit.open(offline=offline))
    path = Path(source)
    if not path.exists():
        raise FileUnreadableError(
            "there is no such log",
            file=str(source),
            hint=f"name a file, a folder, or one of {', '.join(get_args(PublicLog))}",
        )
    for ending in (".parquet", ".csv"):
        if (path / f"events{ending}").is_file():
            return _open_folder(path, ending, bounds)
    return read_log(path, bounds=bounds)


def read_log(
    events: Path,
    *,
    items: Path | None = None,
    creatives: Path | None = None,
    campaigns: Path | None = None,
    bounds: ReadBounds = USUAL_BOUNDS,
) -> Log:
    """A user's own tables, Parquet or CSV, checked; see `adwright.data.sources.tables`.

    Without `items` the catalogue holds the ids of the log alone; with it, every event's item
    must be in it. Raises as `read_events` and `read_items`.
    """
    log = read_events(events, bounds=bounds)
    if items is None:
        ids = log.filter(pl.col("kind") != "redemption").select(pl.col("item_id").unique().sort())
        table = validate_items(ids.collect(engine="streaming"))
    else:
        table = read_items(items, bounds=bounds)
        check_items_known(log, table, file=str(events))
    catalogue = Catalogue.checked(
        table,
        None if creatives is None else read_creatives(creatives, bounds=bounds),
        None if campaigns is None else read_campaigns(campaigns, bounds=bounds),
    )
    return Log(log, catalogue)


def read_atomic_log(folder: Path, name: str, *, bounds: ReadBounds = USUAL_BOUNDS) -> Log:
    """The data set `name` of RecBole's atomic files in `folder`; raises as `read_atomic`."""
    tables = read_atomic(folder, name, bounds=bounds)
    return Log(tables.events, Catalogue.checked(tables.items), tables.users)


def save_log(
    folder: str | Path,
    log: Log,
    *,
    format: LogFormat = "parquet",
    name: str = "log",
    overwrite: bool = False,
) -> None:
    """Write the log to a folder, whole or not at all.

    name: of the data set, for atomic files; these have no place for creatives and campaigns.
    Raises SchemaError and ValueInvalidError for what the format cannot hold, ResourceError
    where the folder exists (without `overwrite`) or the disk is full.
    """
    if format not in get_args(LogFormat):
        raise ConfigError(
            "a log cannot be written in this format",
            where=f"{format}",
            hint=f"choose among {', '.join(get_args(LogFormat))}",
        )
    with atomic_folder(folder, overwrite=overwrite) as new:
        if format == "atomic":
            write_atomic(new, name, log.events, log.catalogue.items, log.users)
            return
        write_events(new / f"events.{format}", log.events)
        for what, table in _tables(log).items():
            if table.height:
                write_table(new / f"{what}.{format}", table)


def describe(log: Log) -> Description:
    """Count what a log holds, in one streamed pass over its events each for the totals, the
    kinds and the users."""
    events = log.events
    totals = events.select(
        events=pl.len(),
        users=pl.col("user_id").n_unique(),
        items=pl.col("item_id").n_unique(),
        first=pl.col("time").min(),
        last=pl.col("time").max(),
    ).collect(engine="streaming")
    kinds = events.group_by("kind").len().sort("len", descending=True).collect(engine="streaming")
    people = events.group_by("user_id").len().collect(engine="streaming")["len"]
    quantiles = {"shortest": 0.0, "median": 0.5, "nine in ten up to": 0.9, "longest": 1.0}
    row = totals.row(0, named=True)
    return Description(
        **row,
        kinds=dict(kinds.iter_rows()),
        history={
            name: float(people.quantile(share, "nearest") or 0.0)
            for name, share in quantiles.items()
        },
        catalogue={what: table.height for what, table in _tables(log).items()},
        features=tuple(c for c in log.catalogue.items.columns if c != "item_id"),
    )


def _tables(log: Log) -> dict[str, pl.DataFrame]:
    catalogue = log.catalogue
    tables = {
        "items": catalogue.items,
        "creatives": catalogue.creatives,
        "campaigns": catalogue.campaigns,
    }
    return tables if log.users is None else {**tables, "users": log.users}


def _open_folder(folder: Path, ending: str, bounds: ReadBounds) -> Log:
    def path(what: str) -> Path | None:
        found = folder / f"{what}{ending}"
        return found if found.is_file() else None

    log = read_log(
        folder / f"events{ending}",
        items=path("items"),
        creatives=path("creatives"),
        campaigns=path("campaigns"),
        bounds=bounds,
    )
    people = path("users")
    if people is None:
        return log
    return Log(log.events, log.catalogue, read_items(people, key="user_id", bounds=bounds))


def _open_bandit(bandit: OpenBandit) -> Log:
    campaigns: tuple[BanditCampaign, ...] = get_args(BanditCampaign)
    policies: tuple[BanditPolicy, ...] = get_args(BanditPolicy)
    events = [bandit.events(policy, one) for one in campaigns for policy in policies]
    items = [bandit.catalogue(one).items for one in campaigns]
    return Log(
        pl.concat(events).sort("time", maintain_order=True), Catalogue.checked(pl.concat(items))
    )
