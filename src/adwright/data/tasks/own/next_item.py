"""The next-basket task of any log, with all that is decided for it told.

    found = open_next_item("ratings.csv")       # or a Log, by `build_next_item`
    print("
".join(found.choices.lines()))
    found.task                                  # what two towers, HCN and HSTU are trained on

What is decided, each by a short rule that can be overruled in `NextItemConfig`: which events are
taken and what a visit is (`visits`), how the log is cut (`visits.split_visits`), which items are
candidates, whether what a user had stays one, which columns are features and of what kind
(`item_columns`), and what of the time a query knows.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from adwright.core.config import Count, settings, to_jsonable
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.column_kinds import (
    ColumnKind,
    FoundColumn,
    check_column_kinds,
    find_kinds,
    with_kinds,
)
from adwright.data.features import Feature
from adwright.data.hashing import hash_order, sum_of_hashes
from adwright.data.history_kinds import REPEAT_SHARE, check_history
from adwright.data.leaks import find_future_counts, warn_of_leaks
from adwright.data.schema import ACTION_KINDS, EventKind
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import Log, open_log
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.data.tasks.next_basket_sources import build_next_item as build_from_sequences
from adwright.data.tasks.split import check_cut, split_by_time, split_last
from adwright.data.time import MICROSECONDS_PER_DAY

# --------------------------------------------------------------------------------------------------
# The features that are made of the columns of a catalogue, and of what is known of users.
#
#     category   a value that two rows share gets a code
#     number     cut into 16 parts that hold about as many rows each
#     list       several categories a row
#     text       its words, as a list
#     none       left out
#
# What a column is says `adwright.data.column_kinds`, as everywhere. Here a category of which most
# values stand in one row only is left out, too: it tells no more than the id.

#: Rows that one value stands for on average, where a category tells more than an id.
ROWS_A_VALUE = 2
#: Columns that rows, queries and events have of their own.
RESERVED = frozenset(
    {
        *("user_id", "request_id", "time", "label", "split", "history", "weekday", "hour"),
        *("popularity", "visible", "frequency", "recent", "recency", "draw_offset"),
    }
)
#: Parts into which a number of a user is cut.
PARTS = 8
#: What names of columns that are made of others end or begin with.
_WORDS, _OWN = " words", "item "
_WORD = r"[\p{L}\p{N}]{2,}"


def choose_columns(
    table: pl.DataFrame,
    *,
    known: Mapping[str, FoundColumn] | None = None,
    given: Mapping[str, ColumnKind] | None = None,
    key: str = "item_id",
) -> dict[str, FoundColumn]:
    """What each column of `table` but its `key` is, in their order.

    known: what was found when the log was opened, and is not looked for again. given: kinds that a
    person says, which win. Raises SchemaError where these name a column that is not there or that
    cannot be of the kind.

    >>> items = pl.DataFrame({"item_id": ["a", "b"], "title": ["red hat", "blue hat"]})
    >>> choose_columns(items)["title"].in_words()
    'text (words, most of them once)'
    """
    given, known = dict(given or {}), dict(known or {})
    for name in given:
        if name not in table.columns or name == key:
            raise SchemaError(
                "a kind is given of a column that is not there",
                column=name,
                hint=f"the columns are {', '.join(c for c in table.columns if c != key)}",
            )
    new = [name for name in table.columns if name in given or name not in known]
    found = find_kinds(table.select(new), given, skip=(key,))
    chosen = {name: found.get(name) or known[name] for name in table.columns if name != key}
    return {
        name: one if name in given else _unless_an_id(table[name], one)
        for name, one in chosen.items()
    }


def item_features(
    items: pl.DataFrame, columns: Mapping[str, FoundColumn], *, min_count: int = 2
) -> tuple[pl.DataFrame, tuple[Feature, ...]]:
    """The catalogue with what the features read, and the features, `item_id` among them.

    min_count: rows that must share a value for it to get a code; `item_id` needs one event. A
    column of a name that rows and queries use is read under another.
    """
    features = [Feature("item_id", "categorical", "item")]
    for column, found in columns.items():
        name = column
        if name in RESERVED and found.kind != "none":
            name = _unused(f"{_OWN}{name}", items.columns)
            items = items.with_columns(pl.col(column).alias(name))
        match found.kind:
            case "category":
                items = items.with_columns(pl.col(name).cast(pl.String))
                features.append(Feature(name, "categorical", "item", min_count=min_count))
            case "number":
                features.append(Feature(name, "bucketised", "item"))
            case "list":
                features.append(Feature(name, "multi", "item", min_count=min_count))
            case "text":
                words = _unused(f"{name}{_WORDS}", items.columns)
                items = items.with_columns(_words(name).alias(words))
                features.append(Feature(words, "multi", "item", min_count=min_count))
            case "none":
                continue
    return items, tuple(features)


def with_made_columns(items: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    """A table of new items with those of the columns `wanted` that `item_features` makes of others:
    the words of a text, and a column under another name.

    >>> new = pl.DataFrame({"item_id": ["a"], "title": ["Red hat"]})
    >>> with_made_columns(new, ["title words"])["title words"][0].to_list()
    ['red', 'hat']
    """
    for name in wanted:
        words, own = name.removesuffix(_WORDS), name.removeprefix(_OWN)
        if name in items.columns:
            continue
        if words != name and words.removeprefix(_OWN) in items.columns:
            items = items.with_columns(_words(words.removeprefix(_OWN)).alias(name))
        elif own != name and own in items.columns:
            items = items.with_columns(pl.col(own).alias(name))
    return items


def user_features(
    users: pl.DataFrame, columns: Mapping[str, FoundColumn], *, taken: Sequence[str]
) -> tuple[pl.DataFrame, tuple[Feature, ...]]:
    """The users' table with user_id and a text column a feature, and the features.

    A number is cut into parts that hold about as many users each, and its part is the category.
    Lists and texts are left out. taken: names that other features have; a column of such a name is
    renamed.
    """
    made, features = [users["user_id"]], []
    for column, found in columns.items():
        if found.kind not in ("category", "number"):
            continue
        name = column if column not in taken else f"user {column}"
        values = users[column]
        values = _parts(values) if found.kind == "number" else values.cast(pl.String)
        made.append(values.alias(name))
        features.append(Feature(name, "categorical", "user", min_count=2))
    return pl.DataFrame(made), tuple(features)


def _words(text: str) -> pl.Expr:
    return pl.col(text).cast(pl.String).str.to_lowercase().str.extract_all(_WORD)


def _parts(numbers: pl.Series) -> pl.Series:
    """Each number's part, as text that names its bounds; null where there is none."""
    values = numbers.cast(pl.Float64).fill_nan(None)
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return pl.Series([None] * len(numbers), dtype=pl.String)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, PARTS + 1)[1:-1]))
    ends = [f"{edge:g}" for edge in edges]
    names = [f"below {ends[0]}", *(f"{a} to {b}" for a, b in pairwise(ends)), f"from {ends[-1]}"]
    part = np.searchsorted(edges, values.fill_null(0).to_numpy(), side="right")
    return pl.select(pl.when(values.is_not_null()).then(pl.Series(names).gather(part))).to_series()


def _unless_an_id(column: pl.Series, found: FoundColumn) -> FoundColumn:
    """`found`, but none for a category of which most values stand in one row only."""
    rows = len(column) - column.null_count()
    if found.kind != "category" or found.values * ROWS_A_VALUE <= rows:
        return found
    return FoundColumn("none", found.values, f"{found.values:,} values, as good as an id")


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


# --------------------------------------------------------------------------------------------------
# The visits of a log of one's own: when a user came, what was taken, and which split it is in.
#
# A visit is a request (a basket, a slate, an order): all that was taken in it counts at its first
# moment, and nothing of it is its own history. A request that another one of the same user reaches
# into counts by its moments, since the later of its events are history of the other. Where most
# users
# have one request only, as where a request is a session, every moment is a visit.

SplitRule = Literal["auto", "time", "last"]
#: What the times of a log are: instants, days, or places in a sequence.
TimeKind = Literal["instants", "days", "positions"]

_WHO = ["user_id", "request_id"]
_VISIT = [*_WHO, "time"]
#: Share of the test visits that must be of users whom training knows, for a split by time.
KNOWN_SHARE = 0.5
#: Visits that validation and test must have each, for a split by time.
LEAST_VISITS = 100
_PARTS = {"train": "visits train", "valid": "validate", "test": "test"}
#: Times before this one count something else than the time since 1970.
_REAL = datetime(1971, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LogVisits:
    """events: user_id, request_id, item_id, time, sorted by user and time. kinds: of events that
    count. why: what a visit is, in words."""

    events: pl.DataFrame
    kinds: tuple[str, ...]
    why: str


def read_visits(
    events: pl.LazyFrame,
    kinds: Sequence[str] = (),
    *,
    min_value: float | None = None,
) -> LogVisits:
    """The visits of an EventLog.

    kinds: of events that are taken and make up the histories; none for all of ACTION_KINDS that
    the log has. min_value: events of a lower value, or of none, are left out.
    Raises ValueInvalidError where no event counts, naming the kinds that there are.
    """
    there = events.select(pl.col("kind").cast(pl.String).unique()).collect()["kind"].to_list()
    wanted = tuple(kind for kind in (kinds or ACTION_KINDS) if kind in there)
    check_history(there, kinds or ACTION_KINDS)
    taken = pl.col("kind").cast(pl.String).is_in(list(wanted))
    if min_value is not None:
        taken &= (pl.col("value") >= min_value).fill_null(value=False)
    found = events.filter(taken).select(*_WHO, "item_id", "time").collect(engine="streaming")
    if not found.height:
        raise ValueInvalidError(
            "no event is left to learn from",
            column="value",
            value=min_value,
            hint="lower min_value",
        )
    shown = events.filter(pl.col("kind").cast(pl.String) == "impression").select(_VISIT)
    shown = shown.join(found.lazy().select(_WHO).unique(), on=_WHO, how="semi")
    return _of_requests(found, shown.collect(engine="streaming"), wanted)


def _of_requests(found: pl.DataFrame, shown: pl.DataFrame, kinds: tuple[str, ...]) -> LogVisits:
    """found: what was taken. shown: impressions of the same requests."""
    moments = pl.concat([found.select(_VISIT), shown]).unique()
    moments = moments.sort("user_id", "time", "request_id")
    run = pl.struct(_WHO).rle_id().alias("run")
    requests = (
        moments.with_columns(run)
        .group_by(_WHO)
        .agg(first=pl.col("time").min(), runs=pl.col("run").n_unique())
    )
    of_user = moments.group_by("user_id").agg(
        requests=pl.col("request_id").n_unique(), moments=pl.col("time").n_unique()
    )
    several = of_user.select(pl.col("requests", "moments") >= 2).mean().row(0)
    what = f"of {', '.join(kinds)}"
    if several[0] < 0.5 <= several[1]:
        why = f"each moment {what}: {several[0]:.0%} of the users have two requests"
        return LogVisits(found.sort("user_id", "time", "request_id"), kinds, why)
    alone = pl.col("runs") == 1
    events = (
        found.join(requests, on=_WHO, how="left", maintain_order="left")
        .with_columns(time=pl.when(alone).then(pl.col("first")).otherwise(pl.col("time")))
        .select(found.columns)
        .sort("user_id", "time", "request_id")
    )
    torn = requests.filter(~alone).height
    more = f"; {torn:,} that others reach into count by their moments" if torn else ""
    return LogVisits(events, kinds, f"each request {what}, at its first moment{more}")


def time_kind(time: pl.Series) -> TimeKind:
    """What the times [N] (UTC) are.

    >>> time_kind(pl.Series([datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2)]))
    'days'
    """
    latest = time.max()
    if isinstance(latest, datetime) and latest < _REAL:
        return "positions"
    return "days" if time.dt.time().n_unique() == 1 else "instants"


def split_visits(
    events: pl.DataFrame,
    rule: SplitRule = "auto",
    *,
    shares: tuple[float, float] = (0.8, 0.1),
    dates: tuple[datetime, datetime] | None = None,
) -> tuple[pl.DataFrame, str]:
    """The events of `LogVisits` with the column `split`, and how it was cut, in words.

    rule: "time", so that validation and test come after training; "last", the last visit of each
    user with three visits tests, the one before it validates; "auto", by time where users come
    back: where the times are real, validation and test have 100 visits each, and half of the test
    visits are of users whom training knows.
    shares: of the visits, in order of time, that train and validate. dates: the first instants of
    validation and test, in their place. Raises ValueInvalidError where a split is empty.
    """
    visits = events.select(_VISIT).unique().sort("time", "user_id", "request_id")
    if dates is None:
        ends = [min(int(visits.height * s), visits.height - 1) for s in (shares[0], sum(shares))]
        cut = (visits["time"][ends[0]], visits["time"][ends[1]])
    else:
        cut = dates
    by_time = split_by_time(pl.col("time"), *cut)
    why_not = ""
    if rule == "auto" and dates is None:
        why_not = _against_time(visits.with_columns(by_time))
    if rule == "last" or why_not:
        return _by_last(events, visits, why_not)
    found = events.with_columns(by_time)
    _check_splits(found, f"{cut[0]:%Y-%m-%d %H:%M} and {cut[1]:%Y-%m-%d %H:%M}")
    parts = dict(visits.with_columns(by_time).group_by("split").len().iter_rows())
    counted = ", ".join(f"{parts[name]:,} {what}" for name, what in _PARTS.items())
    return found, (
        f"by time: {counted}; validation from {cut[0]:%Y-%m-%d %H:%M} UTC, test from "
        f"{cut[1]:%Y-%m-%d %H:%M} UTC"
    )


def _against_time(visits: pl.DataFrame) -> str:
    """Why a split by time would not do; nothing where it does."""
    if time_kind(visits["time"]) == "positions":
        return "the times are places in a sequence"
    held = [visits.filter(pl.col("split") == name).height for name in ("valid", "test")]
    if min(held) < LEAST_VISITS:
        return f"by time a split would have {min(held):,} visits"
    known = visits.filter(pl.col("split") == "train")["user_id"].unique()
    test = visits.filter(pl.col("split") == "test")["user_id"]
    share = float(np.mean(test.is_in(known.implode()).to_numpy()))
    if share < KNOWN_SHARE:
        return f"by time {share:.0%} of the test visits would be of users whom training knows"
    return ""


def _by_last(events: pl.DataFrame, visits: pl.DataFrame, why_not: str) -> tuple[pl.DataFrame, str]:
    number, place = pl.len().over("user_id"), pl.int_range(pl.len()).over("user_id")
    # Users of two visits would test on one event of validation: they train.
    left = pl.when(number >= 3).then(number - 1 - place).otherwise(2)
    cut = visits.sort("user_id", "time", "request_id").with_columns(split_last(left))
    found = events.join(cut.select(*_VISIT, "split"), on=_VISIT, how="left", maintain_order="left")
    _check_splits(found, "the last two visits of users with three")
    tested = cut.filter(pl.col("split") == "test").height
    reason = f" ({why_not})" if why_not else ""
    return found, (
        f"the last visit of each of the {tested:,} users with three tests, the one before it "
        f"validates{reason}"
    )


def _check_splits(events: pl.DataFrame, cut: str) -> None:
    for name in ("train", "valid", "test"):
        if not (events["split"] == name).any():
            raise ValueInvalidError(
                f"the {name} split has no visit",
                column="time",
                value=cut,
                hint="choose other dates or shares, or split by the last visits of each user",
            )


def visits_digest(events: pl.DataFrame) -> str:
    """A hash of the rows, whatever their order."""
    return f"{events.height}-{sum_of_hashes(hash_order(events, events.columns, 0))}"


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


# --------------------------------------------------------------------------------------------------
# What is known of users, as models of a log of one's own read it.
#
# A training cuts a number of the users into parts and calls each by its bounds (`user_features`). A
# table of users that is brought later, or the same one, is cut at those bounds again.

_NUMBER = r"-?(?:\d++\.?+\d*+(?:e[+-]?\d++)?+|inf)"
_PART = re.compile(rf"below ({_NUMBER})|({_NUMBER}) to ({_NUMBER})|from ({_NUMBER})")
#: What the name of a column begins with whose own name another feature has.
_PROFILES_OWN = "user "


def profiles_as_trained(users: pl.DataFrame, features: Iterable[Feature]) -> pl.DataFrame:
    """The table with the columns that the user features among `features` read, as text.

    users: user_id, and columns as a log has them. A column of numbers whose feature knows parts
    becomes the name of the part that each number is in, null where it is in none; others stay as
    they are.

    >>> age = Feature("age", "categorical", "user", vocabulary=("below 30", "from 30"))
    >>> users = pl.DataFrame({"user_id": ["a", "b"], "age": ["41", "7"]})
    >>> profiles_as_trained(users, [age])["age"].to_list()
    ['from 30', 'below 30']
    """
    known: dict[str, dict[str, None]] = {}
    for feature in features:
        if feature.of == "user" and feature.name != "user_id":
            known.setdefault(feature.name, {}).update(dict.fromkeys(feature.vocabulary))
    made = []
    for name, vocabulary in known.items():
        source = name if name in users.columns else name.removeprefix(_PROFILES_OWN)
        if source not in users.columns:
            continue
        column = users[source].cast(pl.String)
        found = _in_parts(column, list(vocabulary))
        made.append((column if found is None else found).alias(name))
    return users.with_columns(made)


def _in_parts(column: pl.Series, names: Sequence[str]) -> pl.Series | None:
    """The part of each number, by its name; None where the names are not of parts, or the column
    holds them already."""
    parts = [_bounds(name) for name in names]
    if not parts or None in parts or column.is_in(list(names)).any():
        return None
    number = column.cast(pl.Float64, strict=False).to_numpy()
    found = np.full(len(number), -1)
    for n, bounds in enumerate(parts):
        if bounds is not None:
            found[(number >= bounds[0]) & (number < bounds[1])] = n
    place = pl.Series(found)
    return pl.Series(list(names)).gather(place.set(place < 0, None))


def _bounds(name: str) -> tuple[float, float] | None:
    """The least number of a part, and the least above it."""
    found = _PART.fullmatch(name)
    if found is None:
        return None
    below, low, high, start = found.groups()
    return (
        float(low or start or -math.inf),
        float(below or high or math.inf),
    )
