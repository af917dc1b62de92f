"""The next-basket task of any log, with all that is decided for it told.

    found = open_next_item("ratings.csv")       # or a Log, by `build_next_item`
    print("\n".join(found.choices.lines()))
    found.task                                  # what two towers, HCN and HSTU are trained on

What is decided, each by a short rule that can be overruled in `NextItemConfig`: which events are
taken and what a visit is (`visits`), how the log is cut (`visits.split_visits`), which items are
candidates, whether what a user had stays one, which columns are features and of what kind
(`item_columns`), and what of the time a query knows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from adwright.core.config import Count, settings, to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.column_kinds import (
    ColumnKind,
    FoundColumn,
    check_column_kinds,
    with_kinds,
)
from adwright.data.features import Feature
from adwright.data.history_kinds import REPEAT_SHARE
from adwright.data.leaks import find_future_counts, warn_of_leaks
from adwright.data.schema import EventKind
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import Log, open_log
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.data.tasks.next_basket_sources import build_next_item as build_from_sequences
from adwright.data.tasks.own.item_columns import choose_columns, item_features, user_features
from adwright.data.tasks.own.visits import (
    SplitRule,
    read_visits,
    split_visits,
    time_kind,
    visits_digest,
)
from adwright.data.tasks.split import check_cut
from adwright.data.time import MICROSECONDS_PER_DAY

_log = logging.getLogger("adwright")
VERSION = 2
#: Days that the places of the longest sequence take at most: times of ten years are real ones.
_PLACES = 3_600


@settings
class NextItemConfig:
    """What is decided by hand; the rest follows from the log.

    kinds: of events that count; none for all that users do (views, clicks, carts, purchases,
    conversions, ratings). min_value: events of a lower value are left out, such as ratings below 4.
    split: "time", "last" or "auto", see `split_visits`. shares: of the visits that train and
    validate. valid_from, test_from: the first instants of validation and test, both or neither.
    candidates: "taken", items that the log has an event of; "catalogue", all items.
    repeats: whether what a user had stays a candidate; None for what training shows.
    item_columns, user_columns: kinds of columns that are known. min_count: items that must share a
    value for it to get a code. seed: of the order within a request.
    """

    kinds: tuple[EventKind, ...] = ()
    min_value: float | None = None
    split: SplitRule = "auto"
    shares: tuple[float, float] = (0.8, 0.1)
    valid_from: datetime | None = None
    test_from: datetime | None = None
    candidates: Literal["taken", "catalogue"] = "taken"
    repeats: bool | None = None
    item_columns: Mapping[str, ColumnKind] = field(default_factory=dict)
    user_columns: Mapping[str, ColumnKind] = field(default_factory=dict)
    min_count: Count = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_column_kinds(self.item_columns, "item_columns")
        check_column_kinds(self.user_columns, "user_columns")
        check_cut(self.shares, (self.valid_from, self.test_from))
        if self.valid_from is not None and self.split == "last":
            raise ConfigError(
                "dates cut a log by time", where="split = last", hint="leave the dates out"
            )

    @property
    def dates(self) -> tuple[datetime, datetime] | None:
        """valid_from and test_from."""
        if self.valid_from is None or self.test_from is None:
            return None
        return self.valid_from, self.test_from


@dataclass(frozen=True)
class NextItemChoices:
    """What was decided, each in words with its reason.

    kinds: of the events that count. repeats: whether what a user had stays a candidate;
    repeat_share: of what is taken in training, how much was had before. columns: of the items,
    then of the users. context: what a query knows of its time.
    """

    kinds: tuple[str, ...]
    visits: str
    split: str
    candidates: str
    repeats: bool
    repeat_share: float
    columns: Mapping[str, FoundColumn] = field(default_factory=dict)
    context: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """For a reader, one decision a line."""
        stay = "stays" if self.repeats else "is no longer"
        return (
            f"visits: {self.visits}",
            f"split: {self.split}",
            f"candidates: {self.candidates}",
            f"repeats: what a user had {stay} a candidate ({self.repeat_share:.1%} of what is "
            f"taken in training was had before, the bound is {REPEAT_SHARE:.0%})",
            *(f"column {name}: {found.in_words()}" for name, found in self.columns.items()),
            f"context of a query: {', '.join(self.context) or 'none'}",
        )


@dataclass(frozen=True, eq=False)
class NextItem:
    """task: to train on. choices: what was decided for it."""

    task: NextBasket
    choices: NextItemChoices


def open_next_item(
    source: str | Path, config: NextItemConfig | None = None, *, offline: bool = False
) -> NextItem:
    """The task of a public log by its name, of an imported folder, or of a file of events.

    "complete-journey" is the task of `build_next_basket`, and a folder with sequences.txt that of
    `build_from_sequences` of Beauty and LastFM; both are as published, and of `config` only
    `repeats` is read. All else is opened as `open_log` does. Raises as these do.
    """
    config, path = config or NextItemConfig(), Path(source)
    if str(source) == "complete-journey":
        task = build_next_basket(CompleteJourney.open(offline=offline), seed=config.seed)
        return _published(task, config, "each basket", ("purchase",))
    if (path / "sequences.txt").is_file():
        task = build_from_sequences(path)
        return _published(task, config, "each place of a sequence", ("purchase",))
    return build_next_item(open_log(source, offline=offline), config, name=path.stem or "log")


def build_next_item(
    log: Log, config: NextItemConfig | None = None, *, name: str = "log"
) -> NextItem:
    """The task of a log.

    name: of the data, in reports. Raises ValueInvalidError where no event counts, a split is empty
    or an event's item is not in the catalogue; SchemaError for a column that is not there.
    """
    config = config or NextItemConfig()
    visits = read_visits(log.events, config.kinds, min_value=config.min_value)
    events, split = split_visits(
        visits.events, config.split, shares=config.shares, dates=config.dates
    )
    digest = visits_digest(events)
    if events["user_id"].n_unique() == 1:
        _log.warning("all events are of one user: intervals over users say nothing of others")
    catalogue, candidates = _candidates(log, events, config)
    taken_of = events.lazy().with_columns(kind=pl.lit(", ".join(visits.kinds)))
    warn_of_leaks((), find_future_counts(catalogue, taken_of, pl.col("split") == "train"))
    columns = choose_columns(catalogue, known=log.columns, given=config.item_columns)
    catalogue = with_kinds(catalogue, columns)
    catalogue, of_items = item_features(catalogue, columns, min_count=config.min_count)
    events, context = _with_context(events)
    taken = [*(f.name for f in (*of_items, *context)), *events.columns]
    of_users: tuple[Feature, ...] = ()
    if log.users is not None and log.users.width > 1:
        mine = choose_columns(
            log.users, known=log.columns, given=config.user_columns, key="user_id"
        )
        known, of_users = user_features(with_kinds(log.users, mine), mine, taken=taken)
        events = events.join(known, on="user_id", how="left", maintain_order="left")
        read = {name: one for name, one in mine.items() if one.kind in ("category", "number")}
        columns = {**read, **columns}
    task = build_visits(
        events,
        catalogue,
        name=name,
        protocol=f"{name}, next item: a query is a visit with everything before it as history; "
        f"visits are {visits.why}. Split {split}. Candidates are {candidates}. No sampled "
        "negatives.",
        data_hash=content_hash(
            {
                "events": digest,
                "items": content_hash(catalogue.write_ndjson()),
                "config": to_jsonable(config),
                "code": VERSION,
            }
        ),
        features=(*of_items, *of_users, *context),
        seed=config.seed,
    )
    share = repeat_share(task)
    return NextItem(
        task,
        NextItemChoices(
            kinds=visits.kinds,
            visits=visits.why,
            split=split,
            candidates=candidates,
            repeats=share >= REPEAT_SHARE if config.repeats is None else config.repeats,
            repeat_share=share,
            columns=columns,
            context=tuple(feature.name for feature in context),
        ),
    )


def repeat_share(task: NextBasket) -> float:
    """Of the items that training visits take, the share that the user took in an earlier one."""
    visits = task.visits("train")
    number = np.diff(task.target_offsets)
    chosen = np.repeat(task.split == 0, number)
    user = np.repeat(task.visit_user, number)[chosen]
    pairs = user * len(task.items) + task.targets[chosen]
    return float(1 - len(np.unique(pairs)) / max(len(pairs), 1)) if len(visits) else 0.0


def _candidates(log: Log, events: pl.DataFrame, config: NextItemConfig) -> tuple[pl.DataFrame, str]:
    """The catalogue of the task, and what is a candidate, in words."""
    items, taken = log.catalogue.items, events.select("item_id").unique()
    lacking = taken.join(items.select("item_id"), on="item_id", how="anti")
    if taken.height < 2:
        raise ValueInvalidError(
            "all events are of one item: there is nothing to choose among",
            column="item_id",
            value=taken["item_id"].min(),
            hint="see whether the right column is taken as the item",
        )
    if lacking.height:
        raise ValueInvalidError(
            f"{lacking.height:,} items of the log are not in the catalogue",
            column="item_id",
            value=lacking["item_id"].min(),
            hint="add them to the items table, or import the log without one",
        )
    if config.candidates == "catalogue":
        return items, f"all {items.height:,} items of the catalogue"
    kept = items.join(taken, on="item_id", how="semi", maintain_order="left")
    left = items.height - kept.height
    more = f"; the catalogue has {left:,} more, of which there is no event" if left else ""
    return kept, f"the {kept.height:,} items that were taken{more}"


def _with_context(events: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Feature, ...]]:
    """The events with weekday and hour, as far as the times tell them, and places as days."""
    time, of_time = pl.col("time"), time_kind(events["time"])
    weekday, hour = CONTEXT
    match of_time:
        case "instants":
            chosen: tuple[Feature, ...] = (weekday, hour)
        case "days":
            chosen = (weekday,)
        case "positions":
            chosen = ()
    told = {
        "weekday": time.dt.weekday().cast(pl.String),
        "hour": time.dt.hour().cast(pl.String),
    }
    return _in_days(events.with_columns(**{f.name: told[f.name] for f in chosen})), chosen


def _in_days(events: pl.DataFrame) -> pl.DataFrame:
    """The events as they are where their times are real; of places in a sequence a place counts
    as a day, as half-lives are in days, or less where the longest would not fit into ten years."""
    if time_kind(events["time"]) != "positions":
        return events
    place = pl.col("time").rank("dense").over("user_id").cast(pl.Int64) - 1
    longest = int(events.select(place.max()).item())
    step = min(MICROSECONDS_PER_DAY, _PLACES * MICROSECONDS_PER_DAY // max(longest, 1))
    return events.with_columns(time=(place * step).cast(events.schema["time"]))


def _published(
    task: NextBasket, config: NextItemConfig, visits: str, kinds: tuple[str, ...]
) -> NextItem:
    share = repeat_share(task)
    columns = {
        f.name: FoundColumn("list" if f.kind == "multi" else "category", 0, "as published")
        for f in task.spec.features
        if f.of == "item" and f.name != "item_id"
    }
    return NextItem(
        task,
        NextItemChoices(
            kinds=kinds,
            visits=visits,
            split=task.protocol,
            candidates=f"all {len(task.items) - 1:,} items",
            repeats=share >= REPEAT_SHARE if config.repeats is None else config.repeats,
            repeat_share=share,
            columns=columns,
            context=tuple(f.name for f in task.spec.features if f.of == "context"),
        ),
    )
