"""A user's own log as a ranking task: which of the items shown does this user respond to?

A row is an impression; its label is 1 where the same user responded to the same item in the
same request. What a row may know of the past: the user's responses before the request's
first impression, and how often the item was responded to on earlier days (UTC), by anyone.
Clocks differ, and a response may be dated before what it responds to: it then counts from the
first impression of its request on, so that no row ever sees a response of its own request.
Propensity, policy and position are not features: at serving time they follow from the ranking.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from adwright.core.config import check_literals, to_jsonable
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr
from adwright.data.schema import RESPONSE_KINDS, Catalogue, EventKind, check_items_known
from adwright.data.tasks.day_popularity import popularity_by_day
from adwright.data.tasks.split import split_by_time
from adwright.data.tasks.task import Task, TaskPart, cached_task, write_task_parts

__all__ = ["LogTaskConfig", "build_log_task", "log_features"]

_log = logging.getLogger("adwright")

VERSION = 3
_COLUMNS = ("creative_id", "campaign_id")
_TAKEN = {"user_id", "item_id", "request_id", "time", "label", "split", "visible", "frequency"}
_REQUEST = ["user_id", "request_id"]


@dataclass(frozen=True)
class LogTaskConfig:
    """What counts as a response, what a row knows, and where the log is cut.

    responses: kinds of events that make an impression a positive, and that popularity counts.
    history: kinds of events that a user's history is made of.
    valid_from, test_from: the first instants of validation and test, both or neither.
    shares: without dates, shares of the impressions, in order of time, that train and validate.
    context: keys of the log's context, or creative_id and campaign_id, that are features with
      a known set of values; numbers: keys that are numbers.
    item_features: columns of the items; None for all of them.
    min_count: training rows or items in which a value must be seen to get a code of its own.
    """

    responses: tuple[EventKind, ...] = RESPONSE_KINDS
    history: tuple[EventKind, ...] = RESPONSE_KINDS
    valid_from: datetime | None = None
    test_from: datetime | None = None
    shares: tuple[float, float] = (0.8, 0.1)
    context: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    item_features: tuple[str, ...] | None = None
    min_count: int = 1

    def __post_init__(self) -> None:
        check_literals(self)
        train, valid = self.shares
        if min(train, valid) <= 0 or train + valid >= 1:
            raise ConfigError(
                "the shares of training and validation must leave a part for test",
                where=f"shares {self.shares}",
            )
        dates = (self.valid_from, self.test_from)
        if (self.valid_from is None) != (self.test_from is None):
            raise ConfigError("valid_from and test_from come together", where=f"{dates}")
        if self.valid_from is not None and self.test_from is not None:
            if self.valid_from.tzinfo is None or self.test_from.tzinfo is None:
                raise ConfigError("the dates of the split need a time zone", where=f"{dates}")
            if self.valid_from >= self.test_from:
                raise ConfigError("validation must begin before test", where=f"{dates}")
        if not self.responses or "impression" in self.responses + self.history:
            raise ConfigError(
                "responses and history are kinds of events other than impressions",
                where=f"responses {self.responses}, history {self.history}",
            )
        odd = sorted(_TAKEN & {*self.context, *self.numbers})
        if odd:
            raise ConfigError(
                "a context feature cannot have this name", where=odd[0], hint="rename the key"
            )


def build_log_task(
    events: pl.LazyFrame,
    catalogue: Catalogue,
    cache: str | Path,
    config: LogTaskConfig | None = None,
    *,
    name: str = "log",
    rows_per_part: int = 2_000_000,
) -> Task:
    """The task of a log in a folder under `cache`, built on first use.

    events: a checked EventLog, as `read_events` gives it. Where an item is shown twice in one
    request, the first impression counts. rows_per_part: about how many impressions are held in
    memory at once, of whole users.
    The folder's name carries a hash of every event, of the items and of `config`. Responses that
    are dated before the first impression of their request are counted in a warning.

    Raises ValueInvalidError where the log has no impressions, none to train on, or an item
    that the catalogue lacks; SchemaError where `config` names a column that is not there;
    ResourceError where the disk is full.
    """
    config = config or LogTaskConfig()
    features = log_features(catalogue.items, config)
    key = content_hash(
        {"data": _digest(events, catalogue.items), "config": to_jsonable(config), "code": VERSION}
    )
    folder = Path(cache) / f"{name}-{key[:16]}"

    def build() -> Task:
        check_items_known(events, catalogue.items)
        cut = _cut(events, config)
        return write_task_parts(
            folder,
            name=name,
            protocol=_protocol(name, cut, config),
            data_hash=key,
            parts=_parts(events, config, cut, rows_per_part),
            items=catalogue.items,
            features=features,
            history=config.history,
            popularity=config.responses,
        )

    return cached_task(folder, build)


def log_features(items: pl.DataFrame, config: LogTaskConfig) -> tuple[Feature, ...]:
    """The features of a log's task: text and booleans become categories, lists are
    multi-valued, numbers stay numbers. Raises SchemaError for a column that is not there."""
    chosen = [c for c in items.columns if c != "item_id"]
    if config.item_features is not None:
        chosen = list(config.item_features)
    least = config.min_count
    features = [
        Feature("history", "sequence", "user"),
        Feature("user_id", "categorical", "user", min_count=least),
        Feature("item_id", "categorical", "item", min_count=least),
    ]
    for column in chosen:
        if column not in items.columns:
            raise SchemaError(
                "the items have no such column",
                column=column,
                hint=f"they have {', '.join(items.columns)}",
            )
        dtype = items.schema[column]
        if isinstance(dtype, pl.List):
            features.append(Feature(column, "multi", "item", min_count=least))
        elif dtype.is_numeric():
            features.append(Feature(column, "numeric", "item"))
        else:
            features.append(Feature(column, "categorical", "item", min_count=least))
    features += [Feature(c, "categorical", "context", min_count=least) for c in config.context]
    features += [Feature(c, "numeric", "context") for c in config.numbers]
    return (
        *features,
        Feature("popularity", "numeric", "context", log=True),
        Feature("visible", "numeric", "user", log=True),
        Feature("frequency", "numeric", "user", log=True),
    )


class _Cut(NamedTuple):
    """Impressions of the log, and the first instants of validation and test."""

    impressions: int
    valid_from: datetime
    test_from: datetime


def _cut(events: pl.LazyFrame, config: LogTaskConfig) -> _Cut:
    times = _shown(events).select("time").collect(engine="streaming")["time"]
    if not len(times):
        raise ValueInvalidError(
            "the log has no impressions",
            column="kind",
            value="impression",
            hint="a ranking task needs what was shown, not only what was taken",
        )
    if config.valid_from is not None and config.test_from is not None:
        return _Cut(len(times), config.valid_from, config.test_from)
    times = times.sort()
    train, valid = config.shares
    bounds = [
        times[min(int(len(times) * share), len(times) - 1)] for share in (train, train + valid)
    ]
    return _Cut(len(times), bounds[0], bounds[1])


def _parts(
    events: pl.LazyFrame, config: LogTaskConfig, cut: _Cut, rows_per_part: int
) -> Iterator[TaskPart]:
    """Rows and events of some users at a time: those whose hash falls into the same part."""
    n_parts = -(-cut.impressions // rows_per_part)
    popularity = popularity_by_day(_taken(events, config.responses))
    early = responses = 0
    part_of = hash_expr(["user_id"], 0) % n_parts
    with progress(cut.impressions, "build the task", "rows") as bar:
        for number in range(n_parts):
            mine = events.filter(part_of == number).collect(engine="streaming")
            rows = _rows(mine, popularity, config, cut)
            taken = _taken(mine.lazy(), {*config.responses, *config.history}).collect()
            early, responses = early + int(taken["early"].sum()), responses + taken.height
            if rows.height:
                past = taken.filter(pl.col("kind").is_in(config.history))
                past = past.sort("time", "event_id").select("user_id", "item_id", "time")
                yield TaskPart(rows, past)
            bar.advance(rows.height)
    if early:
        _log.warning(
            "%d of %d responses are dated before the first impression of their request; they "
            "count as history from that impression on: look at the clocks that the log was "
            "written by",
            early,
            responses,
        )


def _rows(
    events: pl.DataFrame, popularity: pl.DataFrame, config: LogTaskConfig, cut: _Cut
) -> pl.DataFrame:
    taken = events.filter(pl.col("kind").is_in(config.responses))
    responded = taken.select(*_REQUEST, "item_id", label=pl.lit(1, pl.Int8)).unique()
    return (
        _shown(events.lazy())
        .collect()
        .sort("time", "event_id")
        .unique([*_REQUEST, "item_id"], keep="first", maintain_order=True)
        # What a user does after the first impression of a request is no history of the rest.
        .with_columns(pl.col("time").min().over(_REQUEST))
        .join(responded, on=[*_REQUEST, "item_id"], how="left", maintain_order="left")
        .with_columns(day=pl.col("time").dt.date())
        .sort("day", maintain_order=True)
        .join_asof(popularity, on="day", by="item_id", check_sortedness=False)
        .select(
            *_REQUEST,
            "time",
            "item_id",
            pl.col("label").fill_null(0),
            split_by_time(pl.col("time"), cut.valid_from, cut.test_from),
            pl.col("popularity").fill_null(0),
            *(_context(key) for key in config.context),
            *(_context(key).cast(pl.Float64, strict=False) for key in config.numbers),
        )
    )


def _taken(events: pl.LazyFrame, kinds: Collection[str]) -> pl.LazyFrame:
    """The events of these kinds, with `early`: whether one is dated before the first impression
    of its request. Such an event gets the time of that impression, which is the time of the
    request's rows; what they see comes strictly before."""
    taken = events.filter(pl.col("kind").is_in(list(kinds)))
    requests = taken.select(_REQUEST).unique()
    first = (
        _shown(events)
        .join(requests, on=_REQUEST, how="semi")
        .group_by(_REQUEST)
        .agg(first=pl.col("time").min())
    )
    return (
        taken.join(first, on=_REQUEST, how="left")
        .with_columns(
            early=(pl.col("time") < pl.col("first")).fill_null(value=False),
            time=pl.max_horizontal("time", "first"),
        )
        .drop("first")
    )


def _shown(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("kind") == "impression")


def _context(key: str) -> pl.Expr:
    if key in _COLUMNS:
        return pl.col(key)
    return pl.col("context").str.json_path_match(f"$['{key}']").alias(key)


def _digest(events: pl.LazyFrame, items: pl.DataFrame) -> str:
    """A hash of all events, whatever their order, and of the items."""
    columns = events.collect_schema().names()
    hashes = events.select(hash_expr(columns, 0)).collect(engine="streaming")["hash"].to_numpy()
    with np.errstate(over="ignore"):
        total = int(np.add.reduce(hashes, dtype=np.uint64)) if len(hashes) else 0
    table = hashlib.sha256(items.write_ndjson().encode()).hexdigest()
    return content_hash({"events": len(hashes), "sum": str(total), "items": table})


def _protocol(name: str, cut: _Cut, config: LogTaskConfig) -> str:
    return (
        f"{name}: an impression each row; positive where the same person responded "
        f"({', '.join(config.responses)}) to the item in the same request. Training before "
        f"{cut.valid_from.isoformat()}, validation before {cut.test_from.isoformat()}, test "
        f"from then on. History: {', '.join(config.history)} before the request, none of its "
        "own. Popularity: responses on earlier days."
    )
