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
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.data.column_kinds import ColumnKind, check_column_kinds, find_kinds, with_kinds
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr, sum_of_hashes
from adwright.data.leaks import find_future_counts, find_leaks, item_numbers, warn_of_leaks
from adwright.data.popularity import popularity_by_day
from adwright.data.schema import RESPONSE_KINDS, Catalogue, EventKind, check_items_known
from adwright.data.sources.log import Log
from adwright.data.tasks.split import check_cut, split_by_time
from adwright.data.tasks.task import Task, TaskPart, cached_task, write_task_parts

# --------------------------------------------------------------------------------------------------
# What a log must hold to become a ranking task; each lack is said with what there is instead.

#: Columns of a log that are context as well.
_COLUMNS = ("creative_id", "campaign_id")
_SPLITS = {"train": "training", "valid": "validation", "test": "test"}


def check_kinds(events: pl.LazyFrame, responses: Sequence[str]) -> None:
    """Raise ValueInvalidError where a log has no impressions, or no event of the `responses`."""
    counted = events.group_by("kind").len().collect(engine="streaming")
    there = {kind: number for kind, number in counted.sort("kind").iter_rows() if number}
    has = ", ".join(f"{kind} {number:,}" for kind, number in there.items()) or "no events"
    if "impression" not in there:
        raise ValueInvalidError(
            f"the log has no impressions; it has {has}",
            column="kind",
            value="impression",
            hint="a ranking task needs what was shown, not only what was taken. What such a log "
            "allows: adwright train cascade LOG, item-item LOG, hstu --events LOG or sasrec "
            "--events LOG, or a ranking task with drawn negatives",
        )
    if not any(kind in there for kind in responses):
        taken = ", ".join(f'"{kind}"' for kind in there if kind != "impression")
        raise ValueInvalidError(
            f"no event is a response; the log has {has}",
            column="kind",
            value=", ".join(responses),
            hint=f"name what is, responses = [{taken}] in the file of --task-config"
            if taken
            else "add the clicks or purchases to the log: without them there is nothing to learn",
        )


def check_context(impressions: pl.LazyFrame, keys: Sequence[str]) -> None:
    """Raise ValueInvalidError for a key of the context that no impression has."""
    if not keys:
        return
    counts = [context_value(key).is_not_null().any().alias(key) for key in keys]
    found = impressions.select(counts).collect(engine="streaming").row(0, named=True)
    for key, there in found.items():
        if not there:
            raise ValueInvalidError(
                "no impression has this key in its context",
                column="context",
                value=key,
                hint="correct its name, or leave it out of context and numbers; an import puts a "
                "column into the context with --context",
            )


def check_splits(
    counts: Mapping[tuple[str, int], int],
    valid_from: datetime,
    test_from: datetime,
    span: tuple[datetime, datetime],
) -> None:
    """Raise ValueInvalidError for a split without rows, positives or negatives.

    counts: (split, label) -> rows. span: times of the first and of the last impression.
    """
    begins = f"validation begins {valid_from.isoformat()}, test {test_from.isoformat()}"
    lie = f"the impressions lie between {span[0].isoformat()} and {span[1].isoformat()}"
    for split, name in _SPLITS.items():
        there = [label for label in (0, 1) if counts.get((split, label))]
        if there == [0, 1]:
            continue
        lacks = "rows" if not there else "positives" if there == [0] else "negatives"
        raise ValueInvalidError(
            f"the task has no {name} {lacks}: {begins}, {lie}",
            column="split",
            value=split,
            hint="move the dates of the split, or give it more of the log by shares",
        )


def context_value(key: str) -> pl.Expr:
    """The value of a key in the context of events, as text: a column of the log's own by its name,
    else of the JSON object; null where it is absent or null."""
    if key in _COLUMNS:
        return pl.col(key)
    return pl.col("context").str.json_path_match(f"$['{key}']").alias(key)


_log = logging.getLogger("adwright")

VERSION = 3
#: Training rows that are looked at for leaks.
_LOOKED_AT = 400_000
_TAKEN = {"user_id", "item_id", "request_id", "time", "label", "split", "visible", "frequency"}
_REQUEST = ["user_id", "request_id"]


@settings
class LogTaskConfig:
    """What counts as a response, what a row knows, and where the log is cut.

    responses: kinds of events that make an impression a positive, and that popularity counts.
    history: kinds of events that a user's history is made of.
    valid_from, test_from: the first instants of validation and test, both or neither.
    shares: without dates, shares of the impressions, in order of time, that train and validate.
    context: keys of the log's context, or creative_id and campaign_id, that are features with
      a known set of values; numbers: keys that are numbers.
    item_features: columns of the items; None for all of them, but for free text.
    column_kinds: column of the items -> category, number, list, or text and none, which are left
        out; of the others, `adwright.data.column_kinds` tells whole numbers from codes.
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
    column_kinds: dict[str, ColumnKind] = field(default_factory=dict)
    min_count: int = 1

    def __post_init__(self) -> None:
        check_column_kinds(self.column_kinds, "column_kinds")
        check_cut(self.shares, (self.valid_from, self.test_from))
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


def build_task_of_log(
    log: Log, cache: str | Path, config: LogTaskConfig | None = None, *, name: str = "log"
) -> Task:
    """The task of a log as `open_log` gives it, with what its import said of its columns.

    Where `config` names no context, the keys that the import put into the context are features,
    each by its kind. Raises as `build_log_task`.
    """
    config = config or LogTaskConfig()
    kinds, items = log.column_kinds, log.catalogue.items
    known = {column: kind for column, kind in kinds.items() if column in items.columns}
    config = replace(config, column_kinds={**known, **config.column_kinds})
    if not config.context and not config.numbers:
        config = replace(
            config,
            context=tuple(n for n in log.context if kinds.get(n) not in ("number", "none")),
            numbers=tuple(n for n in log.context if kinds.get(n) == "number"),
        )
    return build_log_task(log.events, log.catalogue, cache, config, name=name)


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
    items = _as_said(catalogue.items, config)
    key = content_hash(
        {"data": _digest(events, items), "config": to_jsonable(config), "code": VERSION}
    )
    folder = Path(cache) / f"{name}-{key[:16]}"

    def build() -> Task:
        check_items_known(events, items)
        check_kinds(events, config.responses)
        check_context(_shown(events), (*config.context, *config.numbers))
        cut = _cut(events, config)
        made = write_task_parts(
            folder,
            name=name,
            protocol=_protocol(name, cut, config),
            data_hash=key,
            parts=_parts(events, config, cut, rows_per_part),
            items=items,
            features=features,
            history=config.history,
            popularity=config.responses,
        )
        rows = made.rows("train").head(_LOOKED_AT).collect()
        leaks = find_leaks(rows, items, made.spec.features)
        told = (items, item_numbers(rows, (*config.context, *config.numbers)))
        counts = [c for one in told for c in find_future_counts(one, events, cut.valid_from)]
        warn_of_leaks(leaks, counts)
        return made

    return cached_task(folder, build)


def log_features(items: pl.DataFrame, config: LogTaskConfig) -> tuple[Feature, ...]:
    """The features of a log's task: text, booleans and codes become categories, lists are
    multi-valued, numbers stay numbers; see `LogTaskConfig.column_kinds`. Raises SchemaError for a
    column that is not there."""
    said = config.column_kinds
    left = {c for c, kind in said.items() if kind in ("text", "none")}
    chosen = [c for c in items.columns if c != "item_id" and c not in left]
    if config.item_features is not None:
        chosen = list(config.item_features)
    least = config.min_count
    features = [
        Feature("history", "sequence", "user"),
        Feature("user_id", "categorical", "user", min_count=least),
        Feature("item_id", "categorical", "item", min_count=least),
    ]
    for column in (*chosen, *said):
        if column not in items.columns:
            raise SchemaError(
                "the items have no such column",
                column=column,
                hint=f"they have {', '.join(items.columns)}",
            )
    numbers = [c for c in chosen if items.schema[c].is_numeric() and c not in said]
    kinds = {**{c: f.kind for c, f in find_kinds(items.select(numbers)).items()}, **said}
    for column in chosen:
        lists = isinstance(items.schema[column], pl.List)
        match kinds.get(column, "list" if lists else "category"):
            case "list":
                features.append(Feature(column, "multi", "item", min_count=least))
            case "number":
                features.append(Feature(column, "numeric", "item"))
            case _:
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
    """Impressions of the log, the first instants of validation and test, and of the impressions
    the first and last one."""

    impressions: int
    valid_from: datetime
    test_from: datetime
    first: datetime
    last: datetime


def _as_said(items: pl.DataFrame, config: LogTaskConfig) -> pl.DataFrame:
    """The items, with the columns of `column_kinds` in the types that go with what is said."""
    said = items.select("item_id", *config.column_kinds)
    return with_kinds(items, find_kinds(said, config.column_kinds))


def _cut(events: pl.LazyFrame, config: LogTaskConfig) -> _Cut:
    times = _shown(events).select("time").collect(engine="streaming")["time"]
    times = times.sort()
    if config.valid_from is not None and config.test_from is not None:
        return _Cut(len(times), config.valid_from, config.test_from, times[0], times[-1])
    train, valid = config.shares
    bounds = [
        times[min(int(len(times) * share), len(times) - 1)] for share in (train, train + valid)
    ]
    return _Cut(len(times), bounds[0], bounds[1], times[0], times[-1])


def _parts(
    events: pl.LazyFrame, config: LogTaskConfig, cut: _Cut, rows_per_part: int
) -> Iterator[TaskPart]:
    """Rows and events of some users at a time: those whose hash falls into the same part."""
    n_parts = -(-cut.impressions // rows_per_part)
    popularity = popularity_by_day(_taken(events, config.responses))
    early = responses = 0
    counts: Counter[tuple[str, int]] = Counter()
    part_of = hash_expr(["user_id"], 0) % n_parts
    with progress(cut.impressions, "build the task", "rows") as bar:
        for number in range(n_parts):
            mine = events.filter(part_of == number).collect(engine="streaming")
            rows = _rows(mine, popularity, config, cut)
            taken = _taken(mine.lazy(), {*config.responses, *config.history}).collect()
            early, responses = early + int(taken["early"].sum()), responses + taken.height
            for split, label, n in rows.group_by("split", "label").len().iter_rows():
                counts[split, label] += n
            if rows.height:
                past = taken.filter(pl.col("kind").is_in(config.history))
                past = past.sort("time", "event_id").select("user_id", "item_id", "time")
                yield TaskPart(rows, past)
            bar.advance(rows.height)
    # Before the folder stands under its name.
    check_splits(counts, cut.valid_from, cut.test_from, (cut.first, cut.last))
    if cut.impressions > counts.total():
        _log.info(
            "%d of %d impressions show an item again in one request; the first counts",
            cut.impressions - counts.total(),
            cut.impressions,
        )
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
            *(context_value(key) for key in config.context),
            *(context_value(key).cast(pl.Float64, strict=False) for key in config.numbers),
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


def _digest(events: pl.LazyFrame, items: pl.DataFrame) -> str:
    """A hash of all events, whatever their order, and of the items."""
    columns = events.collect_schema().names()
    hashes = events.select(hash_expr(columns, 0)).collect(engine="streaming")["hash"]
    table = hashlib.sha256(items.write_ndjson().encode()).hexdigest()
    return content_hash({"events": len(hashes), "sum": str(sum_of_hashes(hashes)), "items": table})


def _protocol(name: str, cut: _Cut, config: LogTaskConfig) -> str:
    return (
        f"{name}: an impression each row; positive where the same person responded "
        f"({', '.join(config.responses)}) to the item in the same request. Training before "
        f"{cut.valid_from.isoformat()}, validation before {cut.test_from.isoformat()}, test "
        f"from then on. History: {', '.join(config.history)} before the request, none of its "
        "own. Popularity: responses on earlier days."
    )
