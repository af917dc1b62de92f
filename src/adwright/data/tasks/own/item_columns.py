"""The features that are made of the columns of a catalogue, and of what is known of users.

    category   a value that two rows share gets a code
    number     cut into 16 parts that hold about as many rows each
    list       several categories a row
    text       its words, as a list
    none       left out

What a column is says `adwright.data.column_kinds`, as everywhere. Here a category of which most
values stand in one row only is left out, too: it tells no more than the id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from adwright.core.errors import SchemaError
from adwright.data.column_kinds import ColumnKind, FoundColumn, find_kinds
from adwright.data.features import Feature

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
