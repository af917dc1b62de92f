"""What the columns of a catalogue are, told from their values, and the features made of them.

    category   text or whole numbers that repeat; a value that two rows share gets a code
    number     cut into 16 parts that hold about as many rows each
    list       several categories a row
    text       its words, as a list
    none       left out: one value for all, an id in other words, or a vector

The rule is short, so that it can be said and overruled: integers are codes where each stands for
five rows on average (a genre, not a price), and text is a category where each value stands for two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import polars as pl

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.features import Feature

__all__ = [
    "ColumnChoice",
    "ColumnKind",
    "choose_columns",
    "item_features",
    "user_features",
    "with_made_columns",
]

ColumnKind = Literal["category", "number", "list", "text", "none"]

#: Rows that one integer stands for on average, where integers are codes.
ROWS_A_CODE = 5
#: Rows that one text stands for on average, where texts are categories.
ROWS_A_TEXT = 2
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


@dataclass(frozen=True)
class ColumnChoice:
    """What a column is taken for, and why."""

    column: str
    kind: ColumnKind
    why: str

    def __post_init__(self) -> None:
        check_literals(self)

    def text(self) -> str:
        """For a reader: `genre: category (18 values)`."""
        return f"{self.column}: {self.kind} ({self.why})"


def choose_columns(
    table: pl.DataFrame, *, key: str = "item_id", given: Mapping[str, ColumnKind] | None = None
) -> tuple[ColumnChoice, ...]:
    """What each column of `table` but its `key` is, in their order.

    given: kinds that are known, which win. Raises SchemaError where these name a column that is not
    there or that cannot be of the kind.

    >>> items = pl.DataFrame({"item_id": ["a", "b"], "title": ["red hat", "blue hat"]})
    >>> choose_columns(items)[0].text()
    'title: text (2.0 words on average)'
    """
    said = dict(given or {})
    for name in said:
        if name not in table.columns or name == key:
            raise SchemaError(
                "a kind is given of a column that is not there",
                column=name,
                hint=f"the columns are {', '.join(c for c in table.columns if c != key)}",
            )
    return tuple(
        _given(table[name], said[name]) if name in said else _told(table[name])
        for name in table.columns
        if name != key
    )


def item_features(
    items: pl.DataFrame, choices: Sequence[ColumnChoice], *, min_count: int = 2
) -> tuple[pl.DataFrame, tuple[Feature, ...]]:
    """The catalogue with what the features read, and the features, `item_id` among them.

    min_count: rows that must share a value for it to get a code; `item_id` needs one event. A
    column of a name that rows and queries use is read under another.
    """
    features = [Feature("item_id", "categorical", "item")]
    for choice in choices:
        name = choice.column
        if name in RESERVED and choice.kind != "none":
            name = _unused(f"{_OWN}{name}", items.columns)
            items = items.with_columns(pl.col(choice.column).alias(name))
        match choice.kind:
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
    users: pl.DataFrame, choices: Sequence[ColumnChoice], *, taken: Sequence[str]
) -> tuple[pl.DataFrame, tuple[Feature, ...]]:
    """The users' table with user_id and a text column a feature, and the features.

    A number is cut into parts that hold about as many users each, and its part is the category.
    Lists and texts are left out. taken: names that other features have; a column of such a name is
    renamed.
    """
    columns, features = [users["user_id"]], []
    for choice in choices:
        if choice.kind not in ("category", "number"):
            continue
        name = choice.column if choice.column not in taken else f"user {choice.column}"
        column = users[choice.column]
        column = _parts(column) if choice.kind == "number" else column.cast(pl.String)
        columns.append(column.alias(name))
        features.append(Feature(name, "categorical", "user", min_count=2))
    return pl.DataFrame(columns), tuple(features)


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


def _given(column: pl.Series, kind: ColumnKind) -> ColumnChoice:
    if kind not in get_args(ColumnKind):
        raise ConfigError(
            f"a column cannot be of kind {kind!r}",
            where=column.name,
            hint=f"use one of {', '.join(get_args(ColumnKind))}",
        )
    dtype = column.dtype
    fits = {
        "number": dtype.is_numeric() or dtype == pl.Boolean,
        "list": isinstance(dtype, pl.List) and dtype.inner == pl.String,
        "category": not dtype.is_nested(),
        "text": dtype == pl.String,
        "none": True,
    }
    if not fits[kind]:
        raise SchemaError(
            f"the column holds {dtype} and cannot be a {kind}",
            column=column.name,
            hint="convert the column, or choose another kind",
        )
    return ColumnChoice(column.name, kind, "as was said")


def _told(column: pl.Series) -> ColumnChoice:
    """What the values say."""
    name, dtype = column.name, column.dtype
    if isinstance(dtype, pl.List):
        if dtype.inner == pl.String:
            return ColumnChoice(name, "list", f"{_count(column.explode())} values in lists")
        return ColumnChoice(name, "none", "lists of numbers are not read")
    known = column.drop_nulls()
    distinct, each = known.n_unique(), len(known) / max(known.n_unique(), 1)
    values = f"{distinct:,} values"
    if distinct < 2:
        return ColumnChoice(name, "none", "one value for all" if distinct else "empty")
    if dtype == pl.Boolean:
        return ColumnChoice(name, "category", values)
    if dtype.is_float():
        return ColumnChoice(name, "number", _span(known))
    if dtype.is_integer():
        if each >= ROWS_A_CODE:
            return ColumnChoice(name, "category", f"{values}, {each:.0f} rows each")
        return ColumnChoice(name, "number", _span(known))
    if each >= ROWS_A_TEXT:
        return ColumnChoice(name, "category", values)
    words = float(known.cast(pl.String).str.count_matches(_WORD).mean() or 0)  # type: ignore[arg-type]
    if words >= 2:
        return ColumnChoice(name, "text", f"{words:.1f} words on average")
    return ColumnChoice(name, "none", f"{values}, as good as an id")


def _span(numbers: pl.Series) -> str:
    values = numbers.cast(pl.Float64).to_numpy()
    return f"{values.min():g} to {values.max():g}"


def _count(values: pl.Series) -> str:
    return f"{values.drop_nulls().n_unique():,}"


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
