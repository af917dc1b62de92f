"""Turn tables in memory into batches, for rows that no task has prepared.

A task file is sorted and counted once, on disk. Here rows come in any order, for any users, and
become the same batches; `Batch.row` is the position of each row. Codes come from the FeatureSpec of
the training; `visible` and `frequency` are counted from the events given, never read from the rows,
since what a row may know depends on its time alone.

Occurrences n_j of each embedding row in the training set, for mini-batch aware decay.

Two ways to count, of which `Occurrence` names one:

rows     the paper's (Zhou et al., KDD 2018, equations 4 to 6): a value occurs in every training
         row that has it, so an item in each row of which it is the target or stands in the
         history that the row sees. A row has it once, however often it stands there. Every batch
         in which a value occurs has a row of it, so over an epoch a row of the table is decayed
         by lambda at most, as often as it may occur.
events   the one of earlier versions: each row counts its own features, and each event of a
         history counts its item once, however many rows can see it. n_j is smaller by the number of
         rows that see an event (4 to 90 times on the response task), and the decay larger by
         as much; how much depends on how many rows of a user stand in one batch.

A negative counts by the share in which it is sampled. Events that no training row can see, such as
those after the training period, do not count. A user's or context's own features are counted
alike, but for a list that has a value twice: in `rows` that is one occurrence.

What a catalogue calls its items: the column that reads like a title.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.batches.batch import DRAW_OFFSET, Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature, FeatureSpec, ItemTable, check_feature_types
from adwright.data.ranges import distinct
from adwright.data.schema import TableInMemory, as_polars, is_category
from adwright.data.tasks.history import ItemValues, SeenRows, add_history
from adwright.data.tasks.task import Task
from adwright.models.calibration import ItemEmbedding, RowEmbedding

#: Row features that are counted from the events.
COUNTED = ("visible", "frequency")

_TIME = pl.Datetime("us", "UTC")
_ROWS_PER_GROUP = 512
_ROWS_PER_BATCH = 8192


#: Tables that are taken for one of polars.
AnyTable: TypeAlias = pl.LazyFrame | TableInMemory


def table_of(table: AnyTable, what: str) -> pl.DataFrame:
    """The table as one of polars, in memory. Raises SchemaError, which says `what`, where it is
    none."""
    if isinstance(table, str | Path):
        raise SchemaError(
            f"the {what} are a table, not a file",
            file=str(table),
            hint="pass a table of polars, pandas or Arrow; score_file reads files",
        )
    try:
        return as_polars(table).lazy().collect()
    except SchemaError as error:
        raise SchemaError(f"the {what}: {error.what}", hint=error.hint) from error


def needed_columns(spec: FeatureSpec) -> tuple[str, ...]:
    """Columns that rows must have: the ids and the row features, those counted left out."""
    features = (*spec.coded_rows, *spec.numeric_rows, *spec.multi_rows)
    names = ["user_id", "item_id", *(f.name for f in features if f.name not in COUNTED)]
    return tuple(dict.fromkeys(names))


def check_rows(columns: Sequence[str], spec: FeatureSpec, *, file: str = "") -> None:
    """Raise SchemaError, naming every column of `needed_columns` that is not in `columns`."""
    missing = [name for name in needed_columns(spec) if name not in columns]
    if missing:
        raise SchemaError(
            f"the rows lack columns that the ranker was trained on: {', '.join(missing)}",
            file=file,
            column=missing[0],
            hint=f"add them, empty where unknown; the rows have {', '.join(columns)}",
        )


def batches_of(
    rows: pl.DataFrame,
    events: pl.DataFrame,
    *,
    spec: FeatureSpec,
    items: ItemTable,
    max_history: int = 0,
) -> Iterator[Batch]:
    """Turn rows into batches of users with all of their targets; order by `Batch.row`.

    rows: `needed_columns` and `time`; without a time every event of the user is history.
    Where rows were drawn, `draw_offset` is read too (`Batch.offset`).
    events: user_id, item_id, time; those of other users are ignored. Times are timestamps
    (without a zone: UTC), or in both tables whole numbers. max_history: most recent events that
    a row may see; 0 for all.
    An unknown item has code 0, as has a user or a value that training never saw; a user without
    events has an empty history.
    Raises SchemaError for a missing column, a type that does not fit or a time that is no
    timestamp, ValueInvalidError for an empty id or time.
    """
    check_rows(rows.columns, spec)
    check_types(rows.schema, spec)
    _check_events(events.columns)
    check_ids(events.schema, "events")
    if rows.height == 0:
        return
    table, codes, starts = _prepared(rows, events, items)
    end = table["visible"].to_numpy().astype(np.int64)
    begin = np.maximum(end - max_history, 0) if max_history else np.zeros_like(end)
    bounds = _groups(table["user_id"].rle_id().to_numpy())
    low, high = begin[bounds[:-1]], end[bounds[1:] - 1]
    shift = np.repeat(low, np.diff(bounds))
    first = starts[bounds[:-1]] + low
    arrow = table.to_arrow()
    whole = Batch(
        history=_slices(codes, first, high - low),
        offsets=torch.from_numpy(bounds),
        item=torch.from_numpy(items.rows(arrow["item_id"])),
        begin=torch.from_numpy(begin - shift),
        end=torch.from_numpy(end - shift),
        categorical={f.name: torch.from_numpy(f.codes(arrow[f.name])) for f in spec.coded_rows},
        multi={
            f.name: Jagged(*(torch.from_numpy(part) for part in f.lists(arrow[f.name])))
            for f in spec.multi_rows
        },
        numeric=torch.from_numpy(
            np.stack([f.numbers(arrow[f.name]) for f in spec.numeric_rows], 1)
            if spec.numeric_rows
            else np.zeros((table.height, 0), np.float32)
        ),
        label=torch.zeros(table.height),
        row=torch.from_numpy(table["__row"].to_numpy().astype(np.int64)),
        offset=torch.from_numpy(table[DRAW_OFFSET].cast(pl.Float32).fill_null(0).to_numpy().copy())
        if DRAW_OFFSET in table.columns
        else None,
    )
    n_groups = len(bounds) - 1
    parts = np.array_split(np.arange(n_groups), max(1, table.height // _ROWS_PER_BATCH))
    for part in parts:
        if len(part):
            yield whole.groups(torch.from_numpy(part))


def check_types(schema: Mapping[str, pl.DataType], spec: FeatureSpec, *, file: str = "") -> None:
    """Raise SchemaError for an id or a feature of rows that is of a type which does not fit."""
    check_ids(schema, "rows", file=file)
    features = (*spec.coded_rows, *spec.numeric_rows, *spec.multi_rows)
    features = tuple(f for f in features if f.name not in (*COUNTED, "user_id"))
    check_feature_types(schema, features, file=file)


def check_ids(schema: Mapping[str, pl.DataType], what: str, *, file: str = "") -> None:
    """Raise SchemaError where user_id or item_id is neither text nor integers nor categories.

    what: "rows" or "events", for the message.
    """
    for name in ("user_id", "item_id"):
        dtype = schema.get(name, pl.Null())
        if not (dtype in (pl.String, pl.Null) or dtype.is_integer() or is_category(dtype)):
            raise SchemaError(
                f"{name} of the {what} must hold text or integers, not {dtype}",
                file=file,
                column=name,
                hint="convert the column",
            )


def _check_events(columns: Sequence[str]) -> None:
    missing = [name for name in ("user_id", "item_id", "time") if name not in columns]
    if missing:
        raise SchemaError(
            f"the events lack columns: {', '.join(missing)}",
            column=missing[0],
            hint="events need user_id, item_id and time",
        )


def _prepared(
    rows: pl.DataFrame, events: pl.DataFrame, items: ItemTable
) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.int64]]:
    """(rows sorted by user and time with their counts, the events' item codes, for each row
    the place of its user's first event)."""
    ids = pl.col("user_id", "item_id").cast(pl.String)
    rows = rows.drop([name for name in (*COUNTED, "__row") if name in rows.columns])
    dtype = events.schema["time"]
    rows = _timed(rows.with_columns(ids).with_row_index("__row"), "rows", dtype)
    events = _timed(events.select("user_id", "item_id", "time").with_columns(ids), "events", dtype)
    events = events.join(rows.select("user_id").unique(), on="user_id", how="semi")
    events = events.sort("user_id", "time", maintain_order=True)
    rows = add_history(rows.sort("user_id", "time", maintain_order=True), events)
    first = events.with_row_index("__start").unique("user_id", keep="first", maintain_order=True)
    starts = rows.join(
        first.select("user_id", "__start"), on="user_id", how="left", maintain_order="left"
    )["__start"].fill_null(0)
    return rows, items.rows(events.to_arrow()["item_id"]), starts.to_numpy().astype(np.int64)


def _timed(table: pl.DataFrame, what: str, dtype: pl.DataType) -> pl.DataFrame:
    """The table with `time` as `dtype`, after checking that neither an id nor a time is empty.

    dtype: of the events' time; rows without a time get the latest there is.
    """
    whole = dtype.is_integer()
    if what == "rows" and "time" not in table.columns:
        latest = pl.lit(2**62, pl.Int64)
        table = table.with_columns(time=latest if whole else latest.cast(pl.Datetime("us")))
    found = table.schema["time"]
    if not (found.is_integer() if whole else isinstance(found, pl.Datetime)):
        raise SchemaError(
            f"the time of the {what} must be {'a whole number' if whole else 'a timestamp'} "
            f"like that of the events, not {found}",
            column="time",
            hint="convert the column to timestamp[us, UTC]",
        )
    for name in ("user_id", "item_id", "time"):
        empty = table[name].is_null()
        if name != "time":
            empty |= (table[name].str.strip_chars() == "").fill_null(value=False)
        if empty.any():
            raise ValueInvalidError(
                f"the {what} hold an empty value",
                row=int(empty.arg_max() or 0),
                column=name,
                hint="fill it in, or drop the row",
            )
    if whole:
        return table.with_columns(pl.col("time").cast(pl.Int64))
    column = pl.col("time")
    naive = isinstance(found, pl.Datetime) and found.time_zone is None
    return table.with_columns((column.dt.replace_time_zone("UTC") if naive else column).cast(_TIME))


def _groups(people: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Bounds [G + 1] of groups: runs of one user, cut after _ROWS_PER_GROUP rows."""
    starts = np.flatnonzero(np.diff(people.astype(np.int64), prepend=-1))
    ends = np.append(starts[1:], len(people))
    cuts = [np.arange(a, b, _ROWS_PER_GROUP) for a, b in zip(starts, ends, strict=True)]
    return np.append(np.concatenate(cuts), len(people)).astype(np.int64)


def _slices(
    values: NDArray[np.int64], first: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Jagged:
    """The lists values[first : first + length], end to end."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    index = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], lengths)
    return Jagged(torch.from_numpy(values[index]), torch.from_numpy(offsets))


#: What one occurrence of a value is, see the module.
Occurrence = Literal["rows", "events"]


def training_counts(
    model: nn.Module,
    task: Task,
    negative_rate: float = 1.0,
    *,
    max_history: int = 0,
    occurrence: Occurrence = "rows",
) -> dict[Tensor, Tensor]:
    """Float [n] counts for the table of each item and row feature of the model.

    negative_rate: share of the rows of label 0 that training sees, which is their weight.
    max_history: most recent events that a row sees, 0 for all. occurrence: see the module; in
    "events" a user's events count from the first to the last that one of the training rows sees.
    Reads the training rows once, and once a row feature; memory follows the row group and the
    distinct values.
    """
    rows = task.rows("train").with_columns(weight=_weight(negative_rate))
    modules = list(model.modules())
    items = [one for one in modules if isinstance(one, ItemEmbedding)]
    counts: dict[Tensor, Tensor] = {}
    match occurrence:
        case "rows":
            names = {name for embedding in items for name in _names(embedding)}
            found = _in_rows(task, sorted(names), negative_rate, max_history)
            for embedding in items:
                for name, table in zip(_names(embedding), embedding.tables, strict=True):
                    if isinstance(table, nn.Embedding):
                        counts[table.weight] = found[name]
        case "events":
            number = _in_events(task, rows, max_history)
            every = torch.arange(len(number))
            for embedding in items:
                counts |= {table.weight: n for table, n in embedding.occurrences(every, number)}
    features = {feature.name: feature for feature in task.spec.features}
    for module in modules:
        if isinstance(module, RowEmbedding):
            for name, part in zip(module.names, module.tables, strict=True):
                if isinstance(part, nn.Embedding):
                    once = occurrence == "rows"
                    counts[part.weight] = _row_counts(rows, features[name], once=once)
    return counts


def _weight(negative_rate: float) -> pl.Expr:
    return pl.when(pl.col("label") == 1).then(1.0).otherwise(negative_rate)


def _names(module: ItemEmbedding) -> list[str]:
    """The features of its tables, in their order."""
    return [*module.names, *module.multi_names]


def _in_rows(
    task: Task, names: Iterable[str], negative_rate: float, max_history: int
) -> dict[str, Tensor]:
    """Counts by `rows` of the values of these item features."""
    values = {name: _values(task.item_table, name, task) for name in names}
    found = {name: np.zeros(of.width) for name, of in values.items()}
    for seen in _user_groups(task, negative_rate, max_history) if values else ():
        for name, of in values.items():
            found[name] += seen.count(of)
    return {name: torch.from_numpy(number).float() for name, number in found.items()}


def _values(items: ItemTable, name: str, task: Task) -> ItemValues:
    width = next(f.cardinality for f in task.spec.features if f.name == name)
    if name in items.categorical:
        return ItemValues(items.categorical[name], np.arange(len(items) + 1), width)
    codes, offsets = items.multi[name]
    return ItemValues(*distinct(codes, offsets, width), width)


def _user_groups(task: Task, negative_rate: float, max_history: int) -> Iterator[SeenRows]:
    """The training rows and the events behind them, a row group at a time."""
    rows_file = pq.ParquetFile(task.rows_path("train"))
    events_file = pq.ParquetFile(task.events_path("train"))
    columns = ["user_id", "item_id", "visible", "label"]
    for group in range(rows_file.num_row_groups):
        rows = pl.DataFrame(rows_file.read_row_group(group, columns=columns))
        events = pl.DataFrame(events_file.read_row_group(group, columns=["user_id", "item_id"]))
        # The events' order of users, and behind them those without any.
        users = pl.concat([events["user_id"], rows["user_id"]]).unique(maintain_order=True)
        numbered = users.to_frame().with_row_index("number")
        yield SeenRows(
            user=_numbers(rows, numbered),
            visible=rows["visible"].to_numpy().astype(np.int64),
            item=task.item_table.rows(rows.to_arrow()["item_id"]).astype(np.int64),
            weight=rows.select(_weight(negative_rate)).to_series().to_numpy(),
            event_user=_numbers(events, numbered),
            event_item=task.item_table.rows(events.to_arrow()["item_id"]).astype(np.int64),
            max_history=max_history,
        )


def _numbers(
    frame: pl.DataFrame, users: pl.DataFrame
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    joined = frame.select("user_id").join(users, on="user_id", how="left", maintain_order="left")
    return joined["number"].to_numpy().astype(np.int64)


def _in_events(task: Task, rows: pl.LazyFrame, max_history: int) -> Tensor:
    """Counts by `events` of each item, float64 [N + 1]."""
    codes, weights = _grouped(rows, "item_id")
    item = torch.from_numpy(task.item_table.rows(codes.to_arrow()).astype(np.int64))
    number = torch.zeros(len(task.item_table), dtype=torch.float64).index_add_(0, item, weights)
    for events in _seen_events(task, max_history):
        seen = torch.from_numpy(task.item_table.rows(events.to_arrow()))
        number += torch.bincount(seen, minlength=len(number))
    return number


def _seen_events(task: Task, max_history: int) -> Iterator[pl.Series]:
    """The item ids of the events that training rows can see, a row group at a time."""
    rows = pq.ParquetFile(task.rows_path("train"))
    events = pq.ParquetFile(task.events_path("train"))
    for group in range(rows.num_row_groups):
        spans = (
            pl.DataFrame(rows.read_row_group(group, columns=["user_id", "visible"]))
            .group_by("user_id")
            .agg(first=pl.col("visible").min() - max_history, end=pl.col("visible").max())
        )
        if not max_history:
            spans = spans.with_columns(first=pl.lit(0))
        yield (
            pl.DataFrame(events.read_row_group(group, columns=["user_id", "item_id"]))
            .with_columns(place=pl.int_range(pl.len()).over("user_id"))
            .join(spans, on="user_id")
            .filter(pl.col("place") >= pl.col("first"), pl.col("place") < pl.col("end"))
            .get_column("item_id")
        )


def _grouped(rows: pl.LazyFrame, name: str) -> tuple[pl.Series, Tensor]:
    table = rows.group_by(name).agg(pl.col("weight").sum()).collect(engine="streaming")
    return table[name], torch.from_numpy(table["weight"].to_numpy().copy())


def _row_counts(rows: pl.LazyFrame, feature: Feature, *, once: bool) -> Tensor:
    source = rows.select(feature.name, "weight")
    if feature.kind == "multi":
        # As the model reads lists: null and unknown values are not there at all.
        listed = pl.col(feature.name)
        source = source.with_columns(listed.list.unique() if once else listed)
        source = source.explode(feature.name)
    values, weights = _grouped(source, feature.name)
    codes = torch.from_numpy(feature.codes(values.to_arrow()))
    counts = torch.zeros(feature.cardinality, dtype=torch.float64)
    counts.index_add_(0, codes, weights)
    if feature.kind == "multi":
        counts[0] = 0
    return counts.float()


#: Columns that name an item, whatever the catalogue else holds; the first that is there.
_TITLES = (
    *("title", "name", "product_title", "product_name", "item_title", "item_name"),
    *("prod_name", "product", "headline", "description"),
)
#: A text column with so many distinct values to a row, and so many words to a value, names items.
_DISTINCT, _WORDS = 0.5, 1.5
#: So many items are looked at.
_LOOKED_AT = 10_000
#: Columns that name an item together; the first line whose first column the catalogue has.
_TOGETHER = (("type", "brand", "size"), ("category", "brand", "size"), ("brand", "size"))


def item_names(catalogue: pl.DataFrame) -> pl.DataFrame:
    """item_id and name: the title; or else the type (without one, the category), brand and size,
    whichever there are; or else the id. A category alone names no item: the id stands before it.
    """
    title = _title(catalogue)
    if title is not None:
        name = _text(title)
    else:
        first = next((one for one in _TOGETHER if one[0] in catalogue.columns), ())
        together = [column for column in first if column in catalogue.columns]
        parts = [_text(column) for column in together]
        if together == ["category"]:
            parts = [pl.col("item_id").cast(pl.String), *parts]
        name = pl.concat_str(parts, separator=", ", ignore_nulls=True) if parts else pl.lit("")
    return catalogue.select(
        "item_id", name=pl.when(name != "").then(name).otherwise(pl.col("item_id"))
    )


def _title(catalogue: pl.DataFrame) -> str | None:
    by_name = {column.lower(): column for column in catalogue.columns}
    for known in _TITLES:
        if known in by_name and catalogue.schema[by_name[known]] == pl.String:
            return by_name[known]
    if "type" in catalogue.columns:
        return None
    some = catalogue.head(_LOOKED_AT)
    found = [
        (some[column].n_unique(), column)
        for column, dtype in catalogue.schema.items()
        if dtype == pl.String and column != "item_id" and _reads_like_titles(some[column])
    ]
    return max(found)[1] if found else None


def _reads_like_titles(values: pl.Series) -> bool:
    given = values.drop_nulls()
    if not len(given) or given.n_unique() < _DISTINCT * len(values):
        return False
    words = given.str.count_matches(r"\S+").mean()
    return isinstance(words, float) and words >= _WORDS


def _text(column: str) -> pl.Expr:
    """The column as text; null where it is empty, which says as little."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)
